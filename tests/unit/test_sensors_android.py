"""What Android's dumpsys says, from texts of real phones' form; kinds of cores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_py import sensors
from runtime_py.sensors import android, topology
from runtime_py.sensors.source import LocalSource

BATTERY = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Dock powered: false
  Max charging current: 500000
  status: 2
  health: 2
  present: true
  level: 87
  scale: 100
  voltage: 4234
  temperature: 312
  technology: Li-ion
"""
THERMAL = """\
IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 2
Thermal Status: 2
Cached temperatures:
\tTemperature{mValue=99.9, mType=0, mName=CPU-OLD, mStatus=0}
HAL Ready: true
HAL connection:
\tThermalHAL AIDL 1  connected: yes
Current temperatures from HAL:
\tTemperature{mValue=41.5, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=36.25, mType=3, mName=skin, mStatus=2}
\tTemperature{mValue=31.2, mType=2, mName=battery, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}
Temperature static thresholds from HAL:
\tTemperatureThreshold{mType=3, mName=skin, mHotThrottlingThresholds=[NaN, 43.0]}
"""


def _phone(root: Path, battery: str = BATTERY, thermal: str = THERMAL) -> LocalSource:
    answers = {("dumpsys", "battery"): battery, ("dumpsys", "thermalservice"): thermal}

    def run(command: Sequence[str]) -> str | None:
        return answers.get(tuple(command))

    return LocalSource(root, run)


def test_a_warm_phone_on_a_charger(tmp_path: Path) -> None:
    readings = {k: r.value for k, r in sensors.moving(_phone(tmp_path)).items()}
    assert readings["battery_percent"] == 87
    assert readings["battery_charging"] == "yes"
    assert readings["battery_celsius"] == 31.2
    assert readings["thermal_status"] == "moderate"
    assert readings["temperature_celsius"] == 41.5, "of processor and skin, as they are now"


def test_a_phone_that_says_little(tmp_path: Path) -> None:
    readings = sensors.moving(_phone(tmp_path, "  level: 50\n", ""))
    assert readings["battery_percent"].value == 50
    for name in ("battery_charging", "battery_celsius", "thermal_status", "temperature_celsius"):
        assert readings[name].value is None
        assert readings[name].reason


def test_a_scale_that_is_not_a_hundred() -> None:
    assert android.parse_battery("level: 30\nscale: 60\n").percent == 50


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_ignored(text: str) -> None:
    android.parse_battery(text)
    android.parse_thermal_status(text)
    assert android.parse_temperatures(text) == {} or "HAL" in text


def _cores(root: Path, *kinds: tuple[int, int]) -> LocalSource:
    """(top clock in kHz, capacity) of each core; 0 for a file that is not there."""
    for index, (khz, capacity) in enumerate(kinds):
        folder = root / f"sys/devices/system/cpu/cpu{index}"
        (folder / "cpufreq").mkdir(parents=True)
        if khz:
            (folder / "cpufreq/cpuinfo_max_freq").write_text(f"{khz}\n")
        if capacity:
            (folder / "cpu_capacity").write_text(f"{capacity}\n")
    (root / "sys/devices/system/cpu/cpuidle").mkdir()
    return LocalSource(root, lambda _: None)


def test_big_and_little(tmp_path: Path) -> None:
    little, middle, prime = (1_800_000, 300), (2_400_000, 800), (2_850_000, 1024)
    source = _cores(tmp_path, *[little] * 4, *[middle] * 3, prime)
    cores = topology.cores(source)
    assert [core.index for core in cores] == list(range(8))
    assert topology.big_cores(cores, 1) == [7]
    assert topology.big_cores(cores, 2) == [4, 5, 6, 7]
    assert topology.big_cores(cores, 5) == list(range(8))
    assert topology.big_cores(cores, 99) == list(range(8))
    text = topology.clusters(source).value
    assert text == "0-3: 1800 MHz, 4-6: 2400 MHz, 7: 2850 MHz"


def test_cores_that_are_sorted_out_a_little_better_are_no_kind(tmp_path: Path) -> None:
    source = _cores(tmp_path, (4_900_000, 0), (5_000_000, 0), (4_900_000, 0), (3_800_000, 0))
    assert topology.big_cores(topology.cores(source), 1) == [0, 1, 2]


def test_cores_of_which_nothing_is_known_are_alike(tmp_path: Path) -> None:
    assert topology.big_cores(topology.cores(_cores(tmp_path, (0, 0), (0, 0))), 1) == [0, 1]


def test_no_cores_at_all(tmp_path: Path) -> None:
    source = LocalSource(tmp_path, lambda _: None)
    assert topology.cores(source) == []
    assert topology.big_cores([], 4) == []
    assert topology.clusters(source).value is None


@pytest.mark.parametrize(
    ("indices", "text"), [([], ""), ([3], "3"), ([0, 1, 2, 5, 7, 8], "0-2,5,7-8")]
)
def test_ranges(indices: list[int], text: str) -> None:
    assert topology.ranges(indices) == text


@given(
    st.lists(st.tuples(st.floats(1e8, 5e9), st.floats(1, 1024)), min_size=1, max_size=12),
    st.integers(1, 16),
)
def test_each_thread_gets_a_core_where_there_are_enough(
    kinds: list[tuple[float, float]], threads: int
) -> None:
    cores = [topology.Core(i, hz, capacity) for i, (hz, capacity) in enumerate(kinds)]
    chosen = topology.big_cores(cores, threads)
    assert len(chosen) >= min(threads, len(cores))
    assert max(cores, key=lambda core: core.rank).index in chosen
