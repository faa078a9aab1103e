"""`paredown doctor`."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from toolchain.cli.output import JsonFlag, emit

EXAMPLES = "Example: paredown doctor --device ssh:pi@raspberry"


def command(
    device: Annotated[
        str | None, Option(help="Look at this device instead: local, ssh:HOST, adb:SERIAL.")
    ] = None,
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from toolchain import api

    result = api.doctor(device=device)
    emit(result.to_json(), as_json, result.text())
    return 0
