"""What a Raspberry Pi's firmware says through `vcgencmd`; pure parsing over its texts."""

from __future__ import annotations

import re
from collections.abc import Callable

from runtime_py.schema import Reading
from runtime_py.sensors.source import Source

THROTTLED_BITS = {
    0: "under-voltage",
    1: "clock capped",
    2: "throttled",
    3: "soft temperature limit",
}
"""Bits of get_throttled for now; the same 16 higher for since boot."""
SINCE_BOOT_SHIFT = 16

NOTHING = "nothing"
"""The value of a throttling sensor that is there and sees nothing."""

_ABSENT = "no vcgencmd that answers (not a Raspberry Pi, or not allowed)"


def facts(source: Source) -> dict[str, Reading]:
    """The firmware's clock and voltage."""
    return {
        "arm_clock_hz": _parsed(source, parse_clock, "measure_clock", "arm"),
        "core_volts": _parsed(source, parse_volts, "measure_volts"),
    }


def moving(source: Source) -> dict[str, Reading]:
    """Throttling now and since boot, and the chip's temperature."""
    answer = source.run("vcgencmd", "get_throttled")
    bits = None if answer is None else parse_throttled(answer)
    readings = {
        "throttled_now": _bits_reading(bits, 0, answer),
        "throttled_since_boot": _bits_reading(bits, SINCE_BOOT_SHIFT, answer),
    }
    if answer is not None:
        temperature = _parsed(source, parse_temperature, "measure_temp")
        if temperature.value is not None:
            readings["temperature_celsius"] = temperature
    return readings


def power_watts(source: Source) -> Reading:
    """Power of all rails that a Pi 5's power controller measures."""
    answer = source.run("vcgencmd", "pmic_read_adc")
    watts = None if answer is None else parse_pmic(answer)
    if watts is None:
        return Reading(None, "no power controller that answers vcgencmd pmic_read_adc (Pi 5 only)")
    return Reading(watts)


def parse_throttled(answer: str) -> int | None:
    """Bits of `throttled=0x50005`."""
    match = re.search(r"throttled=0x([0-9a-fA-F]+)", answer)
    return int(match.group(1), 16) if match else None


def throttle_names(bits: int, shift: int = 0) -> list[str]:
    """Names of the bits that are set; `shift` 16 for those since boot."""
    return [name for bit, name in THROTTLED_BITS.items() if bits >> (bit + shift) & 1]


def parse_temperature(answer: str) -> float | None:
    """Degrees Celsius of `temp=48.2'C`."""
    return _number_after(r"temp=", answer)


def parse_clock(answer: str) -> float | None:
    """Hertz of `frequency(48)=1500345728`."""
    return _number_after(r"frequency\(\d+\)=", answer)


def parse_volts(answer: str) -> float | None:
    """Volts of `volt=0.8765V`."""
    return _number_after(r"volt=", answer)


def parse_pmic(answer: str) -> float | None:
    """Watts: Σ current · voltage over the rails that have both, from lines like
    `VDD_CORE_A current(7)=1.23A` and `VDD_CORE_V volt(15)=0.85V`."""
    amperes = dict(re.findall(r"(\w+)_A\s+current\(\d+\)=([\d.]+)A", answer))
    volts = dict(re.findall(r"(\w+)_V\s+volt\(\d+\)=([\d.]+)V", answer))
    rails = amperes.keys() & volts.keys()
    if not rails:
        return None
    return sum(float(amperes[rail]) * float(volts[rail]) for rail in sorted(rails))


def _bits_reading(bits: int | None, shift: int, answer: str | None) -> Reading:
    if answer is None:
        return Reading(None, _ABSENT)
    if bits is None:
        return Reading(None, f"vcgencmd get_throttled says {answer.strip()[:60]!r}")
    return Reading(", ".join(throttle_names(bits, shift)) or NOTHING)


def _parsed(source: Source, parse: Callable[[str], float | None], *question: str) -> Reading:
    answer = source.run("vcgencmd", *question)
    if answer is None:
        return Reading(None, _ABSENT)
    value = parse(answer)
    if value is None:
        return Reading(None, f"vcgencmd {' '.join(question)} says {answer.strip()[:60]!r}")
    return Reading(value)


def _number_after(prefix: str, answer: str) -> float | None:
    match = re.search(prefix + r"(-?\d+(?:\.\d+)?)", answer)
    return float(match.group(1)) if match else None
