"""Where sensors are read: this machine, a made-up root, or a machine behind a shell."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from runtime_py.schema import Reading

COMMAND_TIMEOUT_S = 5.0

Run = Callable[[Sequence[str]], str | None]
"""Standard output of a command, or None where it is absent or fails."""


class Source(Protocol):
    """Files and commands of one machine. Paths are relative to its root: `proc/meminfo`."""

    def read(self, path: str) -> str | None:
        """A file's text, or None where it cannot be read."""
        ...

    def paths(self, pattern: str) -> list[str]:
        """Paths that match a glob pattern, sorted."""
        ...

    def run(self, *command: str) -> str | None:
        """Standard output of a command, or None where it is absent or fails."""
        ...

    def own(self) -> dict[str, Reading]:
        """What no file says: `machine`, and `python` where there is one."""
        ...


class LocalSource:
    """This machine.

    Args:
        root: where /proc and /sys are looked for.
        run: runs a command.
    """

    def __init__(self, root: Path = Path("/"), run: Run | None = None) -> None:
        self._root = root
        self._run = run or _RunHere()

    def read(self, path: str) -> str | None:
        """A file's text, or None."""
        try:
            return (self._root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def paths(self, pattern: str) -> list[str]:
        """Paths that match, sorted."""
        return sorted(str(path.relative_to(self._root)) for path in self._root.glob(pattern))

    def run(self, *command: str) -> str | None:
        """Standard output, or None."""
        return self._run(command)

    def own(self) -> dict[str, Reading]:
        """Of this interpreter."""
        machine = platform.machine()
        return {
            "machine": Reading(machine or None, "" if machine else "the system does not say"),
            "python": Reading(platform.python_version()),
        }


class _RunHere:
    """Commands of this machine; what is not installed is looked for once."""

    def __init__(self) -> None:
        self._found: dict[str, bool] = {}

    def __call__(self, command: Sequence[str]) -> str | None:
        program = command[0]
        if program not in self._found:
            self._found[program] = shutil.which(program) is not None
        return _output(command) if self._found[program] else None


def _output(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - the commands of this package, no shell
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def text(source: Source, path: str) -> Reading:
    """A file's content without blanks at its ends."""
    content = (source.read(path) or "").strip(" \t\r\n\0")
    return Reading(content) if content else Reading(None, f"/{path} cannot be read")


def number(source: Source, path: str, factor: float = 1.0) -> Reading:
    """A file's content as a number, times `factor`."""
    reading = text(source, path)
    if reading.value is None:
        return reading
    try:
        return Reading(float(reading.value) * factor)
    except ValueError:
        return Reading(None, f"/{path} is {reading.value!r}, not a number")


def field(content: str | None, name: str) -> str | None:
    """The value of the first `name : value` line."""
    for line in (content or "").splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name and value.strip():
            return value.strip()
    return None


def kibibytes(source: Source, path: str, name: str) -> Reading:
    """A `name: 123 kB` line in bytes."""
    value = (field(source.read(path), name) or "").removesuffix("kB").strip()
    if not value.isdigit():
        return Reading(None, f"/{path} has no {name}")
    return Reading(float(int(value) * 1024))
