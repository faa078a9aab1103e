"""What Android's `dumpsys` says; pure parsing over its texts, so that a shell is enough."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtime_py.schema import Reading
from runtime_py.sensors.source import Source, field

THERMAL_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""PowerManager.THERMAL_STATUS_*, by number."""

_ABSENT = "no dumpsys that answers (not Android, or not allowed)"
_TEMPERATURE_TYPES = {0: "cpu", 3: "skin"}
"""HAL TemperatureType of the sensors that tell something about the processor."""


@dataclass(frozen=True)
class Battery:
    """`dumpsys battery`."""

    percent: float | None
    charging: bool | None
    """Whether a charger feeds it (mains, USB, wireless, dock)."""
    temperature_celsius: float | None


def moving(source: Source) -> dict[str, Reading]:
    """Battery and thermal service; all null on a machine that is no Android."""
    names = ("battery_percent", "battery_charging", "battery_celsius", "thermal_status")
    battery_text = source.run("dumpsys", "battery")
    if battery_text is None:
        return {name: Reading(None, _ABSENT) for name in names}
    battery = parse_battery(battery_text)
    charging = None if battery.charging is None else ("yes" if battery.charging else "no")
    thermal_text = source.run("dumpsys", "thermalservice") or ""
    missing = "dumpsys battery does not say"
    readings = {
        "battery_percent": Reading(battery.percent, "" if battery.percent is not None else missing),
        "battery_charging": Reading(charging, "" if charging else missing),
        "battery_celsius": Reading(
            battery.temperature_celsius, "" if battery.temperature_celsius is not None else missing
        ),
        "thermal_status": _status_reading(parse_thermal_status(thermal_text)),
    }
    hottest = max(parse_temperatures(thermal_text).values(), default=None)
    if hottest is not None:
        readings["temperature_celsius"] = Reading(hottest)
    return readings


def parse_battery(dump: str) -> Battery:
    """Level, charger and temperature (given in tenths of a degree)."""
    level, scale = _number(field(dump, "level")), _number(field(dump, "scale"))
    powered = re.findall(r"^\s*\w+ powered:\s*(true|false)", dump, re.MULTILINE)
    tenths = _number(field(dump, "temperature"))
    return Battery(
        percent=100.0 * level / (scale or 100.0) if level is not None else None,
        charging="true" in powered if powered else None,
        temperature_celsius=tenths / 10 if tenths is not None else None,
    )


def parse_thermal_status(dump: str) -> int | None:
    """The number of `Thermal Status: 0`."""
    match = re.search(r"Thermal Status:\s*(\d+)", dump)
    return int(match.group(1)) if match else None


def parse_temperatures(dump: str) -> dict[str, float]:
    """Degrees Celsius of the processor and skin sensors that the HAL reads now, by name.

    `dumpsys thermalservice` also lists cached values and thresholds, which are left out.
    """
    start = dump.find("Current temperatures from HAL")
    if start < 0:
        return {}
    section = re.split(r"\n(?=\S)", dump[start:])[0]
    found = re.findall(r"mValue=(-?[\d.]+), mType=(-?\d+), mName=([^,}]+)", section)
    return {
        name: float(value)
        for value, kind, name in found
        if int(kind) in _TEMPERATURE_TYPES and float(value) > 0
    }


def _status_reading(status: int | None) -> Reading:
    if status is None:
        return Reading(None, "dumpsys thermalservice does not say")
    known = status < len(THERMAL_STATUS)
    return Reading(THERMAL_STATUS[status] if known else f"unknown ({status})")


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
