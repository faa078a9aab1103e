"""Names of devices: the hosts of an ssh configuration, the forms of --device."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.devices import open_device, open_shell
from toolchain.devices.doctor import CAPABILITIES, diagnose
from toolchain.devices.listing import devices_text, list_devices, ssh_hosts
from toolchain.errors import EXTRA_MODULES, BadRequestError


def test_hosts_of_an_ssh_configuration(tmp_path: Path) -> None:
    folder = tmp_path / ".ssh"
    (folder / "more").mkdir(parents=True)
    (folder / "config").write_text(
        "Include more/*.conf\n"
        "# Host comment\n"
        "host pi pi5 *.local !secret\n"
        "  HostName 10.0.0.2\n"
        'Host="two words"\n'
        "Host pi # again\n"
        "Match host x\n"
        'Host "broken\n'
    )
    (folder / "more" / "a.conf").write_text("Host board\nInclude more/*.conf\n")
    assert ssh_hosts(folder / "config") == ["board", "pi", "pi5", "two words"]
    assert ssh_hosts(folder / "absent") == []
    listed = list_devices(home=tmp_path)
    assert (listed[0].uri, listed[0].state) == ("local", "here")
    assert ("ssh:board", "configured") in [(device.uri, device.state) for device in listed]
    assert devices_text(listed).splitlines()[0].split() == ["local", "here"]


@pytest.mark.parametrize("uri", ["", "Local", "usb:1", "local:", "pi@host"])
def test_unknown_forms(uri: str) -> None:
    for open_it in (open_device, open_shell):
        with pytest.raises(BadRequestError, match=r"unknown device .*known: local, ssh:"):
            open_it(uri)


def test_a_recording_has_no_shell() -> None:
    with pytest.raises(BadRequestError, match="a recording, which has no shell"):
        open_shell("replay:x")


def test_the_doctor_knows_every_extra() -> None:
    assert set(CAPABILITIES) == set(EXTRA_MODULES)
    assert len(diagnose().capabilities) == len(EXTRA_MODULES)
