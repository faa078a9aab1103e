"""What a pruning came to, and the files that say so beside the weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from runtime_py.schema import sha256_of_json, to_json
from toolchain import __version__, store
from toolchain.model.checkpoint import COMPANION_FILES
from toolchain.model.compact import Kept, save_tensors
from toolchain.model.likelihood import Perplexity
from toolchain.model.spec import ModelSpec
from toolchain.pruning.card import model_card
from toolchain.pruning.request import Request
from toolchain.pruning.step import Decision

CHECKPOINT_SCHEMA = "paredown.checkpoint/1"


@dataclass(frozen=True)
class Outcome:
    """What was kept, what was decided, and what held-out text says of the whole."""

    kept: list[Kept]
    decisions: list[Decision]
    held_out_kl: float
    """KL(dense ‖ result), nats per predicted token."""
    held_out_kl_recovered: float
    held_out_kl_unrecovered: float
    """The same structure without any recovery."""
    recovered: bool
    """Whether the recovered weights were the better ones, and are the result."""
    before: Perplexity
    after: Perplexity


@dataclass(frozen=True)
class PruneResult:
    """A written compact checkpoint."""

    path: Path
    before: ModelSpec
    after: ModelSpec
    outcome: Outcome
    record: dict[str, Any]
    """The content of paredown.json."""


def write_companions(
    folder: Path,
    request: Request,
    outcome: Outcome,
    seconds: float,
    peak_rss_bytes: int | None,
) -> dict[str, Any]:
    """Write everything but the weights; returns the record.

    That is config.json, structure.safetensors, paredown.json, the model card, and the dense model's
    tokenizer, chat template and generation config.
    """
    store.write_json(folder / "config.json", request.config)
    structure = structure_tensors(outcome.kept)
    save_tensors(folder / "structure.safetensors", structure, {})
    for name in COMPANION_FILES:
        file = request.source.path / name
        if file.is_file():
            shutil.copyfile(file, folder / name)
    record = checkpoint_record(request, outcome, structure)
    store.write_text(folder / "README.md", model_card(request, record))
    record |= {"seconds": round(seconds, 3), "peak_rss_bytes": peak_rss_bytes}
    store.write_json(folder / store.CHECKPOINT_RECORD, record)
    return record


def structure_tensors(kept: Sequence[Kept]) -> dict[str, Tensor]:
    """Kept indices of all layers, int32, as structure.safetensors holds them."""
    out = {}
    for index, units in enumerate(kept):
        out[f"layers.{index}.heads"] = units.heads.int()
        out[f"layers.{index}.neurons"] = units.neurons.int()
    return out


def checkpoint_record(
    request: Request, outcome: Outcome, structure: dict[str, Tensor]
) -> dict[str, Any]:
    """The reproducible part of paredown.json: no times, no machine."""
    settings = request.settings
    return {
        "schema": CHECKPOINT_SCHEMA,
        "paredown_version": __version__,
        "settings": settings.model_dump(),
        "importance": settings.matched_importance,
        "recovery": settings.recovery if outcome.recovered else "none",
        "device": request.device,
        "dense": to_json(request.source.identity),
        "structure_sha256": sha256_of_json({n: t.tolist() for n, t in structure.items()}),
        "shapes": {"before": _shape(request.source.spec), "after": _shape(request.after)},
        "calibration": request.samples.record(),
        "steps": [asdict(decision) for decision in outcome.decisions],
        "held_out": {
            "kl": outcome.held_out_kl,
            "kl_recovered": outcome.held_out_kl_recovered,
            "kl_unrecovered": outcome.held_out_kl_unrecovered,
            "perplexity_before": asdict(outcome.before),
            "perplexity_after": asdict(outcome.after),
        },
    }


def _shape(spec: ModelSpec) -> dict[str, Any]:
    return {
        "model_type": spec.model_type,
        "parameters": spec.parameters,
        "block_parameters": spec.block_parameters,
        "layers": [to_json(layer) for layer in spec.layers],
    }
