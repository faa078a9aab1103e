"""The adb transport against a real adbd: the native runner alone, and its faults."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from conftest import ExportEmbedded
from emulated_device import PHONE_SERIAL, EmulatedDevice
from running import engines, profile, wait_until, when_it_runs

from runtime_py.schema import DeviceReport, Protocol, from_json
from toolchain.devices import open_device
from toolchain.devices.checkup import examine
from toolchain.devices.listing import list_devices
from toolchain.errors import BadRequestError, InvalidMeasurementError, MissingError

pytest_plugins = ("device_fixtures",)

ENDLESS = Protocol(prompt_tokens=8, generated_tokens=30, repetitions=1_000_000, launches=1)
FOLDER = "/data/local/tmp/paredown"


def _left_behind(phone: EmulatedDevice) -> list[str]:
    return phone.inside("find", f"{phone.root}/data/local/tmp", "-mindepth", "1").split()


def _runners() -> list[int]:
    return engines("paredown-runner", FOLDER)


def test_profile_on_the_phone(
    phone: EmulatedDevice, embedded_bundle: ExportEmbedded, tmp_path: Path
) -> None:
    bundle = embedded_bundle("executorch")
    out = tmp_path / "report.json"
    few = ("-p", "8", "-n", "3", "-r", "2", "--launches", "2")
    profile(str(bundle), "--device", phone.uri, *few, "--out", str(out))
    report = from_json(DeviceReport, json.loads(out.read_text()))
    assert report.emulated
    assert report.device_uri == f"adb:{PHONE_SERIAL}"
    assert [launch.engine for launch in report.launches] == ["executorch-native"] * 2
    assert [len(s.token_ns) for launch in report.launches for s in launch.samples] == [3] * 4
    assert report.launches[0].device["battery_percent"].value == 81
    assert report.launches[0].device["temperature_celsius"].value == 41.5
    assert _left_behind(phone) == []
    with open_device(phone.uri) as device:
        assert device.check(bundle).passed


def test_it_is_listed_and_examined(phone: EmulatedDevice) -> None:
    assert (phone.uri, "ready") in [(device.uri, device.state) for device in list_devices()]
    checkup = examine(phone.uri)
    assert (checkup.system, checkup.emulator) == ("android", "getprop ro.kernel.qemu")
    findings = {finding.what: finding for finding in checkup.findings}
    assert findings["take a bundle"].works
    assert findings["run .onnx bundles"].why == "no Python there"


def test_an_onnx_bundle_is_refused(phone: EmulatedDevice, onnx_bundle: Path) -> None:
    with (
        open_device(phone.uri) as device,
        pytest.raises(MissingError, match=r"runs no \.onnx bundle: Android has no Python; export"),
    ):
        device.prepare(onnx_bundle)
    assert _left_behind(phone) == []


@pytest.mark.usefixtures("phone")
def test_an_unknown_serial() -> None:
    with pytest.raises(MissingError) as caught:
        open_device("adb:0123456789")
    assert str(caught.value).startswith("there is no device adb:0123456789; adb sees ")
    assert PHONE_SERIAL in str(caught.value)
    with pytest.raises(MissingError, match=r"network device: adb connect 10\.0\.0\.9:5555"):
        open_device("adb:10.0.0.9:5555")
    with pytest.raises(BadRequestError, match=f"write adb:SERIAL; adb sees .*{PHONE_SERIAL}"):
        open_device("adb:")


def test_two_hosts_lock_each_other_out(phone: EmulatedDevice) -> None:
    with (
        open_device(phone.uri),
        pytest.raises(MissingError, match=rf"is in use by .*\(process {os.getpid()}, since"),
    ):
        open_device(phone.uri)
    open_device(phone.uri).close()
    assert _left_behind(phone) == []


def test_a_killed_engine(phone: EmulatedDevice, embedded_bundle: ExportEmbedded) -> None:
    with (
        open_device(phone.uri) as device,
        when_it_runs(_runners, lambda pid: os.kill(pid, signal.SIGKILL)),
        pytest.raises(InvalidMeasurementError, match="ended with signal SIGKILL"),
    ):
        device.measure(embedded_bundle("executorch"), ENDLESS)
    assert _left_behind(phone) == []


def test_unplugged_while_it_measures(  # the last one: adbd does not come back
    phone: EmulatedDevice, embedded_bundle: ExportEmbedded
) -> None:
    with (
        open_device(phone.uri) as device,
        when_it_runs(_runners, lambda _: phone.unplug()),
        pytest.raises(MissingError, match=r"the connection to adb:\S+ broke") as caught,
    ):
        device.measure(embedded_bundle("executorch"), ENDLESS)
    assert caught.value.exit_code == 3
    wait_until(lambda: not _runners())
    # What was pushed waits for the next run; the lock and the run's folder are gone.
    wait_until(lambda: {Path(name).name for name in _left_behind(phone)} >= {"store"})
    wait_until(lambda: not [n for n in _left_behind(phone) if "/runs/" in n or n.endswith("lock")])
