"""Sensors over made-up /proc and /sys trees: values with units, null with a reason."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from runtime_py import sensors

TICKS = os.sysconf("SC_CLK_TCK")


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def raspberry_pi(tmp_path: Path) -> Path:
    cpu = "".join(f"processor\t: {i}\nBogoMIPS\t: 108.00\n\n" for i in range(4))
    return _write(
        tmp_path,
        {
            "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
            "proc/cpuinfo": cpu,
            "proc/meminfo": "MemTotal:        8245280 kB\nMemFree:  1 kB\n",
            "proc/loadavg": "0.42 0.10 0.05 1/190 1234\n",
            "proc/sys/kernel/osrelease": "6.6.31+rpt-rpi-2712\n",
            "proc/self/status": "Name:\tx\nVmPeak:\t 900 kB\nVmHWM:\t    1234 kB\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "2400000\n",
            "sys/class/thermal/thermal_zone0/temp": "48200\n",
            "sys/class/thermal/thermal_zone1/temp": "51300\n",
        },
    )


def test_a_raspberry_pi(raspberry_pi: Path) -> None:
    readings = {name: r.value for name, r in sensors.read_all(raspberry_pi).items()}
    assert readings["cpu_model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert readings["cpu_count"] == 4
    assert readings["memory_total_bytes"] == 8245280 * 1024
    assert readings["kernel"] == "6.6.31+rpt-rpi-2712"
    assert readings["governor"] == "ondemand"
    assert readings["cpu_frequency_hz"] == 1.5e9
    assert readings["cpu_frequency_max_hz"] == 2.4e9
    assert readings["temperature_celsius"] == pytest.approx(51.3)
    assert readings["load_average_1m"] == 0.42
    assert sensors.peak_rss_bytes(raspberry_pi) == 1234 * 1024


def test_the_second_place_of_the_device_tree(tmp_path: Path) -> None:
    _write(tmp_path, {"sys/firmware/devicetree/base/model": "Raspberry Pi 4 Model B\0"})
    assert sensors.cpu_model(tmp_path).value == "Raspberry Pi 4 Model B"


def test_x86_says_model_name(tmp_path: Path) -> None:
    text = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\n\nprocessor\t: 1\n"
    _write(tmp_path, {"proc/cpuinfo": text})
    assert sensors.cpu_model(tmp_path).value == "Some CPU @ 2.00GHz"
    assert sensors.cpu_count(tmp_path).value == 2


def test_nothing_there_is_null_with_a_reason_never_zero(tmp_path: Path) -> None:
    readings = sensors.read_all(tmp_path)
    own = {"machine", "python"}
    for name in set(readings) - own:
        assert readings[name].value is None, name
        assert readings[name].reason, name
    assert all(readings[name].value for name in own)


def test_nonsense_is_null_with_a_reason(raspberry_pi: Path) -> None:
    _write(
        raspberry_pi,
        {
            "sys/class/thermal/thermal_zone0/temp": "hot\n",
            "sys/class/thermal/thermal_zone1/temp": "\n",
            "proc/loadavg": "",
            "proc/meminfo": "MemTotal: many kB\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "<unknown>\n",
        },
    )
    readings = sensors.read_all(raspberry_pi)
    for name in ("temperature_celsius", "load_average_1m", "memory_total_bytes"):
        assert readings[name].value is None
        assert readings[name].reason
    assert "<unknown>" in readings["cpu_frequency_hz"].reason


def test_this_machine_has_a_peak_that_grows() -> None:
    before = sensors.peak_rss_bytes()
    assert before is not None
    assert 1e6 < before < 1e12
    ballast = bytearray(before + (64 << 20))
    ballast[::4096] = b"x" * len(ballast[::4096])
    after = sensors.peak_rss_bytes()
    assert after is not None
    assert after > before + (32 << 20)


def test_peak_rss_without_vmhwm_comes_from_getrusage(tmp_path: Path) -> None:
    peak = sensors.peak_rss_bytes(tmp_path)
    assert peak is not None
    assert 1e6 < peak < 1e12


def _stat(root: Path, ticks: int) -> None:
    # idle (column 4) and iowait (5) do not count; steal (8) does
    _write(root, {"proc/stat": f"cpu  {ticks} 0 0 {10**6} {10**6} 0 0 {ticks} 0 0\ncpu0 1\n"})


def test_other_work_is_busy_time_less_our_own(tmp_path: Path) -> None:
    _stat(tmp_path, 100 * TICKS)
    other = sensors.OtherWork(tmp_path)
    start = time.perf_counter()
    time.sleep(0.2)
    _stat(tmp_path, 101 * TICKS)  # one second each of user and of steal
    cores = other.cores().value
    wall = time.perf_counter() - start
    assert isinstance(cores, float)
    assert cores == pytest.approx(2 / wall, rel=0.3)


def test_our_own_work_is_not_other_work(tmp_path: Path) -> None:
    _stat(tmp_path, 100 * TICKS)
    other = sensors.OtherWork(tmp_path)
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    assert other.cores().value == 0.0


def test_other_work_without_proc_stat(tmp_path: Path) -> None:
    reading = sensors.OtherWork(tmp_path).cores()
    assert reading.value is None
    assert "/proc/stat" in reading.reason


def test_available_cores() -> None:
    assert 1 <= sensors.available_cores() <= (os.cpu_count() or 1)
