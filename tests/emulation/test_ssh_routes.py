"""Roads to a device, and devices that are odd: behind a jump host, no Python, another time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ExportEmbedded
from loopback_sshd import HOST, LoopbackSshd
from running import engines, when_it_runs

from runtime_py.schema import Protocol
from toolchain.devices import open_device
from toolchain.errors import MissingError
from toolchain.profiling.validity import judge

pytest_plugins = ("device_fixtures",)

SMALL = Protocol(prompt_tokens=8, generated_tokens=5, repetitions=2, launches=1, warmup=0)
SUSTAINED = Protocol(prompt_tokens=8, generated_tokens=5, sustained_s=5, phase="sustained")
BEHIND = "behind-the-jump"
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
YEARS = "-1500d"


@pytest.fixture
def behind(sshd: LoopbackSshd, tmp_path: Path) -> Iterator[LoopbackSshd]:
    """A second device, which the client's configuration reaches through the first alone."""
    device = LoopbackSshd(tmp_path / "behind")
    device.start()
    config = sshd.folder / "ssh_config"
    with config.open("a") as file:
        file.write(
            f"Host {BEHIND}\n  HostName 127.0.0.1\n  Port {device.port}\n  ProxyJump {HOST}\n"
            f"  IdentityFile {device.folder / 'keys' / 'user'}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {device.folder / 'known_hosts'}\n  GlobalKnownHostsFile none\n"
        )
    try:
        yield device
    finally:
        device.stop()


def test_a_device_behind_a_jump_host(
    sshd: LoopbackSshd, behind: LoopbackSshd, onnx_bundle: Path
) -> None:
    with open_device(f"ssh:{BEHIND}") as device:
        assert device.check(onnx_bundle).passed
        assert behind.cache.exists()
        assert not sshd.cache.exists(), "the jump host only forwards"
        assert [len(s.token_ns) for s in device.measure(onnx_bundle, SMALL).samples] == [5, 5]
    assert not behind.cache.exists()
    assert not behind.lock.exists()


def test_a_jump_host_that_is_down(sshd: LoopbackSshd, behind: LoopbackSshd) -> None:
    del behind
    sshd.stop()
    with pytest.raises(MissingError) as caught:
        open_device(f"ssh:{BEHIND}")
    assert str(caught.value).startswith(
        f"cannot reach ssh:{BEHIND} through its jump host: ssh: connect to host 127.0.0.1 port "
    )
    assert "Connection refused; try 'ssh behind-the-jump'" in str(caught.value)


def _native(sshd: LoopbackSshd) -> list[int]:
    return engines("paredown-runner", str(sshd.cache))


def test_sensors_without_python(
    bare_sshd: LoopbackSshd, embedded_bundle: ExportEmbedded, tmp_path: Path
) -> None:
    """A board that throttles in a run, seen by the shell alone."""
    said = tmp_path / "throttled"
    said.write_text("throttled=0x0\n")
    firmware = Path(bare_sshd.path) / "vcgencmd"
    firmware.write_text(f'#!/bin/sh\n[ "$1" = get_throttled ] && cat {said}\n')
    firmware.chmod(0o755)
    bundle = embedded_bundle("executorch")

    def throttle(_: int) -> None:
        said.write_text("throttled=0x50005\n")

    with open_device(bare_sshd.uri) as device:
        first = device.measure(bundle, SMALL)
        with when_it_runs(lambda: _native(bare_sshd), throttle):
            second = device.measure(bundle, SUSTAINED)
    assert first.engine == "executorch-native"
    assert first.trace[-1].readings["throttled_now"] == "nothing"
    assert len(first.drift_ns) == 2
    validity, reasons = judge([first, second], 1)
    assert validity == "invalid"
    assert reasons[0] == "throttled during the run: under-voltage, throttled"
    assert not bare_sshd.cache.exists()


@contextlib.contextmanager
def _of_another_time(
    sshd: LoopbackSshd, offset: Path, path: str, python: bool
) -> Iterator[LoopbackSshd]:
    """The same device with a clock that is off by what `offset` says; files tell its time, too."""
    if not FAKETIME.exists():
        pytest.skip("not installed: libfaketime (tests/emulation/install.sh)")
    sshd.stop()
    offset.write_text(YEARS)
    environment = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    device = LoopbackSshd(sshd.folder, path, python, environment)
    device.start()
    try:
        yield device
    finally:
        device.stop()


def test_a_device_whose_clock_is_wrong(
    sshd: LoopbackSshd, onnx_bundle: Path, tmp_path: Path
) -> None:
    with (
        _of_another_time(sshd, tmp_path / "offset", sshd.path, python=False) as device_of_old,
        open_device(device_of_old.uri) as device,
    ):
        assert device.check(onnx_bundle).passed
        record = device.measure(onnx_bundle, SMALL)
        written = (device_of_old.lock / "owner").read_text()
        assert time.strftime("%Y-%m-%d", time.gmtime()) in written, "the host's time"
    assert record.clock_jump_ns is not None
    assert abs(record.clock_jump_ns) < 0.5e9, "wrong, but steady"
    assert all(0 < ns < 60e9 for sample in record.samples for ns in sample.token_ns)
    assert not device_of_old.lock.exists()


@pytest.mark.parametrize("backend", ["onnx", "executorch"])
def test_a_clock_that_is_set_while_it_measures(
    sshd: LoopbackSshd,
    onnx_bundle: Path,
    embedded_bundle: ExportEmbedded,
    tmp_path: Path,
    backend: str,
) -> None:
    bundle = onnx_bundle if backend == "onnx" else embedded_bundle(backend)
    offset = tmp_path / "offset"
    found = {"onnx": "agent.pyz", "executorch": "paredown-runner"}[backend]

    def set_clock(_: int) -> None:
        other = offset.with_suffix(".new")
        other.write_text("-1499d")
        other.rename(offset)

    with (
        _of_another_time(sshd, offset, sshd.path, python=False) as device_of_old,
        open_device(device_of_old.uri) as device,
        when_it_runs(lambda: engines(found, str(device_of_old.cache)), set_clock),
    ):
        record = device.measure(bundle, SUSTAINED)
    assert record.clock_jump_ns == pytest.approx(86400e9, rel=1e-3)
    validity, reasons = judge([record], 1)
    assert validity == "invalid"
    assert reasons[0].startswith("the clock jumped by +864")
