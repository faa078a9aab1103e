"""Verbs that make something: prune, export, gguf, the native runner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.progress import SILENT, Progress
from toolchain.recipe import ExportSettings, PruneSettings, build
from toolchain.store import check_output

if TYPE_CHECKING:
    from runtime_py.schema import Manifest
    from toolchain.exporting.gguf import GgufFile
    from toolchain.model.checkpoint import Checkpoint
    from toolchain.native import BuiltRunner

_PRUNE = PruneSettings()
_EXPORT = ExportSettings()


def prune(  # noqa: PLR0913
    model: str | Path | Checkpoint,
    *,
    out: str | Path,
    ratio: float = _PRUNE.ratio,
    params: str | None = _PRUNE.params,
    bytes: str | None = _PRUNE.bytes,
    bytes_of: str = _PRUNE.bytes_of,
    latency_ms: float | None = _PRUNE.latency_ms,
    latency_table: str | None = _PRUNE.latency_table,
    parts: str = _PRUNE.parts,
    layers: int | str = _PRUNE.layers,
    layout: str = _PRUNE.layout,
    pad: bool = _PRUNE.pad,
    allocation: str = _PRUNE.allocation,
    protect: float = _PRUNE.protect,
    recovery: str = _PRUNE.recovery,
    importance: str = _PRUNE.importance,
    drafts: int | str = _PRUNE.drafts,
    joint_masks: bool | None = _PRUNE.joint_masks,
    tune: str = _PRUNE.tune,
    steps: int = _PRUNE.steps,
    calibration: str | Sequence[str] = _PRUNE.calibration,
    samples: int = _PRUNE.samples,
    seq_len: int = _PRUNE.seq_len,
    max_memory: str | None = _PRUNE.max_memory,
    device: str = _PRUNE.device,
    seed: int = _PRUNE.seed,
    round_to: int = _PRUNE.round_to,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Prune `model` into a compact checkpoint at `out`; fields as in `PruneSettings`.

    Returns:
        The checkpoint's record, the content of its paredown.json.

    Raises:
        ParedownError: a bad request, a damaged model, a missing extra.
    """
    settings = build(
        PruneSettings,
        {
            "ratio": ratio,
            "params": params,
            "bytes": bytes,
            "bytes_of": bytes_of,
            "latency_ms": latency_ms,
            "latency_table": latency_table,
            "parts": parts,
            "layers": layers,
            "layout": layout,
            "pad": pad,
            "allocation": allocation,
            "protect": protect,
            "recovery": recovery,
            "importance": importance,
            "drafts": drafts,
            "joint_masks": joint_masks,
            "tune": tune,
            "steps": steps,
            "calibration": [calibration] if isinstance(calibration, str) else list(calibration),
            "samples": samples,
            "seq_len": seq_len,
            "max_memory": max_memory,
            "device": device,
            "seed": seed,
            "round_to": round_to,
        },
        "prune",
    )
    check_output(Path(out))
    from toolchain.model.checkpoint import open_checkpoint

    with progress.task("opening the model", None):
        source = open_checkpoint(model)
        from toolchain.pruning.run import prune_checkpoint

    return prune_checkpoint(source, settings, Path(out), progress).record


def export(
    checkpoint: str | Path | Checkpoint,
    *,
    out: str | Path,
    backend: str = _EXPORT.backend,
    quant: str = _EXPORT.quant,
    group_size: int = _EXPORT.group_size,
    embedding_bits: int | None = _EXPORT.embedding_bits,
    context: int = _EXPORT.context,
    target: str = _EXPORT.target,
    progress: Progress = SILENT,
) -> Manifest:
    """Export a checkpoint, pruned or dense, as a bundle at `out`; fields as in `ExportSettings`.

    Raises:
        ParedownError: a bad request, a missing extra.
    """
    settings = build(
        ExportSettings,
        {
            "backend": backend,
            "quant": quant,
            "group_size": group_size,
            "embedding_bits": embedding_bits,
            "context": context,
            "target": target,
        },
        "export",
    )
    check_output(Path(out))
    from toolchain.model.checkpoint import open_checkpoint

    with progress.task("opening the checkpoint", None):
        source = open_checkpoint(checkpoint)
        from toolchain.exporting.bundle import export_checkpoint

    return export_checkpoint(source, settings, Path(out), progress)


def gguf(
    checkpoint: str | Path | Checkpoint,
    *,
    out: str | Path,
    kind: str = "f32",
    progress: Progress = SILENT,
) -> GgufFile:
    """Write a checkpoint, pruned or dense, as a GGUF file for llama.cpp.

    Args:
        checkpoint: a folder, a Hub id or `embedded`.
        out: the file.
        kind: how matrices are stored: `f32`, `f16`, `q8_0` or `q4_0`.
        progress: where the talk goes.

    Raises:
        ParedownError: a bad request, a missing extra, a model that llama.cpp's `llama` and `deci`
            architectures do not compute.
    """
    from toolchain.model.checkpoint import open_checkpoint

    with progress.task("opening the checkpoint", None):
        source = open_checkpoint(checkpoint)
        from toolchain.exporting.gguf import write_gguf

    return write_gguf(source, Path(out), kind, progress)


def build_runner(
    arch: str = "host", *, out: str | Path | None = None, progress: Progress = SILENT
) -> BuiltRunner:
    """Build the native runner of .pte bundles, or take it from the cache.

    Args:
        arch: `host`, `x86_64` or `aarch64`.
        out: also copy the folder here.
        progress: where the talk goes.

    Raises:
        ParedownError: an unknown architecture, no compiler, a compiler that fails.
    """
    from toolchain import native

    return native.build_runner(arch, None if out is None else Path(out), progress)
