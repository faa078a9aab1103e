"""Verbs of the Android app: install it, measure with it, talk to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.api.measuring import profile_rows
from toolchain.progress import SILENT, Progress

if TYPE_CHECKING:
    from runtime_py.schema import Protocol
    from toolchain.devices.app_wire import ChatAnswer
    from toolchain.devices.package import InstalledApp
    from toolchain.profiling.run import Rows


def android_install(
    device: str, *, apk: str | Path | None = None, progress: Progress = SILENT
) -> InstalledApp:
    """Install the app on a phone, over what is there.

    Args:
        device: `adb:SERIAL`.
        apk: the APK; None: the newest that was built in this source tree, or a new one.
        progress: where the talk goes.

    Raises:
        ParedownError: no APK and no tools to build one, a device that refuses it or went away.
    """
    from toolchain.devices import choose_way, open_shell
    from toolchain.devices.apk import find_apk
    from toolchain.devices.package import install_app

    shell = open_shell(choose_way(device, "app"))
    try:
        file = Path(apk) if apk is not None else find_apk(progress)
        return install_app(shell, file, progress)
    finally:
        shell.close()


def android_bench(
    bundle: str | Path,
    device: str,
    protocols: Sequence[Protocol],
    *,
    apk: str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress = SILENT,
) -> Rows:
    """Measure a bundle in the app; the app of this version is installed where it is not there.

    Args:
        bundle: the bundle's directory.
        device: `adb:SERIAL`.
        protocols: what to run, each a row.
        apk: as `android_install`.
        out: the report, or the set of reports, as JSON.
        progress: where the talk goes.

    Raises:
        ParedownError: as `android_install` and `profile_rows`.
    """
    from toolchain.devices import choose_way

    _install_if_missing(device, apk, progress)
    return profile_rows(bundle, [choose_way(device, "app")], protocols, out=out, progress=progress)


def android_chat(
    bundle: str | Path,
    device: str,
    prompts: Iterable[str],
    *,
    max_new_tokens: int,
    threads: int,
    say: Callable[[str], None],
    apk: str | Path | None = None,
    progress: Progress = SILENT,
) -> list[ChatAnswer]:
    """Answer prompts in the app, each in a process of its own that knows nothing of the others.

    Args:
        bundle: the bundle's directory.
        device: `adb:SERIAL`.
        prompts: read one at a time.
        max_new_tokens: of each answer, 1 or more.
        threads: compute threads.
        say: gets the text as it comes, and a line feed after each answer.
        apk: as `android_install`.
        progress: where the talk goes.

    Raises:
        ParedownError: as `android_install`, and what stops the app.
    """
    from toolchain.devices import choose_way, open_shell
    from toolchain.devices.app import AppDevice
    from toolchain.errors import BadRequestError

    for name, value in (("-n", max_new_tokens), ("--threads", threads)):
        if value < 1:
            raise BadRequestError(f"{name} is {value}", "use 1 or more")
    _install_if_missing(device, apk, progress)
    answers = []
    with AppDevice(open_shell(choose_way(device, "app"))) as machine:
        machine.prepare(Path(bundle), progress)
        for prompt in prompts:
            answers.append(machine.chat(Path(bundle), prompt, max_new_tokens, threads, say))
            say("\n")
    return answers


def _install_if_missing(device: str, apk: str | Path | None, progress: Progress) -> None:
    from toolchain.devices import choose_way, open_shell
    from toolchain.devices.package import installed_app, why_not

    shell = open_shell(choose_way(device, "app"))
    try:
        found = installed_app(shell)
    finally:
        shell.close()
    if found is None or why_not(found):
        android_install(device, apk=apk, progress=progress)
