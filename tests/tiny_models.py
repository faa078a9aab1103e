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

_FAMILY: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "mistral": {"head_dim": 16, "sliding_window": None, "tie_word_embeddings": False},
    "qwen2": {"tie_word_embeddings": False},
    "qwen3": {"head_dim": 16, "tie_word_embeddings": True},
}


def save_tiny_checkpoint(
    path: Path, family: str, *, per_layer: bool = False, **changes: Any
) -> Path:
    """Save a random checkpoint of `family` in two layers, every tensor away from its default.

    Args:
        path: the folder to make.
        family: llama, mistral, qwen2 or qwen3.
        per_layer: give the layers the widths of `WIDTHS`, and the second layer one KV group.
        changes: config values that differ from the family's here.
    """
    generator = torch.Generator().manual_seed(sum(map(ord, family)))
    config = AutoConfig.for_model(family, **{**_SHAPE, **_FAMILY[family], **changes})
    model = AutoModelForCausalLM.from_config(config)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        # Norms near one, everything else large enough that logits spread over several units.
        weight.data = 1 + 0.3 * noise if "norm" in name else 0.25 * noise
    model.save_pretrained(path)
    if per_layer:
        _narrow(path)
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


def _narrow(path: Path) -> None:
    """Cut the weight file to other widths in each layer; config.json keeps the first layer's."""
    config = json.loads((path / "config.json").read_text())
    family = families.family_of(config, path.name)
    head_dim = families.head_dim(config)
    tensors = load_file(path / "model.safetensors")
    for index, width in enumerate(WIDTHS):
        _cut(tensors, index, (family.gate, family.up), family.down, width)
    group = config["num_attention_heads"] // config["num_key_value_heads"]
    _cut(tensors, 1, (family.query,), family.output, group * head_dim)
    _cut(tensors, 1, (family.key, family.value), None, head_dim)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


def _cut(
    tensors: dict[str, torch.Tensor],
    index: int,
    producers: tuple[str, ...],
    consumer: str | None,
    width: int,
) -> None:
    prefix = families.layer_prefix(index)
    for name in producers:
        for part in ("weight", "bias"):
            if (full := f"{prefix}{name}.{part}") in tensors:
                tensors[full] = tensors[full][:width].contiguous()
    if consumer is not None:
        full = f"{prefix}{consumer}.weight"
        tensors[full] = tensors[full][:, :width].contiguous()
