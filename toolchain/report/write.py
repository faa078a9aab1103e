"""Reports on disk: HTML to read, JSON for machines, and the model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import BadRequestError, missing_modules, require_extra
from toolchain.report.card import evaluated_card, read_card
from toolchain.report.page import render_page
from toolchain.report.run import RunResult, run_markdown
from toolchain.report.summary import summarize
from toolchain.store import write_text

PAGE, DATA, CARD = "report.html", "report.json", "model_card.md"
RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class WrittenReport:
    """Where the files are; no card for a dense run or for several runs."""

    page: Path
    data: Path
    card: Path | None


def write_report(folders: Sequence[Path], out: Path) -> WrittenReport:
    """Write what the runs in `folders` found into the folder `out`.

    Raises:
        BadRequestError: no finished run, or `out` is a file.
        MissingError: the extra `report` is not installed.
    """
    require_extra("report", "writing a report")
    if out.exists() and not out.is_dir():
        raise BadRequestError(f"output {out} is a file", "give a folder")
    summary = summarize(folders)
    page, data = out / PAGE, out / DATA
    html = render_page(summary)
    card = read_card(summary["runs"][0]) if len(folders) == 1 else None
    write_text(data, json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(page, html)
    if card is not None:
        write_text(out / CARD, evaluated_card(summary["runs"][0], card))
    return WrittenReport(page, data, None if card is None else out / CARD)


def write_run(result: RunResult, recipe: str) -> None:
    """Everything that a finished run says of itself, into its own folder.

    Args:
        result: what it found.
        recipe: the YAML that makes it again.
    """
    write_text(result.report_path, run_markdown(result))
    write_text(result.out / RECIPE, recipe)
    if not missing_modules("report"):
        write_report([result.out], result.out)
