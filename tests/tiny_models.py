"""Tiny random checkpoints of every family, with a small tokenizer: whole folders as on the Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from toolchain.embedded import documents
from toolchain.model import families
from toolchain.model.adaptive import adaptive_config, remote_files
from toolchain.model.checkpoint import open_checkpoint
from toolchain.model.compact import ATTENTION, MLP, cut

VOCAB_SIZE = 128
CONTEXT = 48
"""`max_position_embeddings` of every tiny model."""

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}

WIDTHS = (40, 24)
"""MLP widths of the two layers where they differ."""

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 1,
}

_PARTIAL_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}

_FAMILY: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "mistral": {"head_dim": 16, "sliding_window": None, "tie_word_embeddings": False},
    "qwen2": {"tie_word_embeddings": False},
    "qwen3": {"head_dim": 16, "tie_word_embeddings": True},
    "smollm3": {"no_rope_layer_interval": 2, "pad_token_id": None},
    "phi3": {"pad_token_id": None, "rope_parameters": _PARTIAL_ROPE},
    "olmo2": {"pad_token_id": None},
    "gemma2": {
        "head_dim": 8,
        "sliding_window": CONTEXT,
        "query_pre_attn_scalar": 5,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 5.0,
    },
    "gemma3_text": {
        "head_dim": 8,
        "sliding_window": CONTEXT,
        "sliding_window_pattern": 2,
        "query_pre_attn_scalar": 5,
    },
    "opt": {"ffn_dim": 40, "num_key_value_heads": 4, "pad_token_id": None},
    "gpt2": {"n_inner": 40, "num_key_value_heads": 4},
}


def save_tiny_checkpoint(
    path: Path,
    family: str,
    *,
    per_layer: bool = False,
    widths: tuple[int, int] = WIDTHS,
    **changes: Any,
) -> Path:
    """Save a random checkpoint of `family` in two layers, every tensor away from its default.

    Args:
        path: the folder to make.
        family: a key of `toolchain.model.families.FAMILIES`.
        per_layer: give the layers the MLP widths of `widths`, and the second layer one KV group,
            where heads may go.
        widths: neurons of each layer.
        changes: config values that differ from the family's here.
    """
    unit = 1 - families.FAMILIES[family].norm_offset
    generator = torch.Generator().manual_seed(sum(map(ord, family)))
    config = AutoConfig.for_model(family, **{**_SHAPE, **_FAMILY[family], **changes})
    model = AutoModelForCausalLM.from_config(config)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        # Norms near one, everything else large enough that logits spread over several units.
        is_norm = "norm" in name or "ln_" in name
        weight.data = unit + 0.3 * noise if is_norm else 0.25 * noise
    model.save_pretrained(path)
    if per_layer:
        _narrow(path, widths)
    tiny_tokenizer().save_pretrained(path)
    return path


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A BPE of the built-in stories that puts `<s>` (0) first."""
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=list(SPECIAL.values()), show_progress=False
    )
    tokenizer.train_from_iterator(documents("train", 200), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)


def _narrow(path: Path, widths: tuple[int, int]) -> None:
    """Make it an adaptive checkpoint with other widths in each layer."""
    config = json.loads((path / "config.json").read_text())
    family = families.family_of(config, path.name)
    shape = families.config_shape(config)
    per_group = shape.num_attention_heads // shape.num_key_value_heads
    tensors = load_file(path / "model.safetensors")
    for index, width in enumerate(widths):
        prefix = family.layer_prefix(index)
        names = [name for name in tensors if name.startswith(prefix)]
        layer = {name.removeprefix(prefix): tensors[name] for name in names}
        layer = cut(layer, family, shape, MLP, torch.arange(width))
        if index == 1 and not family.norm_spans_heads:
            layer = cut(layer, family, shape, ATTENTION, torch.arange(per_group))
        tensors |= {f"{prefix}{name}": tensor for name, tensor in layer.items()}
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    adaptive = adaptive_config(config, open_checkpoint(path).spec.layers)
    (path / "config.json").write_text(json.dumps(adaptive, indent=2))
    for name, text in remote_files().items():
        (path / name).write_text(text)
