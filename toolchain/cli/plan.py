"""`paredown plan`."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from toolchain.cli.output import JsonFlag, emit, quiet_libraries
from toolchain.recipe import ExportSettings, PruneSettings

EXAMPLES = "Examples: paredown plan embedded --ratio 0.2; paredown plan recipes/llama.yaml"

PRUNE = PruneSettings()
EXPORT = ExportSettings()


def command(
    target: Annotated[str, Argument(help="A recipe (YAML), 'demo', or a model.")],
    ratio: Annotated[
        float | None, Option(help=f"For a model: fraction to remove.  [default: {PRUNE.ratio}]")
    ] = None,
    params: Annotated[
        str | None, Option(help="For a model: most parameters of the result, instead of --ratio.")
    ] = None,
    bytes: Annotated[
        str | None, Option(help="For a model: most bytes of the exported weights instead.")
    ] = None,
    bytes_of: Annotated[
        str | None, Option(help=f"For --bytes: which file.  [default: {PRUNE.bytes_of}]")
    ] = None,
    layers: Annotated[
        str | None, Option(help="For a model: how many whole layers go.  [default: none]")
    ] = None,
    parts: Annotated[
        str | None, Option(help=f"For a model: all, mlp or attention.  [default: {PRUNE.parts}]")
    ] = None,
    round_to: Annotated[
        int | None, Option(help=f"For a model: rounding of widths.  [default: {PRUNE.round_to}]")
    ] = None,
    context: Annotated[
        int | None, Option(help=f"For a model: context length.  [default: {EXPORT.context}]")
    ] = None,
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from toolchain import api

    quiet_libraries()
    result = api.plan(
        target,
        ratio=ratio,
        params=params,
        bytes=bytes,
        bytes_of=bytes_of,
        parts=parts,
        layers=layers,
        round_to=round_to,
        context=context,
    )
    emit(result.to_json(), as_json, result.text())
    return 0
