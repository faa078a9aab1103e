"""Looking at the sensors of a device without Python: the shell's script, and what is made of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from runtime_py.schema import Reading
from toolchain.devices.sampling import COMMANDS, PATTERNS, Looks, parse_looks
from toolchain.devices.shell import LocalShell, Stream
from toolchain.errors import InvalidMeasurementError

SAID = """\
@at 100.50
/proc/stat:cpu  100 0 50 9000 0 0 0 0 0 0
/proc/vmstat:pswpin 3
/proc/vmstat:pswpout 4
/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor:ondemand
/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq:600000
/sys/class/thermal/thermal_zone0/temp:48000
/sys/class/powercap/intel-rapl:0/energy_uj:5000000
@run vcgencmd,get_throttled
throttled=0x0
@status 0
@run dumpsys,battery
level: 81
@status 1
@at 104.50
/proc/stat:cpu  300 0 150 9000 0 0 0 0 0 0
/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq:1800000
/sys/class/powercap/intel-rapl:0/energy_uj:9000000
@cost
0m0.02s 0m0.01s
1m0.00s 0m0.05s
"""


def _seconds(ticks: int) -> float:
    return ticks / os.sysconf("SC_CLK_TCK")


def test_what_is_made_of_looks() -> None:
    looks = parse_looks(SAID, "aarch64")
    assert [seen.at_ns for seen in looks.trace] == [100_500_000_000, 104_500_000_000]
    first, last = (seen.readings for seen in looks.trace)
    assert first["governor"] == "ondemand"
    assert first["cpu_frequency_hz"] == 6e8
    assert first["swapped_pages"] == 7
    assert first["temperature_celsius"] == 48
    assert first["throttled_now"] == "nothing"
    assert first["energy_counter_joules"] == pytest.approx(5)
    assert "battery_percent" not in first, "the command failed"
    assert last == {
        "cpu_frequency_hz": 1.8e9,
        "energy_counter_joules": pytest.approx(9),
    }
    assert looks.cpu_s == pytest.approx(60.08)
    assert looks.busy_s == _seconds(300)
    assert looks.wall_s == 4


def test_others_work_is_less_the_engines_and_the_looking() -> None:
    looks = parse_looks(SAID.replace("1m0.00s", "0m0.00s"), "aarch64")
    facts = looks.facts(engine_cpu_s=_seconds(300) - 0.08 - 2.0)
    assert facts["other_work_cores"].value == pytest.approx(0.5)
    assert facts["sampling_cores"].value == pytest.approx(0.02)
    busier = looks.facts(engine_cpu_s=_seconds(400))
    assert busier["other_work_cores"].value == 0.0, "ticks are coarse"


def test_what_is_not_known_is_null_with_a_reason() -> None:
    trace = parse_looks(SAID, "aarch64").trace
    unknown = Looks(trace, 0.1, None).facts(1.0)
    assert unknown["other_work_cores"] == Reading(None, "/proc/stat cannot be read")
    short = Looks([trace[0], trace[0]], 0.1, 0.1).facts(1.0)
    assert all(reading.value is None and reading.reason for reading in short.values())


@pytest.mark.parametrize("text", ["", "@cost\n", SAID.partition("@cost")[0], "banner"])
def test_looks_that_were_cut_off(text: str) -> None:
    with pytest.raises(InvalidMeasurementError, match="cut off"):
        parse_looks(text, "aarch64")


def test_the_script_looks_until_its_input_ends(tmp_path: Path) -> None:
    """In this machine's sh; a file changes meanwhile, and not all commands are there."""
    value = tmp_path / "scaling_governor"
    value.write_text("ondemand\n")
    (tmp_path / "two words").write_text("not for us\n")
    busy = tmp_path / "busy at the end"  # many ticks of the kernel's clock, as `times` counts
    busy.write_text('grep -q powersave "$1" && head -c 1000000000 /dev/zero | wc -c >/dev/null\n')
    commands = ["echo,said,this", "false", "no-such-command,x", f"sh,{busy},{value}"]
    patterns = ["/proc/stat", "/proc/vmstat", f"{tmp_path}/scaling_*", f"{tmp_path}/none*"]
    stream = Stream(LocalShell(), "sample", [str(tmp_path), "1", *patterns, "--", *commands])
    try:
        assert stream.line(30) == "@sampling"
        time.sleep(2.5)
        value.write_text("powersave\n")
        stream.end_input()
        word, size = stream.line(30).split()
        text = stream.read(int(size), 30).decode()
    finally:
        stream.close()
    assert word == "@looks"
    parts = text.partition("@cost")[0].split("@at ")[1:]
    assert 3 <= len(parts) <= 4
    assert all(f"{value}:ondemand\n" in part for part in parts[:-1])
    assert f"{value}:powersave\n" in parts[-1], "once more at the end"
    for part in parts:
        assert "@run echo,said,this\nsaid this\n@status 0\n@run false\n@status 1\n" in part
        assert "no-such-command" not in part
        assert part.count("/proc/stat:") == 1
        assert part.count("/proc/vmstat:") == 2
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    stamps = [float(part.split()[0]) for part in parts]
    assert stamps == sorted(stamps)
    assert 0 <= uptime - stamps[-1] < 30
    looks = parse_looks(text, "x86_64")
    assert 0 < looks.cpu_s < 5
    assert looks.busy_s is not None
    assert not (tmp_path / "looks").exists()


def test_everything_that_moves_is_looked_at() -> None:
    """Each source of a sensor that may change is among those that the shell reads."""
    seen: set[str] = set()

    class Source:
        def read(self, path: str) -> str | None:
            seen.add(path)
            return None

        def paths(self, pattern: str) -> list[str]:
            seen.add(pattern)
            return [pattern.replace("[0-9]*", "0").replace("*", "x")]

        def run(self, *command: str) -> str | None:
            seen.add(",".join(command))
            return {"get_throttled": "throttled=0x0", "battery": "level: 1"}.get(command[1])

        def own(self) -> dict[str, Reading]:
            return {}

    from runtime_py import sensors

    sensors.moving(Source())
    asked = {path for path in seen if path.startswith(("vcgencmd", "dumpsys"))}
    assert asked <= set(COMMANDS)
    said = {pattern.lstrip("/").replace("[0-9]*", "0").replace("*", "x") for pattern in PATTERNS}
    folders = {path.rpartition("/")[0] for path in said}
    for path in seen - asked:
        plain = path.replace("[0-9]*", "0").replace("*", "x")
        assert plain in said or plain in folders, path
