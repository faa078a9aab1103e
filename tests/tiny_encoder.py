"""Tiny random BERT checkpoints with a tokenizer that has CLS and SEP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_checkpoint import LETTERS
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM, BertModel, PreTrainedTokenizerFast

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
PAD, UNK, CLS, SEP = range(4)
ARCHITECTURES = {"BertModel": BertModel, "BertForMaskedLM": BertForMaskedLM}


def write_encoder(folder: Path, architecture: str = "BertModel", **changes: Any) -> Path:
    """A random float32 BERT whose output depends on every weight, saved by transformers."""
    values: dict[str, Any] = {
        "vocab_size": 4 + len(LETTERS),
        "hidden_size": 48,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
        "max_position_embeddings": 64,
        **changes,
    }
    torch.manual_seed(0)
    model = ARCHITECTURES[architecture](BertConfig(**values))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm.weight" in name:
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
            else:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    write_cls_tokenizer(folder)
    return folder


def write_cls_tokenizer(folder: Path) -> None:
    """One token per letter, byte-level."""
    vocabulary = {word: index for index, word in enumerate([*SPECIAL.values(), *LETTERS])}
    inner = Tokenizer(models.BPE(vocabulary, [], unk_token=SPECIAL["unk_token"]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=inner, **SPECIAL).save_pretrained(folder)
