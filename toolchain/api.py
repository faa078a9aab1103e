"""The verbs as plain functions: what the command line calls, and what a script imports.

Every function checks its request before any long work and raises only
`toolchain.errors.ParedownError` for what a user can act on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.errors import BadRequestError, require_extra
from toolchain.progress import SILENT, Progress
from toolchain.recipe import (
    BACKENDS,
    ExportSettings,
    ProfileSettings,
    PruneSettings,
    ValidateSettings,
    build,
)
from toolchain.store import check_output, write_text

if TYPE_CHECKING:
    from runtime_py.schema import DeviceReport, Manifest
    from toolchain.devices.doctor import Diagnosis
    from toolchain.dry_run import Plan
    from toolchain.model.checkpoint import Checkpoint
    from toolchain.report.run import RunResult
    from toolchain.validation.verdict import Verdict

_PRUNE = PruneSettings()
_EXPORT = ExportSettings()
_PROFILE = ProfileSettings()
_VALIDATE = ValidateSettings()


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
    context: int = _EXPORT.context,
    progress: Progress = SILENT,
) -> Manifest:
    """Export a checkpoint, pruned or dense, as a bundle at `out`; fields as in `ExportSettings`.

    Raises:
        ParedownError: a bad request, a missing extra.
    """
    settings = build(
        ExportSettings, {"backend": backend, "quant": quant, "context": context}, "export"
    )
    check_output(Path(out))
    from toolchain.model.checkpoint import open_checkpoint

    with progress.task("opening the checkpoint", None):
        source = open_checkpoint(checkpoint)
        from toolchain.exporting.bundle import export_checkpoint

    return export_checkpoint(source, settings, Path(out), progress)


def profile(
    bundle: str | Path,
    *,
    device: str = _PROFILE.device,
    prompt_tokens: int = _PROFILE.prompt_tokens,
    generated_tokens: int = _PROFILE.generated_tokens,
    repetitions: int = _PROFILE.repetitions,
    launches: int = _PROFILE.launches,
    threads: int = _PROFILE.threads,
    out: str | Path | None = None,
    progress: Progress = SILENT,
) -> DeviceReport:
    """Measure a bundle on a device; writes the report as JSON where `out` says.

    Raises:
        ParedownError: a broken bundle, a protocol that does not fit it, an engine that died.
    """
    settings = build(
        ProfileSettings,
        {
            "device": device,
            "prompt_tokens": prompt_tokens,
            "generated_tokens": generated_tokens,
            "repetitions": repetitions,
            "launches": launches,
            "threads": threads,
        },
        "profile",
    )
    from runtime_py.schema import dumps
    from toolchain.profiling.run import profile_bundle

    report = profile_bundle(Path(bundle), settings.device, settings.protocol, progress)
    if out is not None:
        write_text(Path(out), dumps(report))
    return report


def validate(
    bundle: str | Path,
    *,
    reference: str | Path | Checkpoint,
    checkpoint: str | Path | Checkpoint | None = None,
    text: str = _VALIDATE.text,
    margins: Mapping[str, float] = _VALIDATE.margins,
    alpha: float = _VALIDATE.alpha,
    out: str | Path | None = None,
    progress: Progress = SILENT,
) -> Verdict:
    """Judge a bundle against its dense model.

    Args:
        bundle: the bundle's directory.
        reference: the dense model.
        checkpoint: what was exported; by default found through the manifest.
        text: held-out text, `builtin` or a file.
        margins: tolerated relative loss by metric.
        alpha: chance of shipping a model exactly at the margin.
        out: where the verdict goes as JSON, with Markdown beside it.
        progress: where the talk goes.

    Raises:
        ParedownError: a broken bundle, an unusable text, a missing extra.
    """
    settings = build(
        ValidateSettings, {"text": text, "margins": dict(margins), "alpha": alpha}, "validate"
    )
    require_extra("evals", "validating")
    with progress.task("opening the dense model", None):
        from runtime_py.schema import dumps
        from toolchain.model.checkpoint import open_checkpoint
        from toolchain.validation.gates import validate_bundle
        from toolchain.validation.verdict import verdict_markdown

    verdict = validate_bundle(
        Path(bundle),
        open_checkpoint(reference),
        settings,
        checkpoint=open_checkpoint(checkpoint) if checkpoint is not None else None,
        progress=progress,
    )
    if out is not None:
        write_text(Path(out), dumps(verdict))
        write_text(Path(out).with_suffix(".md"), verdict_markdown(verdict))
    return verdict


def run(recipe: str | Path, *, out: str | Path, progress: Progress = SILENT) -> RunResult:
    """Run a recipe (a YAML file, or `demo`) from checkpoint to verdict; resumable.

    Raises:
        ParedownError: whatever one of its steps raises.
    """
    from toolchain.pipeline import run_recipe

    return run_recipe(_recipe(recipe), Path(out), progress)


def plan(
    target: str | Path,
    *,
    ratio: float | None = None,
    params: str | None = None,
    bytes: str | None = None,
    bytes_of: str | None = None,
    parts: str | None = None,
    layers: int | str | None = None,
    round_to: int | None = None,
    context: int | None = None,
) -> Plan:
    """What a recipe, or pruning a model, would make; loads no weights.

    What pruning leaves to held-out text (layers, the split of the budget) the plan takes as in a
    uniform structure of the same budget.

    Raises:
        ParedownError: a bad recipe or model; options that belong to a model beside a recipe.
    """
    from toolchain.dry_run import plan_recipe
    from toolchain.recipe import Recipe

    prune_options = {
        "ratio": ratio,
        "params": params,
        "bytes": bytes,
        "bytes_of": bytes_of,
        "parts": parts,
        "layers": layers,
        "round_to": round_to,
    }
    given = {key: value for key, value in prune_options.items() if value is not None}
    if _is_recipe(target):
        if given or context is not None:
            raise BadRequestError(
                f"{target} is a recipe, which says all of that itself", "edit the recipe"
            )
        return plan_recipe(_recipe(target))
    values = {
        "schema": "paredown.recipe/1",
        "model": str(target),
        "prune": given,
        "export": [
            {"backend": backend, **({} if context is None else {"context": context})}
            for backend in BACKENDS
        ],
    }
    return plan_recipe(build(Recipe, values, "plan"))


def info(directory: str | Path) -> tuple[dict[str, Any], str]:
    """What a checkpoint or bundle is: as a dictionary and as text.

    Raises:
        ParedownError: neither of the two, or broken.
    """
    from toolchain.describe import describe

    return describe(Path(directory))


def doctor() -> Diagnosis:
    """What this machine can do, and what to install for the rest."""
    from toolchain.devices.doctor import diagnose

    return diagnose()


def _is_recipe(target: str | Path) -> bool:
    return str(target) == "demo" or Path(target).suffix in {".yaml", ".yml"}


def _recipe(target: str | Path) -> Any:
    from toolchain.embedded import DEMO_RECIPE
    from toolchain.recipe import load_recipe

    if not _is_recipe(target):
        raise BadRequestError(f"{target} is not a recipe", "give a YAML file, or 'demo'")
    return load_recipe(DEMO_RECIPE if str(target) == "demo" else Path(target))
