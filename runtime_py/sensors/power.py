"""Energy: a counter (RAPL) where it may be read, else power readings to sum up over time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from runtime_py.schema import Reading, Snapshot
from runtime_py.sensors import pi
from runtime_py.sensors.source import Source, number, text

_PACKAGES = "sys/class/powercap/intel-rapl:[0-9]*"
_BATTERIES = "sys/class/power_supply/*"
COUNTER, POWER = "energy_counter_joules", "power_watts"
MICRO = 1e-6
NS_PER_S = 1e9


def moving(source: Source) -> dict[str, Reading]:
    """`energy_counter_joules`, a counter that only grows (up to its range), and `power_watts`."""
    energy = rapl_joules(source)
    if energy.value is not None:
        return {COUNTER: energy, POWER: Reading(None, "the counter is better")}
    watts = pi.power_watts(source)
    if watts.value is None:
        watts = battery_watts(source)
    return {COUNTER: energy, POWER: watts}


def rapl_joules(source: Source) -> Reading:
    """Energy counters of all processor packages together; root alone may read most of them."""
    paths = [p for p in source.paths(_PACKAGES) if p.count(":") == 1]
    values = [number(source, f"{path}/energy_uj", MICRO).value for path in paths]
    known = [value for value in values if isinstance(value, float)]
    if not paths:
        return Reading(None, "no /sys/class/powercap/intel-rapl:*")
    if len(known) < len(paths):
        return Reading(None, "/sys/class/powercap/intel-rapl:*/energy_uj may not be read")
    return Reading(sum(known))


def rapl_range_joules(source: Source) -> float | None:
    """Where the counters start again at 0; None for more than one package (unclear which did)."""
    paths = [p for p in source.paths(_PACKAGES) if p.count(":") == 1]
    if len(paths) != 1:
        return None
    value = number(source, f"{paths[0]}/max_energy_range_uj", MICRO).value
    return value if isinstance(value, float) else None


def battery_watts(source: Source) -> Reading:
    """What a discharging battery gives: the whole machine, screen included."""
    for path in source.paths(_BATTERIES):
        if text(source, f"{path}/status").value != "Discharging":
            continue
        power = number(source, f"{path}/power_now", MICRO).value
        if isinstance(power, float):
            return Reading(abs(power))
        current = number(source, f"{path}/current_now", MICRO).value
        volts = number(source, f"{path}/voltage_now", MICRO).value
        if isinstance(current, float) and isinstance(volts, float):
            return Reading(abs(current) * volts)
    return Reading(None, "no power meter: no RAPL, no Pi 5 power controller, no battery in use")


def joules(trace: Sequence[Snapshot], range_joules: float | None = None) -> Reading:
    """Energy between the first and the last snapshot.

    From the counter where there is one (less than one full range long), else power over time by
    the trapezoidal rule.
    """
    counts = [c for s in trace if isinstance(c := s.readings.get(COUNTER), float)]
    if len(counts) > 1:
        steps = [b - a for a, b in itertools.pairwise(counts)]
        if all(step >= 0 for step in steps):
            return Reading(sum(steps))
        if range_joules is None:
            return Reading(None, "the energy counter started again during the launch")
        return Reading(sum(step if step >= 0 else step + range_joules for step in steps))
    points = [(s.at_ns / NS_PER_S, s.readings.get(POWER)) for s in trace]
    known = [(at, watts) for at, watts in points if isinstance(watts, float)]
    if len(known) < 2:
        return Reading(None, "no energy meter, or fewer than two readings of it")
    areas = ((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(known))
    return Reading(sum(areas))
