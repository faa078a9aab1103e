"""Tiny checkpoints with a tokenizer that llama.cpp loads: it wants at least one merge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import adaptive_checkpoint
import tiny_checkpoint

MERGED = ("a", "b")


def write_checkpoint(folder: Path, variant: str = "llama-tied", **changes: Any) -> Path:
    """As `tiny_checkpoint.write_checkpoint`."""
    return _with_merge(tiny_checkpoint.write_checkpoint(folder, variant, **changes))


def write_adaptive(folder: Path, variant: str, **changes: Any) -> Path:
    """As `adaptive_checkpoint.write_adaptive`."""
    return _with_merge(adaptive_checkpoint.write_adaptive(folder, variant, **changes))


def _with_merge(folder: Path) -> Path:
    """The last letter's token becomes that of two letters."""
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["".join(MERGED)] = vocabulary.pop(tiny_checkpoint.LETTERS[-1])
    tokenizer["model"]["merges"] = [list(MERGED)]
    file.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    return folder
