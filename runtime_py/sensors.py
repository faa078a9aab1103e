"""Machine facts from /proc and /sys. What is not there is null with a reason, never 0."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path

from runtime_py.schema import Reading

ROOT = Path("/")

_MODEL_PATHS = ("proc/device-tree/model", "sys/firmware/devicetree/base/model")
_CPUFREQ = "sys/devices/system/cpu/cpu0/cpufreq"


def read_all(root: Path = ROOT) -> dict[str, Reading]:
    """Every sensor by name; units are in the names.

    Args:
        root: where /proc and /sys are looked for.
    """
    return {
        "cpu_model": cpu_model(root),
        "cpu_count": cpu_count(root),
        "memory_total_bytes": memory_total_bytes(root),
        "kernel": _text(root, "proc/sys/kernel/osrelease"),
        "machine": Reading(platform.machine() or None, "" if platform.machine() else "unknown"),
        "python": Reading(platform.python_version()),
        "governor": _text(root, f"{_CPUFREQ}/scaling_governor"),
        "cpu_frequency_hz": _number(root, f"{_CPUFREQ}/scaling_cur_freq", 1000),
        "cpu_frequency_max_hz": _number(root, f"{_CPUFREQ}/scaling_max_freq", 1000),
        "temperature_celsius": temperature_celsius(root),
        "load_average_1m": load_average_1m(root),
    }


def cpu_model(root: Path = ROOT) -> Reading:
    """The board's name where the device tree has one (ARM), else the CPU's 'model name' (x86)."""
    for path in _MODEL_PATHS:
        reading = _text(root, path)
        if reading.value is not None:
            return reading
    value = _field(root, "proc/cpuinfo", "model name")
    if value is None:
        return Reading(None, "no device-tree model and no 'model name' in /proc/cpuinfo")
    return Reading(value)


def cpu_count(root: Path = ROOT) -> Reading:
    """Logical processors that the kernel has online."""
    text = _read(root, "proc/cpuinfo")
    if text is None:
        return Reading(None, "/proc/cpuinfo cannot be read")
    count = sum(line.split(":")[0].strip() == "processor" for line in text.splitlines())
    return Reading(float(count)) if count else Reading(None, "/proc/cpuinfo lists no processor")


def memory_total_bytes(root: Path = ROOT) -> Reading:
    """MemTotal of /proc/meminfo."""
    return _kibibytes(root, "proc/meminfo", "MemTotal")


def temperature_celsius(root: Path = ROOT) -> Reading:
    """The hottest thermal zone."""
    hottest: float | None = None
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        reading = _number(root, str((zone / "temp").relative_to(root)), 0.001)
        if isinstance(reading.value, float) and (hottest is None or reading.value > hottest):
            hottest = reading.value
    if hottest is None:
        return Reading(None, "no readable /sys/class/thermal/thermal_zone*/temp")
    return Reading(hottest)


def load_average_1m(root: Path = ROOT) -> Reading:
    """Runnable tasks averaged over the last minute."""
    text = _read(root, "proc/loadavg")
    try:
        return Reading(float((text or "").split()[0]))
    except (IndexError, ValueError):
        return Reading(None, "/proc/loadavg cannot be read")


class OtherWork:
    """What other processes did with the processors while this one measured."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._start = _busy_seconds(root)
        self._own = time.process_time()
        self._wall = time.perf_counter()

    def cores(self) -> Reading:
        """Busy processors since construction, on average, less this process's own."""
        busy = _busy_seconds(self._root)
        own = time.process_time() - self._own
        wall = time.perf_counter() - self._wall
        if busy is None or self._start is None or wall <= 0:
            return Reading(None, "/proc/stat cannot be read")
        # The kernel counts in ticks, so a short time may come out slightly below zero.
        return Reading(max(0.0, (busy - self._start - own) / wall))


def _busy_seconds(root: Path) -> float | None:
    """Processor time of everything since boot: user, nice, system, irq, softirq and steal."""
    fields = (_read(root, "proc/stat") or "").partition("\n")[0].split()
    if len(fields) < 9 or fields[0] != "cpu" or not all(f.isdigit() for f in fields[1:9]):
        return None
    ticks = [int(fields[column]) for column in (1, 2, 3, 6, 7, 8)]
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def peak_rss_bytes(root: Path = ROOT) -> int | None:
    """Largest resident set of this process: VmHWM, else getrusage, else None.

    VmHWM comes first because ru_maxrss survives exec: a small child of a large parent reports
    the parent's.
    """
    reading = _kibibytes(root, "proc/self/status", "VmHWM")
    if isinstance(reading.value, float):
        return int(reading.value)
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available_cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(root: Path, path: str) -> str | None:
    try:
        return (root / path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _text(root: Path, path: str) -> Reading:
    text = (_read(root, path) or "").strip(" \t\r\n\0")
    return Reading(text) if text else Reading(None, f"/{path} cannot be read")


def _number(root: Path, path: str, factor: float) -> Reading:
    reading = _text(root, path)
    if reading.value is None:
        return reading
    try:
        return Reading(float(reading.value) * factor)
    except ValueError:
        return Reading(None, f"/{path} is {reading.value!r}, not a number")


def _field(root: Path, path: str, name: str) -> str | None:
    """The value of the first `name : value` line."""
    for line in (_read(root, path) or "").splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name and value.strip():
            return value.strip()
    return None


def _kibibytes(root: Path, path: str, name: str) -> Reading:
    value = _field(root, path, name)
    number = (value or "").removesuffix("kB").strip()
    if not number.isdigit():
        return Reading(None, f"/{path} has no {name}")
    return Reading(float(int(number) * 1024))
