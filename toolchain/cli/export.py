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
    quant: Annotated[str, Option(help="Quantisation: none.")] = DEFAULT.quant,
    context: Annotated[
        int, Option(help="Most tokens, prompt and answer together.")
    ] = DEFAULT.context,
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from runtime_py.schema import to_json
    from toolchain import api
    from toolchain.describe import bundle_text

    with progress_on_stderr() as progress:
        manifest = api.export(
            checkpoint, out=out, backend=backend, quant=quant, context=context, progress=progress
        )
    emit(to_json(manifest), as_json, bundle_text(out, manifest))
    return 0
