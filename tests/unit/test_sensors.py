"""Sensors over made-up /proc and /sys trees: values with units, null with a reason."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from runtime_py import sensors
from runtime_py.sensors import linux, process
from runtime_py.sensors.source import LocalSource

TICKS = os.sysconf("SC_CLK_TCK")


def _nothing(command: object) -> None:
    """No command of the real machine may answer for a made-up one."""


def _source(root: Path) -> LocalSource:
    return LocalSource(root, _nothing)


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = """\
MemTotal:        8245280 kB
MemFree:               1 kB
MemAvailable:    7000000 kB
SwapTotal:        524284 kB
SwapFree:         500000 kB
"""


@pytest.fixture
def raspberry_pi(tmp_path: Path) -> Path:
    cpu = "".join(f"processor\t: {i}\nBogoMIPS\t: 108.00\n\n" for i in range(4))
    return _write(
        tmp_path,
        {
            "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
            "proc/cpuinfo": cpu,
            "proc/meminfo": MEMINFO,
            "proc/uptime": "1234.56 4000.00\n",
            "proc/vmstat": "nr_free_pages 1\npswpin 7\npswpout 5\npgfault 9\n",
            "proc/sys/kernel/random/boot_id": "0f0e0d0c-0000-4000-8000-000000000001\n",
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
    readings = {name: r.value for name, r in sensors.read_all(_source(raspberry_pi)).items()}
    assert readings["cpu_model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert readings["cpu_count"] == 4
    assert readings["memory_total_bytes"] == 8245280 * 1024
    assert readings["kernel"] == "6.6.31+rpt-rpi-2712"
    assert readings["governor"] == "ondemand"
    assert readings["cpu_frequency_hz"] == 1.5e9
    assert readings["cpu_frequency_max_hz"] == 2.4e9
    assert readings["temperature_celsius"] == pytest.approx(51.3)
    assert readings["load_average_1m"] == 0.42
    assert readings["memory_available_bytes"] == 7000000 * 1024
    assert readings["swap_used_bytes"] == 24284 * 1024
    assert readings["swapped_pages"] == 12
    assert readings["uptime_s"] == 1234.56
    assert readings["boot_id"] == "0f0e0d0c-0000-4000-8000-000000000001"
    assert sensors.peak_rss_bytes(_source(raspberry_pi)) == 1234 * 1024


def test_the_second_place_of_the_device_tree(tmp_path: Path) -> None:
    _write(tmp_path, {"sys/firmware/devicetree/base/model": "Raspberry Pi 4 Model B\0"})
    assert linux.cpu_model(_source(tmp_path)).value == "Raspberry Pi 4 Model B"


def test_x86_says_model_name(tmp_path: Path) -> None:
    text = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\n\nprocessor\t: 1\n"
    _write(tmp_path, {"proc/cpuinfo": text})
    assert linux.cpu_model(_source(tmp_path)).value == "Some CPU @ 2.00GHz"
    assert linux.cpu_count(_source(tmp_path)).value == 2


def test_nothing_there_is_null_with_a_reason_never_zero(tmp_path: Path) -> None:
    readings = sensors.read_all(_source(tmp_path))
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
    readings = sensors.read_all(_source(raspberry_pi))
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
    peak = sensors.peak_rss_bytes(_source(tmp_path))
    assert peak is not None
    assert 1e6 < peak < 1e12


def _stat(root: Path, ticks: int) -> None:
    # idle (column 4) and iowait (5) do not count; steal (8) does
    _write(root, {"proc/stat": f"cpu  {ticks} 0 0 {10**6} {10**6} 0 0 {ticks} 0 0\ncpu0 1\n"})


def test_other_work_is_busy_time_less_our_own(tmp_path: Path) -> None:
    _stat(tmp_path, 100 * TICKS)
    other = sensors.OtherWork(_source(tmp_path))
    start = time.perf_counter()
    time.sleep(0.25)
    _stat(tmp_path, 101 * TICKS)  # one second each of user and of steal
    cores = other.cores().value
    wall = time.perf_counter() - start
    assert isinstance(cores, float)
    assert cores == pytest.approx(2 / wall, rel=0.3)


def test_our_own_work_is_not_other_work(tmp_path: Path) -> None:
    _stat(tmp_path, 100 * TICKS)
    other = sensors.OtherWork(_source(tmp_path))
    end = time.process_time() + 0.25
    while time.process_time() < end:
        pass
    assert other.cores().value == 0.0


def test_other_work_without_proc_stat(tmp_path: Path) -> None:
    reading = sensors.OtherWork(_source(tmp_path)).cores()
    assert reading.value is None
    assert "/proc/stat" in reading.reason


def test_available_cores() -> None:
    assert 1 <= sensors.available_cores() <= (os.cpu_count() or 1)


def test_a_moment_too_short_for_ticks_says_nothing(tmp_path: Path) -> None:
    _stat(tmp_path, 100 * TICKS)
    reading = sensors.OtherWork(_source(tmp_path)).cores()
    assert reading.value is None
    assert "too short" in reading.reason


def test_governors_that_differ_are_all_named(tmp_path: Path) -> None:
    for cpu, governor in ((0, "powersave"), (1, "powersave"), (4, "performance")):
        path = f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"
        _write(tmp_path, {path: f"{governor}\n"})
    assert linux.governor(_source(tmp_path)).value == "performance, powersave"


def test_the_clock_is_that_of_the_fastest_core(tmp_path: Path) -> None:
    for cpu, khz in ((0, 600000), (7, 2850000)):
        path = f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq"
        _write(tmp_path, {path: f"{khz}\n"})
    assert linux.highest_frequency_hz(_source(tmp_path), "scaling_cur_freq").value == 2.85e9


def test_x86_counts_how_often_it_throttled(tmp_path: Path) -> None:
    folder = "sys/devices/system/cpu/cpu0/thermal_throttle"
    _write(tmp_path, {f"{folder}/core_throttle_count": "3\n"})
    _write(tmp_path, {f"{folder}/package_throttle_count": "4\n"})
    assert linux.thermal_throttle_count(_source(tmp_path)).value == 7


def test_a_snapshot_leaves_out_what_is_absent(raspberry_pi: Path) -> None:
    snapshot = sensors.snapshot(5, _source(raspberry_pi))
    assert snapshot.at_ns == 5
    assert snapshot.readings["governor"] == "ondemand"
    assert "throttled_now" not in snapshot.readings


def test_memory_of_a_process(raspberry_pi: Path) -> None:
    _write(
        raspberry_pi,
        {
            "proc/self/status": "VmHWM:\t 1234 kB\nRssAnon:\t 200 kB\nRssFile:\t 300 kB\n",
            "proc/self/smaps_rollup": "00400000-7fff ---p 0 [rollup]\nRss: 500 kB\nPss: 450 kB\n",
        },
    )
    source = _source(raspberry_pi)
    assert sensors.status_bytes("RssAnon", source) == 200 * 1024
    assert sensors.status_bytes("RssFile", source) == 300 * 1024
    assert sensors.status_bytes("RssShmem", source) is None
    assert sensors.pss_bytes(source) == 450 * 1024


def test_an_old_kernel_does_not_add_up_the_pss(tmp_path: Path) -> None:
    mapping = "00400000-00452000 r-xp 0 fd:00 1 /bin/x\nRss: 9 kB\nPss: {} kB\nSwapPss: 7 kB\n"
    _write(tmp_path, {"proc/self/smaps": mapping.format(30) + mapping.format(4)})
    assert sensors.pss_bytes(_source(tmp_path)) == 34 * 1024
    assert sensors.pss_bytes(_source(tmp_path / "nothing")) is None


def test_a_file_leaves_the_page_cache_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(1 << 20))
    dropped = sensors.drop_page_cache([path])
    if dropped.value is None:
        pytest.skip(dropped.reason)
    if dropped.value != 0.0:
        pytest.skip("this file system keeps its pages")
    path.read_bytes()
    assert process.page_cache_resident([path]).value == 1.0
    (tmp_path / "empty").touch()
    assert process.page_cache_resident([tmp_path / "empty"]).value == 0.0


def test_binding_to_cores_is_undone_by_nobody_and_said(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    try:
        assert process.use_cores("all", 1).value == process.ranges(before)
        last = max(before)
        for core in before:
            capacity = 1024 if core == last else 512
            _write(tmp_path, {f"sys/devices/system/cpu/cpu{core}/cpu_capacity": f"{capacity}\n"})
        assert process.use_cores("big", 1, _source(tmp_path)).value == str(last)
        assert os.sched_getaffinity(0) == {last}
    finally:
        os.sched_setaffinity(0, before)
