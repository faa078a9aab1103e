"""A phone that has not accepted this computer: the real adb, and a daemon that wants another key.

Debian's adbd asks nobody for a key, so the daemon here is ours; it speaks the part of the protocol
up to the question that a person would answer on the screen.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import wait_until

from toolchain.devices import open_device
from toolchain.devices.adb import adb_devices
from toolchain.devices.listing import list_devices
from toolchain.errors import MissingError

HEADER = struct.Struct("<6I")
CNXN, AUTH = (int.from_bytes(word, "little") for word in (b"CNXN", b"AUTH"))
TOKEN = 1


def _answer_with_questions(listener: socket.socket) -> None:
    """To the greeting and to every signature: another token to sign. To a public key: silence."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as stream:
            while len(header := stream.read(HEADER.size)) == HEADER.size:
                command, kind, _, size, _, _ = HEADER.unpack(header)
                stream.read(size)
                if command == CNXN or (command == AUTH and kind == 2):
                    token = os.urandom(20)
                    message = HEADER.pack(AUTH, TOKEN, 0, 20, sum(token), AUTH ^ 0xFFFFFFFF)
                    connection.sendall(message + token)


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its serial, known to an adb server of its own."""
    adb = shutil.which("adb")
    if adb is None:
        pytest.skip("not installed: adb (tests/emulation/install.sh)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server_port = probe.getsockname()[1]
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server_port))
    monkeypatch.setenv("HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_answer_with_questions, args=(listener,), daemon=True)
        thread.start()
        serial = f"127.0.0.1:{listener.getsockname()[1]}"
        try:
            subprocess.run([adb, "connect", serial], check=False, capture_output=True)
            wait_until(lambda: [e.state for e in adb_devices()] == ["unauthorized"])
            yield serial
        finally:
            subprocess.run([adb, "kill-server"], check=False, capture_output=True)
            listener.shutdown(socket.SHUT_RDWR)


def test_an_unauthorised_phone(locked: str) -> None:
    with pytest.raises(MissingError) as caught:
        open_device(f"adb:{locked}")
    assert str(caught.value) == (
        f"cannot use adb:{locked}: it has not accepted this computer; "
        "unlock it and allow USB debugging"
    )
    assert caught.value.exit_code == 3
    states = {device.uri: device.state for device in list_devices()}
    assert states[f"adb:{locked}"] not in ("ready", "device")
