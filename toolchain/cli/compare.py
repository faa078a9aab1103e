"""`paredown compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from toolchain.cli.output import JsonFlag, emit, progress_on_stderr
from toolchain.recipe import ProfileSettings

EXAMPLES = (
    "Examples: paredown compare before.json after.json --fail-on regress --margin 5%; "
    "paredown compare bundle-a bundle-b --interleave --device ssh:pi@raspberrypi"
)

DEFAULT = ProfileSettings()


def command(  # noqa: PLR0913, PLR0917 - one parameter per option
    a: Annotated[Path, Argument(help="The reference: a report, or a bundle with --interleave.")],
    b: Annotated[Path, Argument(help="The candidate: a report or a bundle.")],
    interleave: Annotated[
        bool, Option("--interleave", help="Measure two bundles in turns, A B B A.")
    ] = False,
    fail_on: Annotated[
        str | None, Option(help="regress: exit 1 where B is worse, 4 where it is not clear.")
    ] = None,
    margin: Annotated[str, Option(help="How much worse B may be, with --fail-on.")] = "5%",
    device: Annotated[str, Option(help="Where to measure, with --interleave.")] = DEFAULT.device,
    prompt_tokens: Annotated[
        int, Option("--prompt-tokens", "-p", help="Prompt length, with --interleave.")
    ] = DEFAULT.prompt_tokens,
    generated_tokens: Annotated[
        int, Option("--generated-tokens", "-n", help="Decode steps, with --interleave.")
    ] = DEFAULT.generated_tokens,
    depth: Annotated[
        int, Option("--depth", "-d", help="Tokens in the KV cache, with --interleave.")
    ] = DEFAULT.depth,
    repetitions: Annotated[
        int, Option("--repetitions", "-r", help="In each launch, with --interleave.")
    ] = DEFAULT.repetitions,
    launches: Annotated[
        int, Option(help="Of each bundle, rounded up to an even number, with --interleave.")
    ] = DEFAULT.launches,
    threads: Annotated[
        int, Option("--threads", "-t", help="Threads, with --interleave.")
    ] = DEFAULT.threads,
    engine: Annotated[str, Option(help="auto or native, with --interleave.")] = DEFAULT.engine,
    out: Annotated[Path | None, Option(help="Write the comparison (JSON) here.")] = None,
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    import json

    from runtime_py.schema import to_json
    from toolchain import api
    from toolchain.errors import BadRequestError
    from toolchain.profiling.comparison import comparison_table, gravest
    from toolchain.profiling.request import share
    from toolchain.recipe import build
    from toolchain.store import write_text

    if fail_on not in (None, "regress"):
        raise BadRequestError(f"--fail-on is '{fail_on}'", "it knows regress")
    limit = share(margin, "--margin") if fail_on else None
    with progress_on_stderr() as progress:
        if interleave:
            settings = build(
                ProfileSettings,
                {
                    "prompt_tokens": prompt_tokens,
                    "generated_tokens": generated_tokens,
                    "depth": depth,
                    "repetitions": repetitions,
                    "launches": launches,
                    "threads": threads,
                    "engine": engine,
                },
                "compare",
            )
            found = [
                api.compare_bundles(
                    a, b, settings.protocol, device=device, margin=limit, progress=progress
                )
            ]
        else:
            found = api.compare_reports(a, b, margin=limit)
    value = to_json(found[0] if len(found) == 1 else found)
    if out is not None:
        write_text(out, json.dumps(value, indent=2) + "\n")
    emit(value, as_json, "\n".join(map(comparison_table, found)))
    return gravest(found)
