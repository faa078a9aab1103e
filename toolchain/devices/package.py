"""The Android app on a device: whether it is there, and how it gets there."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolchain import __version__
from toolchain.devices.answer import last_line
from toolchain.devices.place import Place, look_around
from toolchain.devices.push import Item
from toolchain.devices.session import Session
from toolchain.devices.shell import Shell, run_script, run_text
from toolchain.errors import BadRequestError, MissingError, ParedownError
from toolchain.progress import SILENT, Progress
from toolchain.store import sha256_file

PACKAGE = "dev.paredown.demo"
COMPONENT = f"{PACKAGE}/.BenchInstrumentation"
INSTALL_S = 300.0
"""The package manager checks signatures and compiles."""

_REASONS = {
    "NO_MATCHING_ABIS": (
        "the app has no code for its processor",
        "build it for this device's ABI: abiFilters in android_demo/app/build.gradle",
    ),
    "INSUFFICIENT_STORAGE": ("it has too little space", "free some there"),
    "UPDATE_INCOMPATIBLE": (
        "the app that is there was signed with another key",
        f"remove it first, with its data: adb -s {{serial}} uninstall {PACKAGE}",
    ),
    "VERSION_DOWNGRADE": (
        "a newer one is there",
        f"remove it first, with its data: adb -s {{serial}} uninstall {PACKAGE}",
    ),
    "OLDER_SDK": ("its Android is too old", "Android 8.0 (API level 26) or newer is needed"),
    "USER_RESTRICTED": (
        "it wants a person's consent",
        "allow 'Install via USB' in its developer options and confirm on its screen",
    ),
    "VERIFICATION_FAILURE": (
        "Play Protect refused it",
        "confirm on its screen, or switch off 'Verify apps over USB'",
    ),
    "INVALID_APK": ("the file is no sound APK", "build it again"),
    "NO_CERTIFICATES": ("the APK is not signed", "build a debug APK, or sign it"),
    "PARSE_FAILED": ("the file is no sound APK", "build it again"),
}
"""Part of the package manager's code -> what is wrong, and the way out."""


@dataclass(frozen=True)
class InstalledApp:
    """The app as the package manager knows it."""

    package: str
    version: str
    abi: str
    """Whose native libraries it uses; empty where it has none."""
    component: str
    """Of the instrumentation; empty where the app has none."""
    path: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def installed_app(shell: Shell) -> InstalledApp | None:
    """The app on the device, of whatever version; None where it is not installed.

    Raises:
        MissingError: the connection broke.
    """
    facts = dict(line.partition(" ")[::2] for line in run_script(shell, "package", [PACKAGE]))
    if "path" not in facts:
        return None
    abi = facts.get("abi", "null")
    return InstalledApp(
        package=PACKAGE,
        version=facts.get("version", ""),
        abi="" if abi == "null" else abi,
        component=facts.get("instrumentation", ""),
        path=facts["path"],
    )


def require_app(shell: Shell) -> InstalledApp:
    """The app of this version.

    Raises:
        MissingError: it is not installed, or another version is.
    """
    found = installed_app(shell)
    install = f"paredown android install --device {shell.uri}"
    if found is None:
        raise MissingError(f"{shell.uri} has no app {PACKAGE}", f"install it: {install}")
    reason = why_not(found)
    if reason:
        raise MissingError(f"{shell.uri}: {reason}", f"install this one: {install}")
    return found


def why_not(app: InstalledApp) -> str:
    """Why an installed app cannot measure for this host; empty where it can."""
    if app.version != __version__:
        other = app.version or "unknown"
        return f"its app {app.package} has version {other}, this is paredown {__version__}"
    if app.component != COMPONENT:
        return f"its app {app.package} has no instrumentation {COMPONENT}"
    return ""


def require_android(place: Place, uri: str) -> None:
    """Raise MissingError where the device is none."""
    if place.system != "android":
        raise MissingError(f"{uri} is no Android, so no app runs there", "measure without the app")


def install_app(shell: Shell, apk: Path, progress: Progress = SILENT) -> InstalledApp:
    """Install an APK over what is there; nothing else stays behind.

    The file goes the way of bundles: by its SHA-256, checked there, on from where a push broke.

    Args:
        shell: the device.
        apk: a file of this machine.
        progress: one step per MiB.

    Raises:
        BadRequestError: there is no such file, or it holds another app or version.
        MissingError: the device refuses it, is in use, has no space, or went away.
    """
    if not apk.is_file():
        raise BadRequestError(f"there is no APK {apk}", "see android_demo/README.md")
    place = look_around(shell)
    require_android(place, shell.uri)
    session = Session(shell, place.root, place.lock)
    try:
        item = Item(apk, "app.apk", apk.stat().st_size, sha256_file(apk))
        folder = session.bring([item], "apk", f"push the app to {shell.uri}", progress, copy=True)
        with progress.task(f"install the app on {shell.uri}", None):
            _install(shell, f"{folder}/app.apk")
    finally:
        session.close(keep=False)
    return _require_installed(shell, apk)


def _install(shell: Shell, path: str) -> None:
    status, out = run_text(
        shell, "install", 'pm install -r -t "$1" 2>&1 </dev/null', [path], timeout_s=INSTALL_S
    )
    if status != 0 or "Success" not in out.split():
        raise refusal(shell.uri, out)


def refusal(uri: str, said: str) -> ParedownError:
    """The error for what the package manager said instead of `Success`."""
    code = re.search(r"\[?(INSTALL_[A-Z_]+)", said)
    for part, (reason, hint) in _REASONS.items():
        if code is not None and part in code[1]:
            way_out = hint.format(serial=uri.partition(":")[2])
            return MissingError(f"{uri} does not install the app: {reason} ({code[1]})", way_out)
    return MissingError(
        f"{uri} does not install the app: {last_line(said) or 'it gave no reason'}",
        "look at its screen: it may ask for consent",
    )


def _require_installed(shell: Shell, apk: Path) -> InstalledApp:
    found = installed_app(shell)
    if found is None:
        raise BadRequestError(f"{apk} is not the app {PACKAGE}", "see android_demo/README.md")
    reason = why_not(found)
    if reason:
        raise BadRequestError(
            f"{apk} is installed, but {reason}", "build the app from the same source as paredown"
        )
    return found
