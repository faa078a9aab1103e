"""Tiny random checkpoints of every supported family, with a tokenizer, made in a second."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from toolchain.model.families import FAMILIES

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456"
BOS, EOS, UNKNOWN = 0, 1, 2
CHAT_TEMPLATE = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"

VARIANTS: dict[str, dict[str, Any]] = {
    "llama-tied": {"model_type": "llama", "tie_word_embeddings": True},
    "llama-untied": {"model_type": "llama", "tie_word_embeddings": False},
    "llama-biased": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "mistral": {"model_type": "mistral", "sliding_window": None},
    "qwen2": {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", "attention_bias": True},
    "smollm3": {"model_type": "smollm3", "no_rope_layer_interval": 2, "pad_token_id": None},
    "phi3": {"model_type": "phi3", "pad_token_id": None},
    "olmo2": {"model_type": "olmo2", "pad_token_id": None},
    "gemma2": {
        "model_type": "gemma2",
        "sliding_window": 32,
        "query_pre_attn_scalar": 5,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 5.0,
    },
    "gemma3": {
        "model_type": "gemma3_text",
        "sliding_window": 32,
        "sliding_window_pattern": 2,
        "query_pre_attn_scalar": 5,
        "final_logit_softcapping": 5.0,
    },
    "opt": {"model_type": "opt", "ffn_dim": 40, "num_key_value_heads": 8},
    "gpt2": {"model_type": "gpt2", "n_inner": 40, "num_key_value_heads": 8},
}
"""Every family, with and without biases, tied and untied; all with two query heads per KV head,
but those that know no KV heads."""

HEADS_STAY = ("olmo2", "opt", "gpt2")
"""Variants whose heads cannot be removed in a uniform layout."""


def write_tokenizer(folder: Path) -> None:
    """One token per letter, byte-level as Qwen's must be, with a BOS and a chat template."""
    vocabulary = {"<s>": BOS, "</s>": EOS, "<unk>": UNKNOWN, "\u0120": 3}
    vocabulary |= {letter: 4 + i for i, letter in enumerate(LETTERS)}
    special = dict(zip(("bos_token", "eos_token", "unk_token"), vocabulary, strict=False))
    inner = Tokenizer(models.BPE(vocabulary, [], unk_token=special["unk_token"]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **special)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)


def write_checkpoint(folder: Path, variant: str = "llama-tied", **changes: Any) -> Path:
    """A random float32 model whose output depends on every weight, saved by transformers."""
    values: dict[str, Any] = {
        "vocab_size": 4 + len(LETTERS),
        "hidden_size": 48,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 6,
        "max_position_embeddings": 64,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        **VARIANTS[variant],
        **changes,
    }
    unit = 1 - FAMILIES[values["model_type"]].norm_offset
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**values))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "ln_" in name:
                parameter.copy_(unit + 0.2 * torch.randn_like(parameter))
            else:
                parameter.normal_(std=0.3)
    model.generation_config.max_new_tokens = 7
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def write_text(path: Path, documents: int = 24, letters: int = 20, seed: int = 0) -> Path:
    """Documents of random letters, separated by end-of-text lines."""
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    texts = ["".join(rng.choices(LETTERS, k=letters)) for _ in range(documents)]
    path.write_text("\n<|endoftext|>\n".join(texts), encoding="utf-8")
    return path
