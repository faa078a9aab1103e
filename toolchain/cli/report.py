"""`paredown report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from toolchain.cli.output import JsonFlag, emit, progress_on_stderr

EXAMPLES = "Example: paredown report out/dense out/pruned --out comparison"


def command(
    runs: Annotated[list[Path], Argument(help="Folders made by 'paredown run'.")],
    out: Annotated[
        Path | None, Option(help="Folder for the report.  [default: the run's own, if it is one]")
    ] = None,
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from toolchain import api

    with progress_on_stderr() as progress:
        written = api.report(runs, out=out, progress=progress)
    files = {k: None if v is None else str(v) for k, v in vars(written).items()}
    emit(files, as_json, "\n".join(path for path in files.values() if path))
    return 0
