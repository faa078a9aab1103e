"""`paredown validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from toolchain.cli.output import JsonFlag, ViaOption, emit, progress_on_stderr
from toolchain.recipe import ValidateSettings

EXAMPLES = (
    "Example: paredown validate bundle --reference embedded --margin ppl=10% --out verdict.json"
)

DEFAULT = ValidateSettings()


def command(  # noqa: PLR0913, PLR0917
    bundle: Annotated[Path, Argument(help="Directory of a bundle.")],
    reference: Annotated[str, Option(help="The dense model: folder, Hub id, or 'embedded'.")],
    checkpoint: Annotated[
        str | None,
        Option(help="The checkpoint that was exported; found by itself where it still lies."),
    ] = None,
    text: Annotated[str, Option(help="Held-out text: builtin or FILE.txt.")] = DEFAULT.text,
    documents: Annotated[int | None, Option(help="Most documents of it.")] = DEFAULT.documents,
    tasks: Annotated[
        str, Option(help="NAME,FILE.jsonl,... of lm-evaluation-harness or your own; none.")
    ] = ",".join(DEFAULT.tasks),
    limit: Annotated[int | None, Option(help="Most items of a task.")] = DEFAULT.limit,
    prompts: Annotated[int, Option(help="Greedy texts to compare.")] = DEFAULT.prompts,
    margin: Annotated[
        list[str] | None,
        Option(help="Tolerated loss: ppl=10%, tasks=5%, NAME=2%, generation=20%."),
    ] = None,
    alpha: Annotated[
        float, Option(help="Chance of shipping a model exactly at the margin.")
    ] = DEFAULT.alpha,
    device: Annotated[
        str | None, Option(help="Also hold the golden cases there: local, ssh:..., adb:...")
    ] = DEFAULT.device,
    via: ViaOption = None,
    out: Annotated[
        Path | None, Option(help="Write the verdict here (JSON, and Markdown beside it).")
    ] = None,
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from runtime_py.schema import to_json
    from toolchain import api
    from toolchain.devices import choose_way
    from toolchain.errors import BadRequestError
    from toolchain.validation.margins import parse_margins
    from toolchain.validation.verdict import verdict_markdown

    if device is not None:
        device = choose_way(device, via)
    elif via is not None:
        raise BadRequestError(f"--via {via} without a device", "name it: --device adb:SERIAL")
    margins = parse_margins(margin) if margin else dict(DEFAULT.margins)
    with progress_on_stderr() as progress:
        verdict = api.validate(
            bundle,
            reference=reference,
            checkpoint=checkpoint,
            text=text,
            documents=documents,
            tasks=[name for name in tasks.split(",") if name],
            limit=limit,
            prompts=prompts,
            margins=margins,
            alpha=alpha,
            device=device,
            out=out,
            progress=progress,
        )
    emit(to_json(verdict), as_json, verdict_markdown(verdict))
    return verdict.exit_code
