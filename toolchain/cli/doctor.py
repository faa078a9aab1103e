"""`paredown doctor`."""

from __future__ import annotations

from toolchain.cli.output import JsonFlag, emit

EXAMPLES = "Example: paredown doctor"


def command(as_json: JsonFlag = False) -> int:
    """Entry point; help texts come from the group."""
    from toolchain import api

    result = api.doctor()
    emit(result.to_json(), as_json, result.text())
    return 0
