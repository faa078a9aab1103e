"""The emulated Pi and the emulated phone as fixtures use them: start, clients, an end for all."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from loopback_sshd import make_key

HERE = Path(__file__).parent
PI_HOST = "emulated-pi"
PHONE_SERIAL = "127.0.0.1:5555"
ADB_SERVER_PORT = "5099"

_TOOLS = {
    "pi": ("mmdebstrap", "unshare", "nsenter", "ip", "qemu-aarch64-static", "ssh", "ssh-keygen"),
    "phone": ("mmdebstrap", "unshare", "nsenter", "ip", "adb"),
}


def why_not(name: str) -> str:
    """Why this machine cannot emulate `pi` or `phone`; empty where it can."""
    if os.geteuid() != 0:
        return "an emulated device needs root"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    absent = [tool for tool in _TOOLS[name] if shutil.which(tool, path=path) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (tests/emulation/install.sh)"
    probe = ["unshare", "--mount", "--net", "--pid", "--fork", "true"]
    if subprocess.run(probe, check=False, capture_output=True).returncode != 0:
        return "this machine allows no namespaces"
    return ""


def build(name: str) -> str:
    """Make the root file system where it is not there; empty, or why it could not be made."""
    done = subprocess.run(
        [str(HERE / "rootfs.sh"), name], check=False, capture_output=True, text=True
    )
    if done.returncode == 0:
        return ""
    return f"the emulated {name} cannot be built: {done.stderr.strip().splitlines()[-1]}"


class EmulatedDevice:
    """One device from `start` to `stop`; its clients are programs in `bin`.

    Args:
        name: `pi` or `phone`.
        folder: for its keys, logs and clients.
        size: of the file system that takes what is written there.
    """

    def __init__(self, name: str, folder: Path, size: str = "512m") -> None:
        self.name = name
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        self.uri = f"ssh:{PI_HOST}" if name == "pi" else f"adb:{PHONE_SERIAL}"
        self._size = size
        self._process: subprocess.Popen[bytes] | None = None
        if name == "pi":
            self._make_keys()

    def start(self) -> None:
        """Up in seconds once its root file system is built."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(HERE / "emulated.sh"), self.name, str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "EMULATED_SIZE": self._size},
                start_new_session=True,
            )
        end = time.monotonic() + 120
        while not (self.folder / "ready").exists():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.folder / "log").read_text()[-2000:])
            time.sleep(0.1)
        self._write_client()
        self._wait_until_it_answers()

    def stop(self) -> None:
        """Everything in it dies at once, as with a pulled plug."""
        if self._process is None:
            return
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def unplug(self) -> None:
        """The phone stays alive, its connection does not: adbd dies."""
        self.inside("sh", "-c", "kill -9 $(cat /proc/[0-9]*/stat | sed -n 's/ (adbd) .*//p')")

    def close(self) -> None:
        """`stop`, and the client's server too."""
        if self.name == "phone" and (self.bin / "adb").exists() and self._process is not None:
            subprocess.run([self.bin / "adb", "kill-server"], check=False, capture_output=True)
        self.stop()

    def inside(self, *command: str) -> str:
        """Output of a command of this machine in the device's namespaces."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        first = children.read_text().split()[0]
        enter = ["nsenter", "-t", first, "-m", "-p", "-n", "-u", "--", *command]
        return subprocess.run(enter, check=True, capture_output=True, text=True).stdout

    @property
    def root(self) -> str:
        """The device's root folder, as `inside` sees it."""
        return f"{self.folder}/mnt/root"

    def _make_keys(self) -> None:
        for key in ("user", "host"):
            make_key(self.folder / key)
        public = " ".join((self.folder / "host.pub").read_text().split()[:2])
        (self.folder / "known_hosts").write_text(f"127.0.0.1 {public}\n")
        (self.folder / "ssh_config").write_text(
            f"Host {PI_HOST}\n  HostName 127.0.0.1\n  User pi\n"
            f"  IdentityFile {self.folder / 'user'}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder / 'known_hosts'}\n  GlobalKnownHostsFile none\n"
        )

    def _write_client(self) -> None:
        assert self._process is not None
        program = "ssh" if self.name == "pi" else "adb"
        options = f"-F {self.folder}/ssh_config" if self.name == "pi" else f"-P {ADB_SERVER_PORT}"
        found = shutil.which(program, path=_without(os.environ["PATH"], self.bin))
        client = self.bin / program
        client.write_text(
            f"#!/bin/sh\nHOME={self.folder} exec nsenter -n -t {self._process.pid} "
            f'{found} {options} "$@"\n'
        )
        client.chmod(0o755)

    def _wait_until_it_answers(self) -> None:
        """Until sshd takes a login, or adb's server has the device."""
        probe = ["ssh", "-o", "BatchMode=yes", PI_HOST, "true"]
        if self.name == "phone":
            probe = ["adb", "-s", PHONE_SERIAL, "shell", "true"]
        end = time.monotonic() + 60
        while True:
            if self.name == "phone":
                connect = [str(self.bin / "adb"), "connect", PHONE_SERIAL]
                subprocess.run(connect, check=False, capture_output=True)
            command = [str(self.bin / probe[0]), *probe[1:]]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode == 0:
                return
            if time.monotonic() > end:
                raise RuntimeError(f"{done.stderr}\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.3)


def _without(path: str, folder: Path) -> str:
    return os.pathsep.join(part for part in path.split(os.pathsep) if part != str(folder))
