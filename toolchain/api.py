"""The verbs as plain functions: what the command line calls, and what a script imports.

Every function checks its request before any long work and raises only
`toolchain.errors.ParedownError` for what a user can act on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.errors import BadRequestError, did_you_mean, require_extra
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
    from runtime_py.schema import DeviceReport, Manifest, Protocol
    from toolchain.devices.checkup import Checkup
    from toolchain.devices.doctor import Diagnosis
    from toolchain.devices.listing import Listed
    from toolchain.dry_run import Plan
    from toolchain.exporting.gguf import GgufFile
    from toolchain.model.checkpoint import Checkpoint
    from toolchain.native import BuiltRunner
    from toolchain.profiling.compare import Comparison
    from toolchain.profiling.fit import Fit
    from toolchain.profiling.run import Rows
    from toolchain.report.run import RunResult
    from toolchain.report.write import WrittenReport
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


def profile(  # noqa: PLR0913
    bundle: str | Path,
    *,
    device: str = _PROFILE.device,
    prompt_tokens: int = _PROFILE.prompt_tokens,
    generated_tokens: int = _PROFILE.generated_tokens,
    depth: int = _PROFILE.depth,
    repetitions: int = _PROFILE.repetitions,
    launches: int = _PROFILE.launches,
    warmup: int = _PROFILE.warmup,
    threads: int = _PROFILE.threads,
    affinity: str = _PROFILE.affinity,
    engine: str = _PROFILE.engine,
    cold: bool = _PROFILE.cold,
    memory: bool = _PROFILE.memory,
    cooldown_celsius: float | None = _PROFILE.cooldown_celsius,
    cooldown_limit_s: float = _PROFILE.cooldown_limit_s,
    sustained_s: float = _PROFILE.sustained_s,
    out: str | Path | None = None,
    progress: Progress = SILENT,
) -> DeviceReport:
    """Measure a bundle on a device; fields as in `ProfileSettings`. `out`: the report as JSON.

    Raises:
        ParedownError: a broken bundle, a protocol that does not fit it, an engine that died.
    """
    settings = build(
        ProfileSettings,
        {
            "device": device,
            "prompt_tokens": prompt_tokens,
            "generated_tokens": generated_tokens,
            "depth": depth,
            "repetitions": repetitions,
            "launches": launches,
            "warmup": warmup,
            "threads": threads,
            "affinity": affinity,
            "engine": engine,
            "cold": cold,
            "memory": memory,
            "cooldown_celsius": cooldown_celsius,
            "cooldown_limit_s": cooldown_limit_s,
            "sustained_s": sustained_s,
        },
        "profile",
    )
    rows = profile_rows(bundle, [settings.device], [settings.protocol], out=out, progress=progress)
    if rows.failures:
        raise rows.failures[0].error
    return rows.reports[0]


def profile_rows(
    bundle: str | Path,
    devices: Sequence[str],
    protocols: Sequence[Protocol],
    *,
    keep: bool = False,
    record: str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress = SILENT,
) -> Rows:
    """Measure a bundle on several devices at the same time, under several protocols.

    Args:
        bundle: the bundle's directory.
        devices: `local`, `ssh:[user@]host[:port]`, `adb:SERIAL` or `replay:FILE`.
        protocols: what to run on each of them.
        keep: leave on the devices what was pushed.
        record: write the session of a single device here, for `replay:`.
        out: the report, or the set of reports, as JSON.
        progress: where the talk goes.

    Raises:
        ParedownError: a broken bundle, a protocol that does not fit it. What stops one device is
            in the result, beside what the others measured.
    """
    from toolchain.profiling.output import file_text
    from toolchain.profiling.run import profile_rows as measure

    trace = Path(record) if record is not None else None
    rows = measure(Path(bundle), devices, protocols, keep=keep, record=trace, progress=progress)
    if out is not None and rows.reports:
        write_text(Path(out), file_text(rows.reports))
    return rows


def compare_reports(
    a: str | Path, b: str | Path, *, margin: float | None = None
) -> list[Comparison]:
    """Ratios of two report files, row by row; `margin` makes it a gate.

    Raises:
        ParedownError: no reports, other protocols or devices, an invalid measurement.
    """
    from toolchain.profiling.compare import compare, pair_reports
    from toolchain.profiling.output import load_reports

    require_extra("evals", "comparing")
    pairs = pair_reports(load_reports(Path(a)), load_reports(Path(b)))
    return [compare(first, second, margin) for first, second in pairs]


def compare_bundles(
    a: str | Path,
    b: str | Path,
    protocol: Protocol,
    *,
    device: str = _PROFILE.device,
    margin: float | None = None,
    progress: Progress = SILENT,
) -> Comparison:
    """Measure two bundles in turns (A B B A ...) on one device and compare them.

    Raises:
        ParedownError: as `profile` and `compare_reports`.
    """
    from toolchain.profiling.compare import compare
    from toolchain.profiling.interleave import profile_interleaved

    require_extra("evals", "comparing")
    first, second = profile_interleaved(Path(a), Path(b), device, protocol, progress)
    return compare(first, second, margin, interleaved=True)


def fit(
    bundle: str | Path,
    *,
    device: str = _PROFILE.device,
    engine: str = _PROFILE.engine,
    tokens: int | None = None,
) -> Fit:
    """Whether a bundle's predicted peak memory fits a device; nothing is pushed.

    Args:
        bundle: the bundle's directory.
        device: as `profile`.
        engine: as `ProfileSettings.engine`.
        tokens: prompt and continuation together; None: the whole context.

    Raises:
        ParedownError: a broken bundle, a device that cannot be reached or does not say.
    """
    from toolchain.profiling.fit import fit_bundle

    return fit_bundle(Path(bundle), device, engine, tokens)


def validate(  # noqa: PLR0913
    bundle: str | Path,
    *,
    reference: str | Path | Checkpoint,
    checkpoint: str | Path | Checkpoint | None = None,
    text: str = _VALIDATE.text,
    documents: int | None = _VALIDATE.documents,
    tasks: str | Sequence[str] = _VALIDATE.tasks,
    limit: int | None = _VALIDATE.limit,
    prompts: int = _VALIDATE.prompts,
    margins: Mapping[str, float] = _VALIDATE.margins,
    alpha: float = _VALIDATE.alpha,
    device: str | None = _VALIDATE.device,
    out: str | Path | None = None,
    progress: Progress = SILENT,
) -> Verdict:
    """Judge a bundle against its dense model.

    Args:
        bundle: the bundle's directory.
        reference: the dense model.
        checkpoint: what was exported; by default found through the manifest.
        text: held-out text, `builtin` or a file.
        documents: most documents of it.
        tasks: paired tasks, as `ValidateSettings.tasks`.
        limit: most items of a task.
        prompts: greedy texts that are compared.
        margins: tolerated loss by metric.
        alpha: chance of shipping a model exactly at the margin.
        device: where the golden cases have to pass as well.
        out: where the verdict goes as JSON, with Markdown beside it.
        progress: where the talk goes.

    Raises:
        ParedownError: a broken bundle, an unusable text, a missing extra.
    """
    settings = build(
        ValidateSettings,
        {
            "text": text,
            "documents": documents,
            "tasks": [tasks] if isinstance(tasks, str) else list(tasks),
            "limit": limit,
            "prompts": prompts,
            "margins": dict(margins),
            "alpha": alpha,
            "device": device,
        },
        "validate",
    )
    from toolchain.validation.margins import check_names

    check_names(settings.margins, settings.tasks)
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


def gate(
    verdict: str | Path,
    *,
    bundle: str | Path | None = None,
    criteria: str | None = None,
    form: str = "text",
) -> tuple[Verdict, str]:
    """Decide a verdict again from the numbers it carries; needs no model and no network.

    Args:
        verdict: a file that `validate` wrote.
        bundle: also hold it against this bundle.
        criteria: the criteria's sha256 that it must have been held to, or the start of it.
        form: `text`, `junit`, `github` or `sarif`.

    Returns:
        The verdict, and the same in that form.

    Raises:
        ParedownError: no verdict, one that contradicts itself, other criteria, another bundle.
    """
    from toolchain.validation.ci_formats import FORMATS
    from toolchain.validation.recheck import read_verdict, recheck

    if form not in FORMATS:
        raise BadRequestError(f"unknown format '{form}'", did_you_mean(form, FORMATS))
    found = recheck(read_verdict(Path(verdict)), None if bundle is None else Path(bundle), criteria)
    return found.verdict, FORMATS[form](found.verdict)


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


def report(
    runs: Sequence[str | Path], *, out: str | Path | None = None, progress: Progress = SILENT
) -> WrittenReport:
    """Write what finished runs found: an HTML page, JSON and, for one run, its model card.

    Args:
        runs: folders made by `run`; several make a comparison.
        out: folder for the files; by default that of the one run.
        progress: where the talk goes.

    Raises:
        ParedownError: no finished run, several runs and no `out`, a missing extra.
    """
    folders = [Path(run) for run in runs]
    if out is None and len(folders) > 1:
        raise BadRequestError(f"{len(folders)} runs have no folder in common", "give --out FOLDER")
    require_extra("report", "writing a report")
    with progress.task("drawing", None):
        from toolchain.report.write import write_report

        return write_report(folders, folders[0] if out is None else Path(out))


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


def info(directory: str | Path) -> tuple[dict[str, Any], str]:
    """What a checkpoint or bundle is: as a dictionary and as text.

    Raises:
        ParedownError: neither of the two, or broken.
    """
    from toolchain.describe import describe

    return describe(Path(directory))


def doctor(device: str | None = None) -> Diagnosis | Checkup:
    """What this machine can do, or a device, and what to install for the rest.

    Raises:
        ParedownError: a device that cannot be reached.
    """
    if device is not None:
        from toolchain.devices.checkup import examine

        return examine(device)
    from toolchain.devices.doctor import diagnose

    return diagnose()


def devices(*, probe: bool = False) -> list[Listed]:
    """What `--device` would take: this machine, what adb sees, the hosts of ~/.ssh/config.

    Args:
        probe: connect to those hosts and say which answer.
    """
    from toolchain.devices.listing import list_devices

    return list_devices(probe)


def _is_recipe(target: str | Path) -> bool:
    return str(target) == "demo" or Path(target).suffix in {".yaml", ".yml"}


def _recipe(target: str | Path) -> Any:
    from toolchain.embedded import DEMO_RECIPE
    from toolchain.recipe import load_recipe

    if not _is_recipe(target):
        raise BadRequestError(f"{target} is not a recipe", "give a YAML file, or 'demo'")
    return load_recipe(DEMO_RECIPE if str(target) == "demo" else Path(target))
