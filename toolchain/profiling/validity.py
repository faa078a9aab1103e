"""Whether launches may be believed: `valid`, `suspect` or `invalid`, and why.

`invalid` says that the machine did not run at one speed, or that a clock cannot be trusted: the
numbers describe no machine that exists. `suspect` says that something may have moved them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from runtime_py.schema import DeviceReport, LaunchRecord
from runtime_py.sensors.android import THERMAL_STATUS
from runtime_py.sensors.pi import NOTHING
from toolchain.errors import InvalidMeasurementError

MOST_LAUNCH_CV = 0.05
"""A quiet machine repeats decode speed from launch to launch within about 2%."""
MOST_OTHER_WORK_CORES = 0.25
"""Cores' worth of other processes' work beside a launch."""
MOST_FREQUENCY_CHANGE = 0.1
"""Relative difference of the clock between readings that is more than its usual jitter."""
SUSPECT_DRIFT, INVALID_DRIFT = 0.05, 0.25
"""Relative difference between the slowest and the fastest drift probe."""
MOST_CLOCK_JUMP_S = 0.5
"""Wall clock against monotonic clock over a launch; slewing by NTP stays below 0.0005 of it."""
HOT_CELSIUS = 80.0
"""Where a Raspberry Pi and most phones begin to slow down, before they say so."""
LOW_BATTERY_PERCENT = 20.0
SUSPECT_THERMAL_STATUS = "light"
INVALID_THERMAL_STATUS = "severe"
MOST_SWAPPED_PAGES = 256
"""A megabyte: the odd page of a sleeping program moves on every machine."""


@dataclass(frozen=True)
class Finding:
    """One reason; `invalid` outweighs everything."""

    text: str
    invalid: bool = False


def judge(launches: Sequence[LaunchRecord], threads: int) -> tuple[str, list[str]]:
    """(`valid`, `suspect` or `invalid`, the reasons, gravest first).

    Args:
        launches: all of one report, in the order in which they ran; at least one of phase `time`.
        threads: compute threads of the engine.
    """
    findings = [
        *_throttling(launches),
        *_changes(launches),
        *_drift(launches),
        *_clock_jumps(launches),
        *_swapping(launches),
        *_heat(launches),
        *_battery(launches),
        *_contention(launches, threads),
        *_clock(launches),
        *_spread([launch for launch in launches if launch.phase == "time"]),
    ]
    findings.sort(key=lambda finding: not finding.invalid)
    reasons = list(dict.fromkeys(finding.text for finding in findings))
    if any(finding.invalid for finding in findings):
        return "invalid", reasons
    return ("suspect" if reasons else "valid"), reasons


def require_believable(report: DeviceReport, what: str) -> None:
    """Refuse a report that must not feed a gate or a comparison.

    Args:
        report: the report.
        what: what it was to be used for.

    Raises:
        InvalidMeasurementError: the report is invalid; the message has its first reason.
    """
    if report.validity == "invalid":
        raise InvalidMeasurementError(
            f"the report of {report.bundle_name} on {report.device_uri} is invalid: "
            f"{report.validity_reasons[0]}",
            f"measure again before {what}",
        )


def _throttling(launches: Sequence[LaunchRecord]) -> Iterator[Finding]:
    """Bits that were set at a reading, or came up since boot between the first and the last."""
    now = {str(value) for value in _seen(launches, "throttled_now")} - {NOTHING}
    for names in sorted(now):
        yield Finding(f"throttled during the run: {names}", invalid=True)
    since = [str(value) for value in _seen(launches, "throttled_since_boot")]
    first = _bits(since[0]) if since else set()
    new = set().union(*map(_bits, since)) - first
    if new and not now:
        yield Finding(f"throttled during the run: {', '.join(sorted(new))}", invalid=True)
    if first:
        names = ", ".join(sorted(first))
        yield Finding(f"throttled since boot ({names}): a short one in this run would not be seen")
    counts = [v for v in _seen(launches, "thermal_throttle_count") if isinstance(v, float)]
    if counts and counts[-1] > counts[0]:
        times = f"{counts[-1] - counts[0]:.0f} times"
        yield Finding(f"the processor throttled for heat {times} during the run", invalid=True)


def _bits(names: str) -> set[str]:
    return set() if names == NOTHING else set(names.split(", "))


def _changes(launches: Sequence[LaunchRecord]) -> Iterator[Finding]:
    """Settings that must stay the same."""
    for name in ("governor", "cpu_frequency_max_hz"):
        seen = {str(value) for value in _seen(launches, name)}
        if len(seen) > 1:
            text = f"{name} changed during the run: {', '.join(sorted(seen))}"
            yield Finding(text, invalid=True)
    boots = {str(value) for value in _facts(launches, "boot_id")}
    if len(boots) > 1:
        yield Finding("the device restarted during the run", invalid=True)


def _drift(launches: Sequence[LaunchRecord]) -> Iterator[Finding]:
    probes = [ns for launch in launches for ns in launch.drift_ns]
    if len(probes) < 2:
        return
    drift = max(probes) / min(probes) - 1
    if drift > SUSPECT_DRIFT:
        text = f"the machine's own speed drifted by {drift:.0%} (a fixed computation, no engine)"
        yield Finding(text, invalid=drift > INVALID_DRIFT)


def _clock_jumps(launches: Sequence[LaunchRecord]) -> Iterator[Finding]:
    jumps = [launch.clock_jump_ns / 1e9 for launch in launches if launch.clock_jump_ns is not None]
    worst = max(jumps, key=abs, default=0.0)
    if abs(worst) > MOST_CLOCK_JUMP_S:
        text = f"the clock jumped by {worst:+.1f} s during a launch (set, or the machine slept)"
        yield Finding(text, invalid=True)


def _swapping(launches: Sequence[LaunchRecord]) -> Iterator[Finding]:
    """Pages that went to or came from swap while a launch measured."""
    swapped = 0.0
    for launch in launches:
        pages = [s.readings.get("swapped_pages") for s in launch.trace]
        known = [page for page in pages if isinstance(page, float)]
        swapped += known[-1] - known[0] if known else 0.0
    if swapped > MOST_SWAPPED_PAGES:
        yield Finding(f"the machine swapped {swapped:,.0f} pages during the run", invalid=True)


def _heat(launches: Sequence[LaunchRecord]) -> Iterator[Finding]:
    temperatures = [v for v in _seen(launches, "temperature_celsius") if isinstance(v, float)]
    hottest = max(temperatures, default=-math.inf)
    if hottest >= HOT_CELSIUS:
        yield Finding(f"it was {hottest:.0f} °C hot (limit {HOT_CELSIUS:.0f})")
    statuses = {str(value) for value in _seen(launches, "thermal_status")}
    level = max((_thermal_level(status) for status in statuses), default=0)
    if level >= _thermal_level(SUSPECT_THERMAL_STATUS):
        invalid = level >= _thermal_level(INVALID_THERMAL_STATUS)
        name = THERMAL_STATUS[min(level, len(THERMAL_STATUS) - 1)]
        yield Finding(f"Android's thermal status was {name}", invalid)


def _thermal_level(status: str) -> int:
    return THERMAL_STATUS.index(status) if status in THERMAL_STATUS else len(THERMAL_STATUS)


def _battery(launches: Sequence[LaunchRecord]) -> Iterator[Finding]:
    levels = [v for v in _seen(launches, "battery_percent") if isinstance(v, float)]
    if levels and min(levels) < LOW_BATTERY_PERCENT:
        yield Finding(f"the battery was at {min(levels):.0f}%, where phones slow down")
    if "yes" in _seen(launches, "battery_charging"):
        yield Finding("the battery was charging, which heats the phone")


def _contention(launches: Sequence[LaunchRecord], threads: int) -> Iterator[Finding]:
    """Other work on the machine; from the load average only where the kernel says nothing better.

    The load average looks back over a minute, so it also counts what ran before the launch.
    """
    cores = max(_numbers(launches, "cpu_count"), default=math.inf)
    others = _numbers(launches, "other_work_cores")
    loads = _numbers(launches, "load_average_1m")
    if threads > cores:
        yield Finding(f"{threads} threads on {cores:g} cores")
    elif others and max(others) > MOST_OTHER_WORK_CORES:
        yield Finding(f"other work kept {max(others):.1f} of {cores:g} cores busy")
    elif not others and loads and max(loads) > cores:
        yield Finding(f"the load average was {max(loads):.1f} on {cores:g} cores")


def _clock(launches: Sequence[LaunchRecord]) -> Iterator[Finding]:
    """Between the first repetition's start and the last one's end: else the machine may be idle."""
    known = []
    for launch in launches:
        end_ns = launch.samples[-1].end_ns if launch.samples else 0
        for seen in launch.trace:
            clock = seen.readings.get("cpu_frequency_hz")
            if 0 < seen.at_ns <= end_ns and isinstance(clock, float):
                known.append(clock)
    if known and max(known) - min(known) > MOST_FREQUENCY_CHANGE * max(known):
        low, high = min(known) / 1e6, max(known) / 1e6
        yield Finding(f"the clock changed during the run: {low:.0f} to {high:.0f} MHz")


def _spread(launches: Sequence[LaunchRecord]) -> Iterator[Finding]:
    if len(launches) < 2:
        yield Finding("a single launch says nothing about the variation between launches")
        return
    means = [
        statistics.fmean(len(s.token_ns) / sum(s.token_ns) for s in launch.samples)
        for launch in launches
    ]
    variation = statistics.stdev(means) / statistics.fmean(means)
    if variation > MOST_LAUNCH_CV:
        text = f"decode speed varies by {variation:.1%} between launches"
        yield Finding(f"{text} (over {MOST_LAUNCH_CV:.0%})")


def _seen(launches: Sequence[LaunchRecord], name: str) -> list[float | str]:
    """Every reading of a sensor, in the order of time: a launch's trace, then its facts."""
    values: list[float | str] = []
    for launch in launches:
        values += [s.readings[name] for s in launch.trace if name in s.readings]
        values += _facts([launch], name)
    return values


def _facts(launches: Iterable[LaunchRecord], name: str) -> list[float | str]:
    readings = [launch.device[name].value for launch in launches if name in launch.device]
    return [value for value in readings if value is not None]


def _numbers(launches: Sequence[LaunchRecord], name: str) -> list[float]:
    return [value for value in _facts(launches, name) if isinstance(value, float)]
