"""Energy: a counter (RAPL) where it may be read, else power readings to sum up over time."""

from __future__ import annotations

import itertools
import math
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


def joules(
    trace: Sequence[Snapshot],
    range_joules: float | None = None,
    window: tuple[float, float] = (-math.inf, math.inf),
) -> Reading:
    """Energy from the first to the last snapshot, or of the part of it that lies in a window.

    From the counter where there is one (less than one full range long), else power over time by
    the trapezoidal rule. Between two readings the power is taken as even, or as changing evenly;
    readings of power none of which is in the window say nothing about it.

    Args:
        trace: snapshots in the order of their time.
        range_joules: where the counter starts again at 0.
        window: nanoseconds on the trace's clock.
    """
    readings = [(s.at_ns, s.readings) for s in trace]
    counts = [(at, c) for at, r in readings if isinstance(c := r.get(COUNTER), float)]
    if len(counts) > 1:
        steps = [b[1] - a[1] for a, b in itertools.pairwise(counts)]
        if range_joules is None and any(step < 0 for step in steps):
            return Reading(None, "the energy counter started again during the launch")
        used = [step if step >= 0 else step + (range_joules or 0) for step in steps]
        shares = (_share(a[0], b[0], window) for a, b in itertools.pairwise(counts))
        return Reading(sum(step * share for step, share in zip(used, shares, strict=True)))
    known = [(at, watts) for at, r in readings if isinstance(watts := r.get(POWER), float)]
    if len(known) < 2:
        return Reading(None, "no energy meter, or fewer than two readings of it")
    if not any(window[0] <= at <= window[1] for at, _ in known):
        return Reading(None, "the power was not read during the repetitions")
    return Reading(sum(_area(a, b, window) for a, b in itertools.pairwise(known)))


def _share(start: float, end: float, window: tuple[float, float]) -> float:
    """How much of the time from `start` to `end` lies in the window; all of no time if it does."""
    inside = min(end, window[1]) - max(start, window[0])
    return max(0.0, inside / (end - start)) if end > start else float(inside >= 0)


def _area(a: tuple[float, float], b: tuple[float, float], window: tuple[float, float]) -> float:
    """Joules between two points (nanoseconds, watts), of the part that lies in the window."""
    share = _share(a[0], b[0], window)
    if not share or a[0] == b[0]:
        return 0.0
    middle = (max(a[0], window[0]) + min(b[0], window[1])) / 2
    watts = a[1] + (b[1] - a[1]) * (middle - a[0]) / (b[0] - a[0])
    return watts * share * (b[0] - a[0]) / NS_PER_S
