"""Energy meters: counters, power over time, and which part of it a launch's repetitions took."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runtime_py.measure import with_energy
from runtime_py.schema import LaunchRecord, Reading, Sample, Snapshot
from runtime_py.sensors import power
from runtime_py.sensors.source import LocalSource


def _source(root: Path) -> LocalSource:
    """Files under `root`, and no command."""
    return LocalSource(root, lambda _: None)


def _rapl(root: Path, name: str, microjoules: int) -> None:
    package = root / "sys/class/powercap" / name
    package.mkdir(parents=True, exist_ok=True)
    (package / "energy_uj").write_text(f"{microjoules}\n")
    (package / "max_energy_range_uj").write_text("262143328850\n")


def test_rapl_counts_packages_not_their_parts(tmp_path: Path) -> None:
    _rapl(tmp_path, "intel-rapl:0", 5_000_000)
    _rapl(tmp_path, "intel-rapl:0:0", 3_000_000)
    source = _source(tmp_path)
    readings = power.moving(source)
    assert readings["energy_counter_joules"].value == pytest.approx(5.0)
    assert readings["power_watts"].value is None
    assert power.rapl_range_joules(source) == pytest.approx(262143.32885)


def test_a_counter_that_only_root_may_read(tmp_path: Path) -> None:
    (tmp_path / "sys/class/powercap/intel-rapl:0").mkdir(parents=True)
    reading = power.rapl_joules(_source(tmp_path))
    assert reading.value is None
    assert "may not be read" in reading.reason


def test_a_battery_is_a_meter_while_it_discharges(tmp_path: Path) -> None:
    battery = tmp_path / "sys/class/power_supply/BAT0"
    battery.mkdir(parents=True)
    (battery / "status").write_text("Discharging\n")
    (battery / "current_now").write_text("-1500000\n")
    (battery / "voltage_now").write_text("4000000\n")
    assert power.battery_watts(_source(tmp_path)).value == pytest.approx(6.0)
    (battery / "status").write_text("Charging\n")
    assert power.battery_watts(_source(tmp_path)).value is None


def _counter(*joules: float) -> list[Snapshot]:
    return [Snapshot(i, {power.COUNTER: value}) for i, value in enumerate(joules)]


def test_energy_of_a_launch() -> None:
    assert power.joules(_counter(10.0, 12.0, 15.5)).value == 5.5
    assert power.joules(_counter(98.0, 3.0), range_joules=100.0).value == 5.0
    assert "started again" in power.joules(_counter(98.0, 3.0)).reason
    seconds = 10**9
    steady = [Snapshot(i * seconds, {power.POWER: watts}) for i, watts in enumerate((2.0, 4.0))]
    assert power.joules(steady).value == 3.0
    assert power.joules(steady, window=(0, 0.5 * seconds)).value == 1.25
    assert "not read during" in power.joules(steady, window=(1, 2)).reason
    assert power.joules([Snapshot(0, {})]) == Reading(
        None, "no energy meter, or fewer than two readings of it"
    )


@given(
    steps=st.lists(st.tuples(st.integers(0, 5), st.floats(0, 9)), min_size=2, max_size=6),
    cuts=st.lists(st.floats(-2, 30), min_size=2, max_size=2).map(sorted),
    kind=st.sampled_from([power.COUNTER, power.POWER]),
)
def test_windows_beside_each_other_make_the_whole(
    steps: list[tuple[int, float]], cuts: list[float], kind: str
) -> None:
    times = list(itertools.accumulate(step for step, _ in steps))
    values = [value for _, value in steps]
    if kind == power.COUNTER:
        values = list(itertools.accumulate(values))
    trace = [Snapshot(at, {kind: value}) for at, value in zip(times, values, strict=True)]
    low, high = cuts
    windows = [(-math.inf, low), (low, high), (high, math.inf)]
    assume(low < high and all(t not in cuts for t in times))
    parts = [power.joules(trace, window=window).value or 0.0 for window in windows]
    unread = [w for w in windows if not any(w[0] <= at <= w[1] for at in times)]
    if kind == power.COUNTER or not unread:
        assert sum(map(float, parts)) == pytest.approx(power.joules(trace).value, abs=1e-9)


def test_energy_of_a_launch_seen_from_outside_leaves_out_what_came_before() -> None:
    """The runner's trace starts before it loads; 0 is the first repetition's start."""
    counted = [Snapshot(at, {power.COUNTER: j}) for at, j in ((-100, 0.0), (0, 50.0), (200, 70.0))]
    samples = [Sample(5, 10, [20, 20], start_ns=0), Sample(5, 10, [20, 20], start_ns=50)]
    record = LaunchRecord(1, samples, 1, "executorch-native", {}, {}, trace=counted)
    energy = with_energy(record, _source(Path("/nowhere"))).device["launch_energy_joules"]
    assert energy.value == pytest.approx(10.0)
    assert with_energy(replace(record, samples=[])).device == {}
