"""`paredown doctor --device`: what a device runs, and the line that fixes what it does not."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import sys
from dataclasses import asdict, dataclass
from typing import Any

from runtime_py import sensors
from runtime_py.schema import Reading
from toolchain.devices import open_shell
from toolchain.devices.package import PACKAGE, installed_app, why_not
from toolchain.devices.place import OLDEST_PYTHON, Place, Python, look_around
from toolchain.devices.readings import read_device
from toolchain.devices.remote import INSTALL_ONNX
from toolchain.devices.shell import Shell, run_script
from toolchain.errors import MissingError

NEEDED_FREE_BYTES = 256e6

FEATURES = {
    "asimd": ("asimd", "neon"),
    "dotprod": ("asimddp",),
    "i8mm": ("i8mm",),
    "sve": ("sve",),
    "avx2": ("avx2",),
    "avx512f": ("avx512f",),
}
"""Our name -> the kernel's names in /proc/cpuinfo."""
_OF_ARCH = {
    "aarch64": ("asimd", "dotprod", "i8mm", "sve"),
    "x86_64": ("avx2", "avx512f"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that the device does, or does not."""

    works: bool
    what: str
    why: str = ""
    fix: str = ""
    """The line that mends it; empty where nothing does."""


@dataclass(frozen=True)
class Checkup:
    """Facts and findings about one device."""

    uri: str
    system: str
    arch: str
    emulator: str
    libc: str
    page_bytes: int | None
    free_disk_bytes: int | None
    cpu_features: dict[str, bool]
    pythons: list[dict[str, Any]]
    sensors: dict[str, Reading]
    findings: list[Finding]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def text(self) -> str:
        """Lines for a person."""
        value = {name: reading.value for name, reading in self.sensors.items()}
        features = ", ".join(
            f"{n} {'yes' if has else 'no'}" for n, has in self.cpu_features.items()
        )
        emulated = f" (emulated: {self.emulator})" if self.emulator else ""
        lines = [
            f"{self.uri}: {value['cpu_model'] or 'unknown model'}{emulated}",
            f"{self.system} {self.arch}, kernel {value['kernel'] or 'unknown'}, {self.libc}",
            f"cores {value['clusters'] or value['cpu_count'] or 'unknown'}; {features}",
            f"memory {_size(value['memory_total_bytes'])}, "
            f"{_size(value['memory_available_bytes'])} available; pages of "
            f"{self.page_bytes or 'unknown'} bytes; {_size(self.free_disk_bytes)} free to push to",
            f"governor {value['governor'] or 'unknown'}; "
            f"temperature {_degrees(value['temperature_celsius'])}; "
            f"throttled since boot: {value['throttled_since_boot'] or 'unknown'}",
            "python: " + (", ".join(_python(python) for python in self.pythons) or "none"),
            "",
        ]
        for finding in self.findings:
            why = f": {finding.why}" if finding.why else ""
            lines.append(f"{'yes' if finding.works else 'no':<5}{finding.what}{why}")
            if finding.fix:
                lines.append(f"     {finding.fix}")
        return "\n".join(lines)


def examine(uri: str) -> Checkup:
    """Look at a device without holding it: others may measure meanwhile.

    Raises:
        BadRequestError, MissingError: as `open_device`.
    """
    shell = open_shell(uri)
    try:
        place = look_around(shell)
        if uri == "local":  # the agent runs here with this interpreter, whatever else there is
            place = dataclasses.replace(place, pythons=[_this_python()])
        return _examine(shell, place)
    finally:
        shell.close()


def _this_python() -> Python:
    found: list[str | None] = []
    for package in ("onnxruntime", "numpy"):
        try:
            found.append(importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            found.append(None)
    return Python(sys.executable, platform.python_version(), *found)


def _examine(shell: Shell, place: Place) -> Checkup:
    readings = sensors.read_all(read_device(shell, place.arch))
    facts: dict[str, str] = {}
    lacks = []
    for line in run_script(shell, "doctor", [place.root]):
        key, _, value = line.partition(" ")
        if key == "lacks":
            lacks.append(value)
        else:
            facts[key] = value.strip()
    words = set(facts.get("features", "").lower().split())
    features = {
        name: any(word in words for word in FEATURES[name]) for name in _OF_ARCH.get(place.arch, ())
    }
    free_kib = facts.get("free_kib", "")
    free_bytes = int(free_kib) * 1024 if free_kib.isdigit() else None
    page = facts.get("page_bytes", "")
    findings = [
        _can_push(free_bytes, lacks),
        _can_run_onnx(place),
        _can_run_pte(place),
        *_can_run_in_app(shell, place),
        _measures_steadily(readings),
        *_slow_processor(features),
    ]
    return Checkup(
        uri=shell.uri,
        system=place.system,
        arch=place.arch,
        emulator=place.emulator,
        libc=facts.get("libc") or ("bionic" if place.system == "android" else "unknown libc"),
        page_bytes=int(page) if page.isdigit() else None,
        free_disk_bytes=free_bytes,
        cpu_features=features,
        pythons=[asdict(python) for python in place.pythons],
        sensors=readings,
        findings=findings,
    )


def _can_push(free_bytes: int | None, lacks: list[str]) -> Finding:
    what = "take a bundle"
    if lacks:
        return Finding(False, what, f"it has no {', '.join(lacks)}", "install coreutils there")
    if free_bytes is not None and free_bytes < NEEDED_FREE_BYTES:
        return Finding(False, what, f"only {_size(free_bytes)} are free", "free some there")
    return Finding(True, what)


def _can_run_onnx(place: Place) -> Finding:
    what = "run .onnx bundles"
    if place.system == "android":
        fix = "measure through the app (--via app), or export with --backend executorch"
        return Finding(False, what, "no Python there", fix)
    python = place.python
    if python is None:
        needed = ".".join(map(str, OLDEST_PYTHON))
        return Finding(
            False, what, f"no Python {needed} or newer", "sudo apt-get install python3 python3-venv"
        )
    if not python.runs_onnx:
        absent = "numpy" if python.onnxruntime else "onnxruntime"
        return Finding(False, what, f"no {absent} in {python.path}", INSTALL_ONNX)
    return Finding(True, what, f"onnxruntime {python.onnxruntime} in {python.path}")


def _can_run_pte(place: Place) -> Finding:
    from toolchain.native import ARCHITECTURES
    from toolchain.native.compiler import find_compiler

    what = "run .pte bundles"
    if place.arch not in ARCHITECTURES:
        return Finding(
            False, what, f"there is no runner for {place.arch}", "install a 64-bit system there"
        )
    try:
        find_compiler(place.arch, cross=place.arch != platform.machine())
    except MissingError as error:
        return Finding(False, what, error.message, error.hint)
    return Finding(True, what, "with the native runner, which is built here and pushed")


def _can_run_in_app(shell: Shell, place: Place) -> list[Finding]:
    """Only of a phone."""
    if place.system != "android":
        return []
    what = "run bundles in the app"
    install = f"paredown android install --device {shell.uri}"
    app = installed_app(shell)
    if app is None:
        return [Finding(False, what, f"{PACKAGE} is not installed", install)]
    reason = why_not(app)
    if reason:
        return [Finding(False, what, reason, install)]
    code = f" for {app.abi}" if app.abi else ""
    return [Finding(True, what, f"{app.package} {app.version}{code}")]


def _measures_steadily(readings: dict[str, Reading]) -> Finding:
    what = "give steady numbers"
    since_boot = readings["throttled_since_boot"].value
    if since_boot not in (None, "nothing"):
        why = f"since boot: {since_boot}"
        fix = "use a stronger power supply" if "voltage" in str(since_boot) else "cool it better"
        return Finding(False, what, why, f"{fix}, then reboot it")
    governor = readings["governor"].value
    if governor not in (None, "performance"):
        fix = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        return Finding(False, what, f"its clock governor is {governor}", fix)
    return Finding(True, what)


def _slow_processor(features: dict[str, bool]) -> list[Finding]:
    """Only where something is lacking."""
    if features.get("dotprod") is False:
        why = "the processor has no dot product instructions (a Raspberry Pi 5 has)"
        return [Finding(False, "run 8-bit kernels at full speed", why)]
    return []


def _python(python: dict[str, Any]) -> str:
    found = [f"{n} {python[n]}" for n in ("onnxruntime", "numpy") if python[n]]
    return f"{python['version']} ({', '.join(found) or 'no onnxruntime'})"


def _size(value: float | str | None) -> str:
    return f"{value / 1e9:.1f} GB" if isinstance(value, int | float) else "unknown"


def _degrees(value: float | str | None) -> str:
    return f"{value:.1f} °C" if isinstance(value, float) else "unknown"
