"""`paredown export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from toolchain.cli.output import JsonFlag, emit, progress_on_stderr
from toolchain.recipe import ExportSettings

EXAMPLES = "Example: paredown export pruned --backend onnx --out bundle"

DEFAULT = ExportSettings()


def command(
    checkpoint: Annotated[str, Argument(help="Folder of a checkpoint, Hub id, or 'embedded'.")],
    out: Annotated[Path, Option(help="Directory of the bundle.")],
    backend: Annotated[str, Option(help="executorch or onnx.")] = DEFAULT.backend,
    quant: Annotated[
        str, Option(help="none; onnx: fp16, int8, int4; executorch: 8da8w, 8da4w.")
    ] = DEFAULT.quant,
    group_size: Annotated[
        int, Option(help="Weights that share a scale at 4 bits: 32, 64 or 128.")
    ] = DEFAULT.group_size,
    embedding_bits: Annotated[
        int | None, Option(help="Bits of the embedding table: 4, 8 or 32.")
    ] = DEFAULT.embedding_bits,
    context: Annotated[
        int, Option(help="Most tokens, prompt and answer together.")
    ] = DEFAULT.context,
    target: Annotated[
        str, Option(help="desktop, android, pi, or any (core operators only).")
    ] = DEFAULT.target,
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from runtime_py.schema import to_json
    from toolchain import api
    from toolchain.describe import bundle_text

    with progress_on_stderr() as progress:
        manifest = api.export(
            checkpoint,
            out=out,
            backend=backend,
            quant=quant,
            group_size=group_size,
            embedding_bits=embedding_bits,
            context=context,
            target=target,
            progress=progress,
        )
    emit(to_json(manifest), as_json, bundle_text(out, manifest))
    return 0
