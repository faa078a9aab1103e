"""Devices that tests measure on: a loopback sshd, an emulated Pi, an emulated phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from emulated_device import EmulatedDevice, build, why_not
from handmade_bundle import write_bundle
from loopback_sshd import LoopbackSshd, missing_tools


@pytest.fixture(scope="session")
def onnx_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real .onnx bundle."""
    path = tmp_path_factory.mktemp("emulation") / "bundle"
    write_bundle(path)
    return path


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackSshd]:
    """A fresh sshd on the loopback; its client is the first `ssh` of the PATH."""
    absent = missing_tools()
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)} (tests/emulation/install.sh)")
    server = LoopbackSshd(tmp_path / "sshd")
    server.start()
    monkeypatch.setenv("PATH", str(server.folder / "bin"), prepend=":")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def bare_sshd(tmp_path: Path, sshd: LoopbackSshd) -> Iterator[LoopbackSshd]:
    """A device of the usual tools, without any Python."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for folder in ("/bin", "/usr/bin"):
        for program in Path(folder).iterdir():
            link = tools / program.name
            if not program.name.startswith(("python", "pdb")) and not link.is_symlink():
                link.symlink_to(program)
    sshd.stop()
    shutil.rmtree(sshd.folder)
    server = LoopbackSshd(sshd.folder, path=str(tools), python=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def pi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedDevice]:
    """An emulated Raspberry Pi, up for a module; its client is the first `ssh` of the PATH."""
    with _emulated("pi", tmp_path_factory.mktemp("pi")) as device:
        yield device


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedDevice]:
    """An emulated phone, up for a module; its client is the first `adb` of the PATH."""
    with _emulated("phone", tmp_path_factory.mktemp("phone")) as device:
        yield device


@contextmanager
def _emulated(name: str, folder: Path) -> Iterator[EmulatedDevice]:
    reason = why_not(name) or build(name)
    if reason:
        pytest.skip(reason)
    device = EmulatedDevice(name, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(device.bin), prepend=":")
        try:
            device.start()
            yield device
        finally:
            device.close()
