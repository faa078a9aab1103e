"""`paredown gate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from toolchain.cli.output import JsonFlag, emit

EXAMPLES = "Example: paredown gate verdict.json --bundle bundle --format junit"


def command(
    verdict: Annotated[Path, Argument(help="A verdict that 'paredown validate' wrote.")],
    bundle: Annotated[Path | None, Option(help="Hold it against this bundle too.")] = None,
    criteria: Annotated[
        str | None, Option(help="The criteria's sha256 that you agreed on (8 digits or more).")
    ] = None,
    form: Annotated[str, Option("--format", help="text, junit, github or sarif.")] = "text",
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from runtime_py.schema import to_json
    from toolchain import api

    found, text = api.gate(verdict, bundle=bundle, criteria=criteria, form=form)
    emit(to_json(found), as_json, text.rstrip("\n"))
    return found.exit_code
