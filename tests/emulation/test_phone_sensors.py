"""What a phone's sensors say while it measures: a real adbd, made-up sensors."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ExportEmbedded
from emulated_device import EmulatedDevice
from running import engines, profile, when_it_runs

from runtime_py.schema import LaunchRecord, Protocol
from toolchain.devices import open_device
from toolchain.profiling.validity import judge

pytest_plugins = ("device_fixtures",)

FEW = Protocol(prompt_tokens=8, generated_tokens=10, repetitions=3, launches=1)
SUSTAINED = Protocol(prompt_tokens=8, generated_tokens=10, sustained_s=7, phase="sustained")
CPU = "sys/devices/system/cpu"


def _runners() -> list[int]:
    return engines("paredown-runner", "/data/local/tmp/paredown")


def _write(phone: EmulatedDevice, path: str, text: str) -> None:
    """A file of the device, in place: what is bound to it stays so."""
    target = f"{phone.root}/{path}"
    phone.inside("sh", "-c", 'mkdir -p "${1%/*}" && printf %s\\\\n "$2" >"$1"', "sh", target, text)


@pytest.fixture(autouse=True)
def _as_it_was(phone: EmulatedDevice) -> Iterator[None]:
    phone.inside("sh", "-c", f"cp /proc/vmstat {phone.folder}/vmstat")
    phone.inside("mount", "--bind", f"{phone.folder}/vmstat", f"{phone.root}/proc/vmstat")
    yield
    phone.inside("umount", f"{phone.root}/proc/vmstat")
    phone.inside("rm", "-rf", f"{phone.root}/data/dumpsys")
    for cpu in range(4):
        _write(phone, f"{CPU}/cpu{cpu}/cpufreq/scaling_governor", "ondemand")
        for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq"):
            _write(phone, f"{CPU}/cpu{cpu}/cpufreq/{name}", "1800000")


def _measured(phone: EmulatedDevice, bundle: Path, protocol: Protocol) -> LaunchRecord:
    with open_device(phone.uri) as device:
        return device.measure(bundle, protocol)


def test_a_launch_says_what_an_agents_launch_says(
    phone: EmulatedDevice, embedded_bundle: ExportEmbedded
) -> None:
    record = _measured(phone, embedded_bundle("executorch"), FEW)
    assert len(record.drift_ns) == 2
    assert record.clock_jump_ns is not None
    assert len(record.trace) >= 2
    stamps = [seen.at_ns for seen in record.trace]
    assert stamps == sorted(stamps)
    end = record.samples[-1]
    assert stamps[0] < 0 < end.start_ns + end.ttft_ns + sum(end.token_ns) < stamps[-1]
    for seen in record.trace:
        assert seen.readings["governor"] == "ondemand"
        assert seen.readings["battery_percent"] == 81
        assert seen.readings["temperature_celsius"] == 41.5
    for name in ("sampling_cores", "other_work_cores"):
        reading = record.device[name]  # a fast machine is done before the kernel's clock has ticked
        assert isinstance(reading.value, float) or "too short" in reading.reason


def test_memory_and_cold_loads_are_left_alone(
    phone: EmulatedDevice, embedded_bundle: ExportEmbedded
) -> None:
    for phase in ("memory", "cold"):
        record = _measured(
            phone, embedded_bundle("executorch"), Protocol(8, 10, launches=1, phase=phase)
        )
        assert record.trace == []
        assert "sampling_cores" not in record.device


def test_a_quiet_phone(phone: EmulatedDevice, embedded_bundle: ExportEmbedded) -> None:
    bundle = embedded_bundle("executorch")
    with open_device(phone.uri) as device:
        records = [device.measure(bundle, FEW), device.measure(bundle, SUSTAINED)]
    sustained = records[1]
    inside = [seen for seen in sustained.trace if 0 < seen.at_ns < 7e9]
    assert inside, "looked at while it ran; how often depends on how long a look takes"
    cost = sustained.device["sampling_cores"].value
    assert isinstance(cost, float)
    assert 0 <= cost < 0.05, "of one core; a hundredth where nothing else runs, 0 ticks if fast"
    # Whatever this machine does beside the test: the phone's own sensors saw nothing.
    about = ("throttled", "governor", "frequency", "battery", "thermal", "swapped", "jumped")
    reasons = [r for r in judge(records, 1)[1] if any(word in r for word in about)]
    assert reasons == []


def test_everything_that_changes_in_a_run_is_said(
    phone: EmulatedDevice, embedded_bundle: ExportEmbedded
) -> None:
    bundle = embedded_bundle("executorch")
    others: list[subprocess.Popen[bytes]] = []

    def change(_: int) -> None:
        _write(phone, "data/dumpsys/thermal", "3")
        _write(phone, "data/dumpsys/level", "12")
        _write(phone, "data/dumpsys/ac", "true")
        _write(phone, "proc/vmstat", "pswpin 900000\npswpout 900000")
        _write(phone, f"{CPU}/cpu0/cpufreq/scaling_governor", "powersave")
        others.append(subprocess.Popen(["timeout", "5", "yes"], stdout=subprocess.DEVNULL))
        time.sleep(2)  # a look later
        for cpu in range(4):
            _write(phone, f"{CPU}/cpu{cpu}/cpufreq/scaling_cur_freq", "1200000")

    with open_device(phone.uri) as device:
        first = device.measure(bundle, FEW)
        with when_it_runs(_runners, change):
            second = device.measure(bundle, SUSTAINED)
    others[0].wait()
    validity, reasons = judge([first, second], 1)
    assert validity == "invalid"
    said = "\n".join(reasons)
    for words in (
        "Android's thermal status was severe",
        "governor changed during the run: ondemand, ondemand, powersave",
        "pages during the run",
        "the clock changed during the run: 1200 to 1800 MHz",
        "the battery was at 12%",
        "the battery was charging",
        "other work kept",
    ):
        assert words in said, said
    names = ("battery_percent", "thermal_status", "cpu_frequency_hz")
    before, after = (second.trace[i].readings for i in (0, -1))
    assert [before[name] for name in names] == [81, "none", 1.8e9]
    assert [after[name] for name in names] == [12, "severe", 1.2e9]


def test_big_cores_are_found_and_used(
    phone: EmulatedDevice, embedded_bundle: ExportEmbedded
) -> None:
    """Core 0 is the fast one, as the device's own files say."""
    for cpu in range(1, 4):
        _write(phone, f"{CPU}/cpu{cpu}/cpufreq/cpuinfo_max_freq", "900000")
    seen: list[set[int]] = []

    def look(pid: int) -> None:
        tasks = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
        seen.extend(os.sched_getaffinity(task) for task in tasks)

    bundle = embedded_bundle("executorch")
    with open_device(phone.uri) as device, when_it_runs(_runners, look):
        record = device.measure(bundle, SUSTAINED)
    assert seen == [{0}] * len(seen) != []
    assert record.device["cpu_affinity"].value == "0"
    both = _measured(phone, bundle, Protocol(8, 4, repetitions=1, launches=1, threads=2))
    assert both.device["cpu_affinity"].value == "0,1"
    everywhere = _measured(phone, bundle, Protocol(8, 4, repetitions=1, launches=1, affinity="all"))
    assert everywhere.device["cpu_affinity"].value == "0,1"


def test_a_sweep_over_threads(phone: EmulatedDevice, embedded_bundle: ExportEmbedded) -> None:
    few = ("-p", "8", "-n", "3", "-r", "1", "--launches", "1", "-t", "1-2")
    bundle = str(embedded_bundle("executorch"))
    result = profile(bundle, "--device", phone.uri, *few, "--no-cold", "--no-memory")
    assert [report["protocol"]["threads"] for report in result["reports"]] == [1, 2]
    assert {report["device_uri"] for report in result["reports"]} == {phone.uri}
    assert all(len(report["launches"][0]["samples"]) == 1 for report in result["reports"])
