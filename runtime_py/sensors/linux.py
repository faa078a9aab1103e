"""What every Linux says: /proc, thermal zones, cpufreq."""

from __future__ import annotations

import os

from runtime_py.schema import Reading
from runtime_py.sensors.source import Source, field, kibibytes, number, text

_MODEL_PATHS = ("proc/device-tree/model", "sys/firmware/devicetree/base/model")
_CPUFREQ = "sys/devices/system/cpu/cpu[0-9]*/cpufreq"
_THROTTLE_COUNTS = "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count"


def facts(source: Source) -> dict[str, Reading]:
    """What stays as it is while a launch runs."""
    return {
        "cpu_model": cpu_model(source),
        "cpu_count": cpu_count(source),
        "memory_total_bytes": kibibytes(source, "proc/meminfo", "MemTotal"),
        "memory_available_bytes": kibibytes(source, "proc/meminfo", "MemAvailable"),
        "swap_used_bytes": swap_used_bytes(source),
        "kernel": text(source, "proc/sys/kernel/osrelease"),
        "boot_id": text(source, "proc/sys/kernel/random/boot_id"),
        "uptime_s": _first_number(source, "proc/uptime"),
        "load_average_1m": _first_number(source, "proc/loadavg"),
        **source.own(),
    }


def moving(source: Source) -> dict[str, Reading]:
    """What may change while a launch runs."""
    return {
        "governor": governor(source),
        "cpu_frequency_hz": highest_frequency_hz(source, "scaling_cur_freq"),
        "cpu_frequency_max_hz": highest_frequency_hz(source, "scaling_max_freq"),
        "temperature_celsius": temperature_celsius(source),
        "swapped_pages": swapped_pages(source),
        "thermal_throttle_count": thermal_throttle_count(source),
    }


def cpu_model(source: Source) -> Reading:
    """The board's name where the device tree has one (ARM), else the CPU's 'model name' (x86)."""
    for path in _MODEL_PATHS:
        reading = text(source, path)
        if reading.value is not None:
            return reading
    value = field(source.read("proc/cpuinfo"), "model name")
    if value is None:
        return Reading(None, "no device-tree model and no 'model name' in /proc/cpuinfo")
    return Reading(value)


def cpu_count(source: Source) -> Reading:
    """Logical processors that the kernel has online."""
    content = source.read("proc/cpuinfo")
    if content is None:
        return Reading(None, "/proc/cpuinfo cannot be read")
    count = sum(line.split(":")[0].strip() == "processor" for line in content.splitlines())
    return Reading(float(count)) if count else Reading(None, "/proc/cpuinfo lists no processor")


def swap_used_bytes(source: Source) -> Reading:
    """SwapTotal - SwapFree of /proc/meminfo."""
    total = kibibytes(source, "proc/meminfo", "SwapTotal")
    free = kibibytes(source, "proc/meminfo", "SwapFree")
    if isinstance(total.value, float) and isinstance(free.value, float):
        return Reading(total.value - free.value)
    return total if total.value is None else free


def swapped_pages(source: Source) -> Reading:
    """Pages swapped in and out since boot: pswpin + pswpout of /proc/vmstat."""
    lines = (source.read("proc/vmstat") or "").splitlines()
    counters = dict(line.split(" ", 1) for line in lines if " " in line)
    try:
        return Reading(float(counters["pswpin"]) + float(counters["pswpout"]))
    except (KeyError, ValueError):
        return Reading(None, "/proc/vmstat has no pswpin and pswpout")


def governor(source: Source) -> Reading:
    """The cpufreq governor; several where the cores differ."""
    seen = {source.read(path) for path in source.paths(f"{_CPUFREQ}/scaling_governor")}
    names = sorted({name.strip() for name in seen if name and name.strip()})
    if not names:
        return Reading(None, "no readable cpufreq/scaling_governor")
    return Reading(", ".join(names))


def highest_frequency_hz(source: Source, name: str) -> Reading:
    """The largest of all cores of a cpufreq file, such as `scaling_cur_freq`, in Hz."""
    return _largest(source, f"{_CPUFREQ}/{name}", 1000.0)


def temperature_celsius(source: Source) -> Reading:
    """The hottest thermal zone."""
    return _largest(source, "sys/class/thermal/thermal_zone*/temp", 0.001)


def thermal_throttle_count(source: Source) -> Reading:
    """How often an x86 processor throttled for heat since boot, over all cores and packages."""
    counts = [number(source, path).value for path in source.paths(_THROTTLE_COUNTS)]
    known = [count for count in counts if isinstance(count, float)]
    if not known:
        return Reading(None, "no readable thermal_throttle counters")
    return Reading(sum(known))


def busy_seconds(source: Source) -> float | None:
    """Processor time of everything since boot: user, nice, system, irq, softirq and steal."""
    fields = (source.read("proc/stat") or "").partition("\n")[0].split()
    if len(fields) < 9 or fields[0] != "cpu" or not all(f.isdigit() for f in fields[1:9]):
        return None
    ticks = [int(fields[column]) for column in (1, 2, 3, 6, 7, 8)]
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def _largest(source: Source, pattern: str, factor: float) -> Reading:
    readings = [number(source, path, factor) for path in source.paths(pattern)]
    values = [reading.value for reading in readings if isinstance(reading.value, float)]
    if values:
        return Reading(max(values))
    reason = readings[0].reason if readings else f"no /{pattern}"
    return Reading(None, reason)


def _first_number(source: Source, path: str) -> Reading:
    content = source.read(path)
    try:
        return Reading(float((content or "").split()[0]))
    except (IndexError, ValueError):
        return Reading(None, f"/{path} cannot be read")
