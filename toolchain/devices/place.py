"""What a device is, asked once: its kind, its folders, its Pythons."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.devices.shell import Shell, run_script
from toolchain.errors import MissingError

OLDEST_PYTHON = (3, 11)
PYTHON_S = 300.0
"""Three Pythons that start on a slow or emulated device."""

# Prints "python PATH VERSION ONNXRUNTIME NUMPY" ('-' where absent); status 0 when it will do.
_ASK = f"""
import sys
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "-"
found = [version("onnxruntime"), version("numpy")]
print("python", sys.argv[1], sys.version.split()[0], *found)
sys.exit(sys.version_info < {OLDEST_PYTHON} or "-" in found)
"""

NAMES = {
    "arm64-v8a": "aarch64",
    "arm64": "aarch64",
    "armeabi-v7a": "armv7l",
    "amd64": "x86_64",
}
"""Android's and other systems' names of what `uname -m` of Linux says."""


@dataclass(frozen=True)
class Python:
    """One interpreter there; versions are None where the package is absent."""

    path: str
    version: str
    onnxruntime: str | None
    numpy: str | None

    @property
    def young_enough(self) -> bool:
        """Whether the agent runs on it."""
        numbers = [int(part) for part in self.version.split(".")[:2]]
        return tuple(numbers) >= OLDEST_PYTHON

    @property
    def runs_onnx(self) -> bool:
        """Whether the agent runs on it and finds what .onnx bundles need."""
        return self.young_enough and self.onnxruntime is not None and self.numpy is not None


@dataclass(frozen=True)
class Place:
    """One device."""

    system: str
    """`linux` or `android`."""
    arch: str
    """As `uname -m` of Linux: `aarch64`, `x86_64`, `armv7l`."""
    root: str
    lock: str
    emulator: str
    """By what the emulator was recognised; empty on hardware."""
    pythons: list[Python]

    @property
    def python(self) -> Python | None:
        """The one that serves best."""
        young = [python for python in self.pythons if python.young_enough]
        return next((python for python in young if python.runs_onnx), young[0] if young else None)


def look_around(shell: Shell) -> Place:
    """Ask the device what it is.

    Raises:
        MissingError: the connection broke, or it is no Linux.
    """
    values: dict[str, str] = {}
    pythons = []
    for line in run_script(shell, "where", [_ASK], timeout_s=PYTHON_S):
        key, _, value = line.partition(" ")
        if key == "python":
            path, version, onnxruntime, numpy = value.rsplit(" ", 3)
            known = [None if name == "-" else name for name in (onnxruntime, numpy)]
            pythons.append(Python(path, version, *known))
        else:
            values.setdefault(key, value)
    missing = [key for key in ("system", "abi", "root", "lock") if not values.get(key)]
    if missing:
        raise MissingError(f"{shell.uri} does not say its {missing[0]}", "is it a Linux?")
    return Place(
        system=values["system"],
        arch=NAMES.get(values["abi"], values["abi"]),
        root=values["root"],
        lock=values["lock"],
        emulator=values.get("emulated", ""),
        pythons=pythons,
    )
