"""`paredown info`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument

from toolchain.cli.output import JsonFlag, emit, quiet_libraries

EXAMPLES = "Example: paredown info bundle"


def command(
    directory: Annotated[Path, Argument(help="A checkpoint or a bundle.")],
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from toolchain import api

    quiet_libraries()
    facts, text = api.info(directory)
    emit(facts, as_json, text)
    return 0
