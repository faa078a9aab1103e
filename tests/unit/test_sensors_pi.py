"""What a Raspberry Pi's firmware says: real texts of vcgencmd, good, bad and absent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_py import sensors
from runtime_py.schema import Reading, Snapshot
from runtime_py.sensors import pi, power
from runtime_py.sensors.source import LocalSource

PMIC = """\
   3V7_WL_SW_A current(0)=0.08098891A
    3V3_SYS_A current(1)=0.06246784A
   VDD_CORE_A current(7)=0.93600000A
   3V7_WL_SW_V volt(8)=3.70953400V
    3V3_SYS_V volt(9)=3.31378600V
   VDD_CORE_V volt(15)=0.72023150V
      EXT5V_V volt(24)=5.14586000V
       BATT_V volt(25)=0.00000000V
"""
ANSWERS = {
    ("vcgencmd", "get_throttled"): "throttled=0x50005\n",
    ("vcgencmd", "measure_temp"): "temp=61.4'C\n",
    ("vcgencmd", "measure_clock", "arm"): "frequency(0)=2400033792\n",
    ("vcgencmd", "measure_volts"): "volt=0.8765V\n",
    ("vcgencmd", "pmic_read_adc"): PMIC,
}


def _source(
    root: Path, answers: dict[tuple[str, ...], str], asked: list[tuple[str, ...]] | None = None
) -> LocalSource:
    def run(command: Sequence[str]) -> str | None:
        if asked is not None:
            asked.append(tuple(command))
        return answers.get(tuple(command))

    return LocalSource(root, run)


def test_a_throttled_pi_5(tmp_path: Path) -> None:
    readings = {k: r.value for k, r in sensors.read_all(_source(tmp_path, ANSWERS)).items()}
    assert readings["throttled_now"] == "under-voltage, throttled"
    assert readings["throttled_since_boot"] == "under-voltage, throttled"
    assert readings["temperature_celsius"] == 61.4
    assert readings["arm_clock_hz"] == 2400033792
    assert readings["core_volts"] == 0.8765
    watts = 0.08098891 * 3.709534 + 0.06246784 * 3.313786 + 0.936 * 0.7202315
    assert readings["power_watts"] == pytest.approx(watts)


def test_a_quiet_pi_4_has_no_power_meter(tmp_path: Path) -> None:
    answers = {**ANSWERS, ("vcgencmd", "get_throttled"): "throttled=0x0\n"}
    del answers["vcgencmd", "pmic_read_adc"]
    readings = sensors.read_all(_source(tmp_path, answers))
    assert readings["throttled_now"].value == pi.NOTHING
    assert readings["throttled_since_boot"].value == pi.NOTHING
    assert readings["power_watts"].value is None
    assert "no power meter" in readings["power_watts"].reason


def test_the_firmwares_temperature_is_the_chips(tmp_path: Path) -> None:
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "temp").write_text("40000\n")
    assert sensors.moving(_source(tmp_path, ANSWERS))["temperature_celsius"].value == 61.4
    assert sensors.moving(_source(tmp_path, {}))["temperature_celsius"].value == 40.0


def test_a_firmware_that_talks_nonsense_is_quoted(tmp_path: Path) -> None:
    answers = dict.fromkeys(ANSWERS, 'error=1 error_msg="Command not registered"\n')
    readings = sensors.read_all(_source(tmp_path, answers))
    for name in ("throttled_now", "throttled_since_boot", "arm_clock_hz", "core_volts"):
        assert readings[name].value is None
        assert "Command not registered" in readings[name].reason
    assert readings["temperature_celsius"].value is None


def test_no_firmware_no_more_questions_about_temperature(tmp_path: Path) -> None:
    asked: list[tuple[str, ...]] = []
    pi.moving(_source(tmp_path, {}, asked))
    assert asked == [("vcgencmd", "get_throttled")]


@given(st.integers(0, 15), st.integers(0, 15))
def test_bits_now_and_since_boot_are_told_apart(now: int, since: int) -> None:
    bits = pi.parse_throttled(f"throttled={now | since << 16:#x}")
    assert bits is not None
    names = list(pi.THROTTLED_BITS.values())
    assert pi.throttle_names(bits) == [names[i] for i in range(4) if now >> i & 1]
    assert pi.throttle_names(bits, 16) == [names[i] for i in range(4) if since >> i & 1]


@pytest.mark.parametrize(
    "parse", [pi.parse_throttled, pi.parse_temperature, pi.parse_clock, pi.parse_pmic]
)
@given(text=st.text(max_size=40))
def test_any_text_is_parsed_or_refused(parse: Callable[[str], object], text: str) -> None:
    assert parse(text) is None or "=" in text


def _rapl(root: Path, name: str, microjoules: int) -> None:
    package = root / "sys/class/powercap" / name
    package.mkdir(parents=True, exist_ok=True)
    (package / "energy_uj").write_text(f"{microjoules}\n")
    (package / "max_energy_range_uj").write_text("262143328850\n")


def test_rapl_counts_packages_not_their_parts(tmp_path: Path) -> None:
    _rapl(tmp_path, "intel-rapl:0", 5_000_000)
    _rapl(tmp_path, "intel-rapl:0:0", 3_000_000)
    source = _source(tmp_path, {})
    readings = power.moving(source)
    assert readings["energy_counter_joules"].value == pytest.approx(5.0)
    assert readings["power_watts"].value is None
    assert power.rapl_range_joules(source) == pytest.approx(262143.32885)


def test_a_counter_that_only_root_may_read(tmp_path: Path) -> None:
    (tmp_path / "sys/class/powercap/intel-rapl:0").mkdir(parents=True)
    reading = power.rapl_joules(_source(tmp_path, {}))
    assert reading.value is None
    assert "may not be read" in reading.reason


def test_a_battery_is_a_meter_while_it_discharges(tmp_path: Path) -> None:
    battery = tmp_path / "sys/class/power_supply/BAT0"
    battery.mkdir(parents=True)
    (battery / "status").write_text("Discharging\n")
    (battery / "current_now").write_text("-1500000\n")
    (battery / "voltage_now").write_text("4000000\n")
    assert power.battery_watts(_source(tmp_path, {})).value == pytest.approx(6.0)
    (battery / "status").write_text("Charging\n")
    assert power.battery_watts(_source(tmp_path, {})).value is None


def _counter(*joules: float) -> list[Snapshot]:
    return [Snapshot(i, {power.COUNTER: value}) for i, value in enumerate(joules)]


def test_energy_of_a_launch() -> None:
    assert power.joules(_counter(10.0, 12.0, 15.5)).value == 5.5
    assert power.joules(_counter(98.0, 3.0), range_joules=100.0).value == 5.0
    assert "started again" in power.joules(_counter(98.0, 3.0)).reason
    seconds = 10**9
    steady = [Snapshot(i * seconds, {power.POWER: watts}) for i, watts in enumerate((2.0, 4.0))]
    assert power.joules(steady).value == 3.0
    assert power.joules([Snapshot(0, {})]) == Reading(
        None, "no energy meter, or fewer than two readings of it"
    )
