"""What a Raspberry Pi's firmware says: real texts of vcgencmd, good, bad and absent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_py import sensors
from runtime_py.sensors import pi
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
