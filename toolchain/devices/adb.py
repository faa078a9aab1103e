"""`adb:SERIAL`: an Android device through the adb program, always by its serial."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.devices.answer import last_line
from toolchain.errors import BadRequestError, MissingError, ParedownError

ADB_S = 30.0
_STATES = {
    "unauthorized": ("it has not accepted this computer", "unlock it and allow USB debugging"),
    "offline": ("it is offline", "unplug it and plug it in again, or: adb -s {serial} reconnect"),
    "no permissions": ("this user may not open it", "see 'adb devices -l' about udev rules"),
}


@dataclass(frozen=True)
class AdbEntry:
    """One line of `adb devices -l`."""

    serial: str
    state: str
    model: str


def adb_program() -> str:
    """The adb program.

    Raises:
        MissingError: there is none.
    """
    program = shutil.which("adb")
    if program is None:
        raise MissingError("there is no adb here", "install Android's platform tools (adb)")
    return program


def adb_devices() -> list[AdbEntry]:
    """What `adb devices -l` lists.

    Raises:
        MissingError: no adb, or its server does not start.
    """
    status, out = _adb([adb_program(), "devices", "-l"])
    if status != 0:
        raise MissingError(f"adb lists no devices: {_complaint(out)}")
    entries = []
    for line in out.splitlines():
        match = re.match(r"(\S+)\s+(no permissions|\w+)\b(.*)", line)
        if match and not line.startswith(("List of", "*")):
            model = re.search(r"\bmodel:(\S+)", match[3])
            entries.append(AdbEntry(match[1], match[2], model[1] if model else ""))
    return entries


class AdbShell:
    """`adb -s SERIAL shell`, version 2 of its protocol: exit status and separate streams.

    Raises:
        BadRequestError: no serial.
        MissingError: no adb, no such device, or one that does not talk to us.
    """

    def __init__(self, serial: str) -> None:
        if not serial or serial.startswith("-"):
            raise BadRequestError(
                f"'adb:{serial}' names no device", f"write adb:SERIAL; {_listing(adb_devices())}"
            )
        self._program = adb_program()
        self._serial = serial
        self.uri = f"adb:{serial}"
        self._require_ready()

    def command(self, arguments: Sequence[str]) -> list[str]:
        """See `toolchain.devices.shell.Shell`."""
        return [self._program, "-s", self._serial, "shell", "-T", shlex.join(arguments)]

    def explain(self, said: str) -> ParedownError:
        """See `toolchain.devices.shell.Shell`."""
        return MissingError(
            f"the connection to {self.uri} broke: {_complaint(said)}",
            "is it still plugged in? run again: what was pushed is not pushed twice",
        )

    def close(self) -> None:
        """The adb server stays: it is not ours."""

    def _require_ready(self) -> None:
        entries = adb_devices()
        found = next((entry for entry in entries if entry.serial == self._serial), None)
        if found is None:
            way = f"; for a network device: adb connect {self._serial}" * (":" in self._serial)
            raise MissingError(f"there is no device {self.uri}", _listing(entries) + way)
        if found.state != "device":
            reason, hint = _STATES.get(found.state, (f"it is '{found.state}'", "see 'adb devices'"))
            raise MissingError(f"cannot use {self.uri}: {reason}", hint.format(serial=self._serial))
        status, features = _adb([self._program, "-s", self._serial, "features"])
        if status != 0 or "shell_v2" not in features:
            raise MissingError(
                f"{self.uri} does not report exit codes (adb's shell_v2)", "Android 7 or later does"
            )


def _listing(entries: list[AdbEntry]) -> str:
    return "adb sees " + (", ".join(entry.serial for entry in entries) or "none")


def _adb(command: list[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=ADB_S,
        )
    except subprocess.TimeoutExpired:
        raise MissingError(
            f"adb did not answer within {ADB_S:g} s", "restart its server: adb kill-server"
        ) from None
    return done.returncode, done.stdout.decode("utf-8", "replace")


def _complaint(said: str) -> str:
    return last_line(said).removeprefix("error: ") or "it said nothing"
