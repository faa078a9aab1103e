"""`paredown fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from toolchain.cli.output import JsonFlag, emit, progress_on_stderr
from toolchain.recipe import ProfileSettings

EXAMPLES = "Example: paredown fit bundle --device ssh:pi@raspberrypi"

DEFAULT = ProfileSettings()


def command(
    bundle: Annotated[Path, Argument(help="Directory of a bundle.")],
    device: Annotated[
        str, Option(help="local, ssh:[user@]host[:port] or adb:SERIAL.")
    ] = DEFAULT.device,
    engine: Annotated[str, Option(help="auto, or native: the C++ runner.")] = DEFAULT.engine,
    tokens: Annotated[
        int | None, Option(help="Prompt and continuation together.  [default: the whole context]")
    ] = None,
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from runtime_py.schema import to_json
    from toolchain import api

    with progress_on_stderr():
        result = api.fit(bundle, device=device, engine=engine, tokens=tokens)
    emit(to_json(result), as_json, result.text())
    return result.exit_code
