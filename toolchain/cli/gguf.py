"""`paredown gguf`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from toolchain.cli.output import JsonFlag, emit, progress_on_stderr

EXAMPLES = "Example: paredown gguf pruned --out model.gguf --type q8_0"


def command(
    checkpoint: Annotated[str, Argument(help="Folder of a checkpoint, Hub id, or 'embedded'.")],
    out: Annotated[Path, Option(help="The file to write.")],
    kind: Annotated[
        str, Option("--type", help="How matrices are stored: f32, f16, q8_0 or q4_0.")
    ] = "f32",
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from toolchain import api

    with progress_on_stderr() as progress:
        written = api.gguf(checkpoint, out=out, kind=kind, progress=progress)
    emit(
        asdict(written),
        as_json,
        f"{written.path}: {written.architecture}, {written.type}, {written.tensors} tensors, "
        f"{written.parameters:,} parameters, {written.bytes / 1e6:.1f} MB",
    )
    return 0
