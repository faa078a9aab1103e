"""The whole line on an emulated Raspberry Pi: arm64 Debian, real sshd, real aarch64 engines.

Latency and memory mean nothing there; what is asserted is that the numbers come from there, say so,
and that nothing is left behind.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import ExportEmbedded
from emulated_device import EmulatedDevice
from running import engines, profile, when_it_runs

from runtime_py.schema import DeviceReport, Protocol, from_json
from toolchain.devices import open_device
from toolchain.devices.checkup import examine
from toolchain.profiling.validity import judge

pytest_plugins = ("device_fixtures",)

FEW = (
    "-p",
    "8",
    "-n",
    "3",
    "-r",
    "1",
    "--launches",
    "1",
    "--warmup",
    "0",
    "--no-cold",
    "--no-memory",
)
SUSTAINED = Protocol(prompt_tokens=8, generated_tokens=3, sustained_s=8, phase="sustained")


def _left_behind(pi: EmulatedDevice) -> list[str]:
    folders = [f"{pi.root}/{name}" for name in ("home/pi", "tmp")]
    files = pi.inside("find", *folders, "-type", "f").split()
    return [name for name in files if not name.endswith(("authorized_keys", ".ses"))]


@pytest.mark.parametrize(
    ("backend", "engine"), [("onnx", "onnxruntime"), ("executorch", "executorch-native")]
)
def test_profile_on_the_pi(
    pi: EmulatedDevice,
    embedded_bundle: ExportEmbedded,
    backend: str,
    engine: str,
    tmp_path: Path,
) -> None:
    bundle = embedded_bundle(backend)
    out = tmp_path / "report.json"
    profile(str(bundle), "--device", pi.uri, *FEW, "--out", str(out))
    report = from_json(DeviceReport, json.loads(out.read_text()))
    assert report.emulated
    assert report.device_uri == pi.uri
    assert [launch.engine for launch in report.launches] == [engine]
    launch = report.launches[0]
    assert [len(sample.token_ns) for sample in launch.samples] == [3]
    assert launch.device["cpu_model"].value == "Raspberry Pi 4 Model B Rev 1.4 (emulated)"
    assert launch.device["machine"].value == "aarch64"
    assert launch.device["temperature_celsius"].value == 48.2
    assert _left_behind(pi) == []
    with open_device(pi.uri) as device:
        assert device.emulated
        assert device.check(bundle).passed, "the golden cases, on the other architecture"
    assert _left_behind(pi) == []


def test_doctor_on_the_pi(pi: EmulatedDevice) -> None:
    checkup = examine(pi.uri)
    assert (checkup.arch, checkup.emulator) == ("aarch64", "qemu user mode")
    assert checkup.libc.startswith("glibc 2.")
    assert checkup.page_bytes == 4096
    assert checkup.cpu_features == {"asimd": True, "dotprod": False, "i8mm": False, "sve": False}
    findings = {finding.what: finding for finding in checkup.findings}
    assert findings["run .onnx bundles"].works
    assert findings["take a bundle"].works
    assert not findings["run 8-bit kernels at full speed"].works
    governor = findings["give steady numbers"]
    assert governor.why == "its clock governor is ondemand"
    assert "scaling_governor" in governor.fix
    assert "cores 0-3: 1800 MHz" in checkup.text()


def test_doctor_sees_a_weak_power_supply(pi: EmulatedDevice) -> None:
    pi.inside("sh", "-c", f"echo throttled=0x50000 >{pi.root}/run/throttled")
    try:
        findings = {finding.what: finding for finding in examine(pi.uri).findings}
    finally:
        pi.inside("sh", "-c", f"echo throttled=0x0 >{pi.root}/run/throttled")
    steady = findings["give steady numbers"]
    assert "under-voltage" in steady.why
    assert steady.fix == "use a stronger power supply, then reboot it"


def _runners() -> list[int]:
    return engines("paredown-runner.elf", ".cache/paredown")


def _write(pi: EmulatedDevice, path: str, text: str) -> None:
    pi.inside("sh", "-c", 'echo "$1" >"$2"', "sh", text, f"{pi.root}/{path}")


def test_the_agent_binds_the_runner_and_sees_it_throttle(
    pi: EmulatedDevice, embedded_bundle: ExportEmbedded
) -> None:
    """Core 0 is made the fast one; then power and governor change while the engine runs."""
    cpu = "sys/devices/system/cpu"
    for core in range(1, 4):
        _write(pi, f"{cpu}/cpu{core}/cpufreq/cpuinfo_max_freq", "600000")
    allowed: list[set[int]] = []

    def change(pid: int) -> None:
        tasks = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
        allowed.extend(os.sched_getaffinity(task) for task in tasks)
        _write(pi, "run/throttled", "throttled=0x50005")
        _write(pi, f"{cpu}/cpu0/cpufreq/scaling_governor", "powersave")

    try:
        with open_device(pi.uri) as device:
            bundle = embedded_bundle("executorch")
            device.prepare(bundle)  # builds the runner, where it is not there yet
            with when_it_runs(_runners, change):
                record = device.measure(bundle, SUSTAINED)
    finally:
        _write(pi, "run/throttled", "throttled=0x0")
        _write(pi, f"{cpu}/cpu0/cpufreq/scaling_governor", "ondemand")
        for core in range(1, 4):
            _write(pi, f"{cpu}/cpu{core}/cpufreq/cpuinfo_max_freq", "1800000")
    assert allowed == [{0}] * len(allowed) != []
    assert record.device["cpu_affinity"].value == "0"
    assert record.trace[0].readings["throttled_now"] == "nothing"
    validity, reasons = judge([record], 1)
    assert validity == "invalid"
    assert "throttled during the run: under-voltage, throttled" in reasons
    assert "governor changed during the run: ondemand, ondemand, powersave" in reasons
