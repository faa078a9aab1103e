"""`paredown profile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from toolchain.cli.output import JsonFlag, emit, progress_on_stderr
from toolchain.recipe import ProfileSettings

EXAMPLES = "Example: paredown profile bundle -p 128 -n 64 -r 3 --launches 3 --out report.json"

DEFAULT = ProfileSettings()


def command(
    bundle: Annotated[Path, Argument(help="Directory of a bundle.")],
    out: Annotated[Path | None, Option(help="Write the report (JSON) here.")] = None,
    device: Annotated[str, Option(help="Where to measure: local.")] = DEFAULT.device,
    prompt_tokens: Annotated[
        int, Option("--prompt-tokens", "-p", help="Prompt length.")
    ] = DEFAULT.prompt_tokens,
    generated_tokens: Annotated[
        int, Option("--generated-tokens", "-n", help="Decode steps.")
    ] = DEFAULT.generated_tokens,
    repetitions: Annotated[
        int, Option("--repetitions", "-r", help="Measurements in each launch.")
    ] = DEFAULT.repetitions,
    launches: Annotated[int, Option(help="Fresh engine processes.")] = DEFAULT.launches,
    threads: Annotated[int, Option("--threads", "-t", help="Threads.")] = DEFAULT.threads,
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from runtime_py.schema import to_json
    from toolchain import api
    from toolchain.errors import EXIT_INVALID_MEASUREMENT, EXIT_OK
    from toolchain.profiling.table import report_table

    with progress_on_stderr() as progress:
        report = api.profile(
            bundle,
            device=device,
            prompt_tokens=prompt_tokens,
            generated_tokens=generated_tokens,
            repetitions=repetitions,
            launches=launches,
            threads=threads,
            out=out,
            progress=progress,
        )
    emit(to_json(report), as_json, report_table(report))
    return EXIT_INVALID_MEASUREMENT if report.validity == "invalid" else EXIT_OK
