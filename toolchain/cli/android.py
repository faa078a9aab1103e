"""`paredown android`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from toolchain.cli.output import JsonFlag, emit, emit_text, progress_on_stderr
from toolchain.errors import BadRequestError, did_you_mean
from toolchain.progress import Progress
from toolchain.recipe import ProfileSettings

EXAMPLES = (
    "Examples: paredown android install --device adb:SERIAL; paredown android bench bundle "
    "--device adb:SERIAL --out report.json; paredown android chat bundle --device adb:SERIAL"
)

DEFAULT = ProfileSettings()
CHAT_TOKENS = 128


def command(  # noqa: PLR0913, PLR0917 - one parameter per option
    action: Annotated[str, Argument(help="install, bench or chat.")],
    device: Annotated[str, Option(help="adb:SERIAL.")],
    bundle: Annotated[Path | None, Argument(help="Directory of a bundle, but for install.")] = None,
    apk: Annotated[
        Path | None, Option(help="The app; by default the newest built here, or a new one.")
    ] = None,
    out: Annotated[Path | None, Option(help="bench: write the report (JSON) here.")] = None,
    prompt: Annotated[str | None, Option(help="chat: one prompt; else lines of stdin.")] = None,
    prompt_tokens: Annotated[
        str, Option("--prompt-tokens", "-p", help="bench: prompt length; 128,512 makes two rows.")
    ] = str(DEFAULT.prompt_tokens),
    generated_tokens: Annotated[
        int | None,
        Option("--generated-tokens", "-n", help="Decode steps; chat: most new tokens."),
    ] = None,
    repetitions: Annotated[
        int, Option("--repetitions", "-r", help="bench: measurements in each launch.")
    ] = DEFAULT.repetitions,
    launches: Annotated[int, Option(help="bench: fresh processes.")] = DEFAULT.launches,
    threads: Annotated[int, Option("--threads", "-t", help="Compute threads.")] = DEFAULT.threads,
    as_json: JsonFlag = False,
) -> int:
    """Entry point; help texts come from the group."""
    with progress_on_stderr() as progress:
        if action == "install":
            return _install(device, apk, as_json, progress)
        if action not in ("bench", "chat"):
            hint = did_you_mean(action, ("install", "bench", "chat"))
            raise BadRequestError(f"unknown action '{action}'", hint)
        if bundle is None:
            raise BadRequestError(f"{action} without a bundle", f"paredown android {action} BUNDLE")
        if action == "chat":
            tokens = CHAT_TOKENS if generated_tokens is None else generated_tokens
            return _chat(bundle, device, prompt, tokens, threads, apk, as_json, progress)
        tokens = DEFAULT.generated_tokens if generated_tokens is None else generated_tokens
        fixed: dict[str, object] = {"repetitions": repetitions, "launches": launches}
        rows = (prompt_tokens, str(tokens), str(DEFAULT.depth), str(threads))
        return _bench(bundle, device, rows, fixed, apk, out, as_json, progress)


def _install(device: str, apk: Path | None, as_json: bool, progress: Progress) -> int:
    from toolchain import api

    app = api.android_install(device, apk=apk, progress=progress)
    text = f"{app.package} {app.version} is installed on {device} ({app.abi or 'no native code'})"
    emit(app.to_json(), as_json, text)
    return 0


def _bench(
    bundle: Path,
    device: str,
    rows: tuple[str, str, str, str],
    fixed: dict[str, object],
    apk: Path | None,
    out: Path | None,
    as_json: bool,
    progress: Progress,
) -> int:
    from toolchain import api
    from toolchain.errors import EXIT_INVALID_MEASUREMENT, EXIT_OK
    from toolchain.profiling.output import render
    from toolchain.profiling.request import grid

    protocols = grid(*rows, fixed)
    found = api.android_bench(bundle, device, protocols, apk=apk, out=out, progress=progress)
    if found.reports:
        emit_text(render(found.reports, "json" if as_json else "md"))
    if found.failures:
        raise found.failures[0].error
    invalid = any(report.validity == "invalid" for report in found.reports)
    return EXIT_INVALID_MEASUREMENT if invalid else EXIT_OK


def _chat(
    bundle: Path,
    device: str,
    prompt: str | None,
    max_new_tokens: int,
    threads: int,
    apk: Path | None,
    as_json: bool,
    progress: Progress,
) -> int:
    from runtime_py.schema import to_json
    from toolchain import api

    answers = api.android_chat(
        bundle,
        device,
        [prompt] if prompt is not None else _lines(),
        max_new_tokens=max_new_tokens,
        threads=threads,
        say=_ignore if as_json else _say,
        apk=apk,
        progress=progress,
    )
    if as_json:
        result: Any = to_json(answers[0] if prompt is not None else answers)
        emit(result, as_json, "")
    return 0


def _lines() -> Iterator[str]:
    """Lines of stdin that are not empty, as they come."""
    while True:
        if sys.stdin.isatty():
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if text := line.rstrip("\r\n"):
            yield text


def _say(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()


def _ignore(piece: str) -> None:
    """With --json the whole answers are the result."""
