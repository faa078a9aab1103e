"""`paredown runner`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from toolchain.cli.output import JsonFlag, emit, progress_on_stderr
from toolchain.errors import BadRequestError

EXAMPLES = "Example: paredown runner build --arch aarch64"


def command(
    action: Annotated[str, Argument(help="build.")],
    arch: Annotated[str, Option(help="host, x86_64 or aarch64.")] = "host",
    out: Annotated[Path | None, Option(help="Also copy the folder here.")] = None,
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from toolchain import api

    if action != "build":
        raise BadRequestError(f"unknown action '{action}'", "known: build")
    with progress_on_stderr() as progress:
        built = api.build_runner(arch, out=out, progress=progress)
    sizes = {"program_bytes": built.program_bytes, "folder_bytes": built.folder_bytes}
    text = (
        f"{built.folder}\n  for {built.machine}, {built.program_bytes / 1e3:.0f} kB, with its "
        f"libraries {built.folder_bytes / 1e6:.1f} MB"
    )
    emit({"folder": str(built.folder), "machine": built.machine, **sizes}, as_json, text)
    return 0
