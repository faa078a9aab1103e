"""Tiny random checkpoints of every supported family, with a tokenizer, made in a second."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

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
}
"""Every family, with and without biases, tied and untied; all with two query heads per KV head."""


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
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**values))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
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
