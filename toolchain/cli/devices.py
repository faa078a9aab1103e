"""`paredown devices`."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from toolchain.cli.output import JsonFlag, emit

EXAMPLES = "Example: paredown devices --probe"


def command(
    probe: Annotated[
        bool, Option("--probe", help="Connect to the hosts of ~/.ssh/config, too.")
    ] = False,
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from toolchain import api
    from toolchain.devices.listing import devices_text

    listed = api.devices(probe=probe)
    emit([device.to_json() for device in listed], as_json, devices_text(listed))
    return 0
