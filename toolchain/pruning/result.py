"""What a pruning came to, and the files that say so beside the weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from runtime_py.schema import sha256_of_json, to_json
from toolchain import __version__, store
from toolchain.model.adaptive import remote_files
from toolchain.model.checkpoint import COMPANION_FILES
from toolchain.model.compact import Kept, save_tensors
from toolchain.model.likelihood import Perplexity
from toolchain.model.spec import ModelSpec
from toolchain.pruning.card import model_card
from toolchain.pruning.effort import step_tokens
from toolchain.pruning.request import Request, result_config, saved_shapes
from toolchain.pruning.search import Choice, Draft
from toolchain.pruning.step import NONE, Decision
from toolchain.pruning.structure import Structure
from toolchain.pruning.workbench import Measured

CHECKPOINT_SCHEMA = "paredown.checkpoint/1"


@dataclass(frozen=True)
class Outcome:
    """What was chosen, kept and decided, and what held-out text says of the whole."""

    choice: Choice
    drafts: list[Draft]
    """What the search tried; empty where nothing was open."""
    kept: list[Kept]
    decisions: list[Decision]
    polish: list[dict[str, Any]]
    """Record of each stage of joint tuning."""
    measured: dict[str, Measured]
    """The recovered model, the same without any recovery, and after each stage that helped."""
    best: str
    """The key of `measured` that is the result."""
    before: Perplexity | None
    """None for an encoder."""

    @property
    def structure(self) -> Structure:
        """What stays."""
        return self.choice.structure


@dataclass(frozen=True)
class PruneResult:
    """A written compact checkpoint."""

    path: Path
    before: ModelSpec
    outcome: Outcome
    record: dict[str, Any]
    """The content of paredown.json."""

    @property
    def after(self) -> ModelSpec:
        """The pruned spec, before any padding."""
        return self.outcome.structure.spec


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
    settings = request.settings
    config = result_config(request.source, outcome.structure, settings)
    store.write_json(folder / "config.json", config)
    if settings.layout == "adaptive" and not settings.pad:
        for name, text in remote_files().items():
            store.write_text(folder / name, text)
    structure = structure_tensors(outcome.structure.layers, outcome.kept)
    save_tensors(folder / "structure.safetensors", structure, {})
    for name in COMPANION_FILES:
        file = request.source.path / name
        if file.is_file():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, folder / name)
    record = checkpoint_record(request, outcome, structure)
    store.write_text(folder / "README.md", model_card(request, record))
    record |= {"seconds": round(seconds, 3), "peak_rss_bytes": peak_rss_bytes}
    store.write_json(folder / store.CHECKPOINT_RECORD, record)
    return record


def structure_tensors(layers: Sequence[int], kept: Sequence[Kept]) -> dict[str, Tensor]:
    """Kept indices as structure.safetensors holds them, int32, by index of the dense layer."""
    out = {}
    for index, units in zip(layers, kept, strict=True):
        out[f"layers.{index}.heads"] = units.heads.int()
        out[f"layers.{index}.neurons"] = units.neurons.int()
    return out


def checkpoint_record(
    request: Request, outcome: Outcome, structure: dict[str, Tensor]
) -> dict[str, Any]:
    """The reproducible part of paredown.json: no times, no machine."""
    source, settings, choice = request.source, request.settings, outcome.choice
    after = outcome.structure.spec
    measure = source.family.divergence
    saved = replace(after, layers=saved_shapes(source, outcome.structure, settings))
    return {
        "schema": CHECKPOINT_SCHEMA,
        "paredown_version": __version__,
        "settings": settings.model_dump(),
        "importance": choice.importance,
        "recovery": NONE if outcome.best == "unrecovered" else choice.recovery,
        "allocation": choice.allocation,
        "device": request.device,
        "step_tokens": step_tokens(source.spec, request.device),
        "dense": to_json(source.identity),
        "layers": list(outcome.structure.layers),
        "scales": list(outcome.structure.scales),
        "structure_sha256": sha256_of_json({n: t.tolist() for n, t in structure.items()}),
        "shapes": {
            "before": _shape(source.spec),
            "after": _shape(after),
            **({"saved": _shape(saved)} if settings.pad else {}),
        },
        "calibration": request.samples.record(),
        "drafts": _measured_by(measure, [draft.to_json() for draft in outcome.drafts]),
        "steps": _measured_by(measure, [asdict(decision) for decision in outcome.decisions]),
        "polish": _measured_by(measure, outcome.polish),
        "held_out": {
            "result": outcome.best,
            measure: outcome.measured[outcome.best].kl,
            f"{measure}_by_stage": {name: found.kl for name, found in outcome.measured.items()},
            "perplexity_before": _perplexity(outcome.before),
            "perplexity_after": _perplexity(outcome.measured[outcome.best].perplexity),
        },
    }


def _measured_by(measure: str, entry: Any) -> Any:
    """An entry of the record whose distances go by the name of what they are."""
    if isinstance(entry, list):
        return [_measured_by(measure, each) for each in entry]
    if not isinstance(entry, dict):
        return entry
    names = {f"{text}_kl": f"{text}_{measure}" for text in ("held_out", "training")}
    return {names.get(key, key): _measured_by(measure, value) for key, value in entry.items()}


def _perplexity(found: Perplexity | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)


def _shape(spec: ModelSpec) -> dict[str, Any]:
    return {
        "model_type": spec.model_type,
        "parameters": spec.parameters,
        "block_parameters": spec.block_parameters,
        "layers": [to_json(layer) for layer in spec.layers],
    }
