"""`paredown run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from toolchain.cli.output import JsonFlag, emit, progress_on_stderr

EXAMPLES = (
    "Examples: paredown run demo --out out/demo; paredown run recipes/llama.yaml --out out/llama. "
    "Exit code 0 says ship, 1 hold, 4 inconclusive."
)


def command(
    recipe: Annotated[str, Argument(help="A recipe (YAML), or 'demo'.")],
    out: Annotated[Path, Option(help="Directory of everything the run makes.")],
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from toolchain import api

    with progress_on_stderr() as progress:
        result = api.run(recipe, out=out, progress=progress)
    emit(result.to_json(), as_json, result.text())
    return result.exit_code
