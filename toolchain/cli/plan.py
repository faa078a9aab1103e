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
    result = api.plan(target, ratio=ratio, parts=parts, round_to=round_to, context=context)
    emit(result.to_json(), as_json, result.text())
    return 0
