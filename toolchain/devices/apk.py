"""Where the Android app comes from: what was built in this source tree, or a build of it now."""

from __future__ import annotations

import subprocess
from pathlib import Path

import toolchain
from toolchain.devices.answer import last_line
from toolchain.errors import MissingError
from toolchain.progress import Progress

SOURCE = Path(toolchain.__file__).parents[1]
DEMO = SOURCE / "android_demo"
OFFLINE_APK = SOURCE / "out" / "android" / "paredown-demo.apk"
BUILD_SCRIPT = DEMO / "offline" / "build_apk.sh"
GRADLE_OUTPUTS = DEMO / "app" / "build" / "outputs" / "apk"
BUILD_S = 900.0
WITH_GRADLE = "build it with Gradle as android_demo/README.md says, and give --apk FILE"


def find_apk(progress: Progress) -> Path:
    """The newest APK that Gradle built in this source tree; else a new one of the offline build.

    Raises:
        MissingError: paredown was installed without its sources, or the tools are not here.
    """
    built = list(GRADLE_OUTPUTS.glob("*/*.apk"))
    if built:
        newest = max(built, key=lambda path: path.stat().st_mtime)
        progress.note(f"using {newest}")
        return newest
    if not BUILD_SCRIPT.is_file():
        raise MissingError("there is no APK, and the app's sources are not here", WITH_GRADLE)
    with progress.task("build the app", None):
        _build()
    progress.note(f"using {OFFLINE_APK}, an offline build: its screens work, but it has no engine")
    progress.note(f"for an app that measures, {WITH_GRADLE}")
    return OFFLINE_APK


def _build() -> None:
    try:
        done = subprocess.run(  # noqa: S603 - our own script, no shell
            [str(BUILD_SCRIPT)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=BUILD_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MissingError(f"the app was not built within {BUILD_S:g} s", WITH_GRADLE) from None
    if done.returncode != 0 or not OFFLINE_APK.is_file():
        reason = last_line(done.stderr) or f"exit status {done.returncode}"
        raise MissingError(f"the app cannot be built here: {reason}", WITH_GRADLE)
