"""Verbs that decide and tell: validate, gate, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.errors import BadRequestError, did_you_mean, require_extra
from toolchain.progress import SILENT, Progress
from toolchain.recipe import ValidateSettings, build
from toolchain.store import write_text

if TYPE_CHECKING:
    from toolchain.model.checkpoint import Checkpoint
    from toolchain.report.write import WrittenReport
    from toolchain.validation.verdict import Verdict

_VALIDATE = ValidateSettings()


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
