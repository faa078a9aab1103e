"""`paredown profile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from toolchain.cli.output import JsonFlag, ViaOption, emit_text, progress_on_stderr
from toolchain.recipe import ProfileSettings

EXAMPLES = (
    "Examples: paredown profile bundle -p 128,512 -n 128 -d 0,1024 -t 1-4 --out report.json; "
    "paredown profile bundle --device ssh:pi@raspberrypi --device adb:SERIAL"
)

DEFAULT = ProfileSettings()


def command(  # noqa: PLR0913, PLR0917 - one parameter per option
    bundle: Annotated[Path, Argument(help="Directory of a bundle.")],
    out: Annotated[Path | None, Option(help="Write the report (JSON) here.")] = None,
    device: Annotated[
        list[str] | None,
        Option(
            help="local, ssh:[user@]host[:port], adb:SERIAL or replay:FILE; several are measured "
            "at the same time.  [default: local]"
        ),
    ] = None,
    via: ViaOption = None,
    prompt_tokens: Annotated[
        str, Option("--prompt-tokens", "-p", help="Prompt length; 128,512 makes two rows.")
    ] = str(DEFAULT.prompt_tokens),
    generated_tokens: Annotated[
        str, Option("--generated-tokens", "-n", help="Decode steps.")
    ] = str(DEFAULT.generated_tokens),
    depth: Annotated[
        str, Option("--depth", "-d", help="Tokens in the KV cache before the prompt.")
    ] = str(DEFAULT.depth),
    repetitions: Annotated[
        int, Option("--repetitions", "-r", help="Measurements in each launch.")
    ] = DEFAULT.repetitions,
    launches: Annotated[int, Option(help="Fresh engine processes.")] = DEFAULT.launches,
    warmup: Annotated[int, Option(help="Repetitions thrown away first.")] = DEFAULT.warmup,
    threads: Annotated[str, Option("--threads", "-t", help="Threads; 1-4 makes four rows.")] = str(
        DEFAULT.threads
    ),
    affinity: Annotated[
        str, Option(help="big: the fastest kind of cores only; all.")
    ] = DEFAULT.affinity,
    engine: Annotated[str, Option(help="auto, or native: the C++ runner.")] = DEFAULT.engine,
    cold: Annotated[bool, Option(help="Also load from a cold page cache.")] = DEFAULT.cold,
    memory: Annotated[bool, Option(help="Also a launch for memory.")] = DEFAULT.memory,
    cool_down: Annotated[
        float | None, Option(help="Before each launch, wait until it is as cool as this (°C).")
    ] = None,
    sustained: Annotated[
        str, Option(help="Also a launch without pauses for this long, such as 600s or 10m.")
    ] = "0s",
    keep: Annotated[bool, Option("--keep", help="Leave on the device what was pushed.")] = False,
    record: Annotated[
        Path | None, Option(help="Write the session here, for replay:FILE (one device).")
    ] = None,
    output: Annotated[str, Option("--output", "-o", help="md, json, jsonl or csv.")] = "md",
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    from toolchain import api
    from toolchain.devices import choose_way
    from toolchain.errors import EXIT_INVALID_MEASUREMENT, EXIT_OK
    from toolchain.profiling.output import render
    from toolchain.profiling.request import choose_output, grid, one_of_each, seconds

    form = choose_output(output, as_json)
    devices = [choose_way(uri, via) for uri in device or [DEFAULT.device]]
    devices = one_of_each(devices, record)
    fixed: dict[str, object] = {
        "repetitions": repetitions,
        "launches": launches,
        "warmup": warmup,
        "affinity": affinity,
        "engine": engine,
        "cold": cold,
        "memory": memory,
        "cooldown_celsius": cool_down,
        "sustained_s": seconds(sustained),
    }
    protocols = grid(prompt_tokens, generated_tokens, depth, threads, fixed)
    with progress_on_stderr() as progress:
        rows = api.profile_rows(
            bundle, devices, protocols, keep=keep, record=record, out=out, progress=progress
        )
        if rows.reports:
            emit_text(render(rows.reports, form))
        for failure in rows.failures[1:]:
            progress.note(f"{failure.device_uri}: {failure.error}")
    if rows.failures:
        raise rows.failures[0].error
    invalid = any(report.validity == "invalid" for report in rows.reports)
    return EXIT_INVALID_MEASUREMENT if invalid else EXIT_OK
