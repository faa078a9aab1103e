"""`paredown validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from toolchain.cli.output import JsonFlag, emit, progress_on_stderr
from toolchain.recipe import ValidateSettings

EXAMPLES = (
    "Example: paredown validate bundle --reference embedded --margin ppl=10% --out verdict.json"
)

DEFAULT = ValidateSettings()


def command(
    bundle: Annotated[Path, Argument(help="Directory of a bundle.")],
    reference: Annotated[str, Option(help="The dense model: folder, Hub id, or 'embedded'.")],
    checkpoint: Annotated[
        str | None,
        Option(help="The checkpoint that was exported; found by itself where it still lies."),
    ] = None,
    text: Annotated[str, Option(help="Held-out text: builtin or FILE.txt.")] = DEFAULT.text,
    margin: Annotated[
        list[str] | None, Option(help="Tolerated loss, such as ppl=10%.  [default: ppl=10%]")
    ] = None,
    alpha: Annotated[
        float, Option(help="Chance of shipping a model exactly at the margin.")
    ] = DEFAULT.alpha,
    out: Annotated[
        Path | None, Option(help="Write the verdict here (JSON, and Markdown beside it).")
    ] = None,
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from runtime_py.schema import to_json
    from toolchain import api
    from toolchain.validation.verdict import parse_margins, verdict_markdown

    margins = parse_margins(margin) if margin else dict(DEFAULT.margins)
    with progress_on_stderr() as progress:
        verdict = api.validate(
            bundle,
            reference=reference,
            checkpoint=checkpoint,
            text=text,
            margins=margins,
            alpha=alpha,
            out=out,
            progress=progress,
        )
    emit(to_json(verdict), as_json, verdict_markdown(verdict))
    return verdict.exit_code
