"""The embedded default: a tiny Llama, the stories it was trained on, and how it scores."""

from __future__ import annotations

from pathlib import Path

from toolchain.embedded.grammar import AgreementItem, agreement_items, documents

__all__ = ["MODEL_DIR", "AgreementItem", "agreement_items", "documents"]

MODEL_DIR = Path(__file__).parent / "model"
"""The shipped checkpoint: float16 safetensors, tokenizer, model card."""

DEMO_RECIPE = Path(__file__).parent / "demo.yaml"
"""The recipe behind `paredown run demo`."""
