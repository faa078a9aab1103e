"""A real sshd on this machine's loopback: its own keys, port and environment, and a client's own.

The "device" is this machine with folders of its own. Nothing under ~/.ssh is read or written: an
`ssh` that stands first on the PATH hands OpenSSH our configuration file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

HOST = "paredown-loopback"
STANDARD_PATH = "/usr/local/bin:/usr/bin:/bin"
TOOLS = ("sshd", "ssh", "ssh-keygen")


def missing_tools() -> list[str]:
    """Programs that are not installed."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [name for name in TOOLS if shutil.which(name, path=path) is None]


class LoopbackSshd:
    """Started by `start`, ended with every session that it holds by `stop`.

    Args:
        folder: for keys, configuration and the device's folders.
        path: the PATH of the device.
        python: whether it has a virtual environment (this one) where `paredown doctor` makes one.
        environment: further variables of the device.
    """

    def __init__(
        self,
        folder: Path,
        path: str = STANDARD_PATH,
        python: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.cache = folder / "cache" / "paredown"
        self.lock = folder / "tmp" / "paredown.lock"
        self.port = _free_port()
        self.uri = f"ssh:{HOST}"
        self.path = path
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("cache", "data/paredown", "tmp", "bin", "keys"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        if python:
            (folder / "data" / "paredown" / "venv").symlink_to(sys.prefix)
        self._write_client()

    def start(self) -> None:
        """Make keys where there are none, and listen."""
        keys = self.folder / "keys"
        for name in ("user", "host"):
            if not (keys / name).exists():
                make_key(keys / name)
        shutil.copy(keys / "user.pub", keys / "authorized")
        self.trust((keys / "host.pub").read_text())
        config = self.folder / "sshd_config"
        environment = {
            "XDG_CACHE_HOME": self.folder / "cache",
            "XDG_DATA_HOME": self.folder / "data",
            "TMPDIR": self.folder / "tmp",
            "OMP_NUM_THREADS": 1,
            **self._environment,
        }
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {keys / 'host'}",
            f"AuthorizedKeysFile {keys / 'authorized'}",
            f"PidFile {self.folder / 'sshd.pid'}",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            # After the login shell's own files, which may set another PATH.
            f'ForceCommand PATH={self.path} exec sh -c "$SSH_ORIGINAL_COMMAND"',
            "SetEnv " + " ".join(f'{name}="{value}"' for name, value in environment.items()),
        ]
        config.write_text("\n".join(lines) + "\n")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        program = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        assert program is not None
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-D", "-e", "-f", str(config)],
                stdin=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        wait_for_port(self.port, self._process)

    def stop(self) -> None:
        """End sshd and every session, as a pulled plug would: nothing is said to anybody."""
        if self._process is None:
            return
        for pid in [*_descendants(self._process.pid, named="sshd"), self._process.pid]:
            with contextlib.suppress(ProcessLookupError):  # a session that ended by itself
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def trust(self, public_key: str) -> None:
        """What the client's known_hosts says about this host."""
        kind, key = public_key.split()[:2]
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")

    def files(self) -> list[str]:
        """What lies in the device's store, without the folders of runs."""
        store = self.cache / "store"
        return sorted(path.name for path in store.iterdir()) if store.is_dir() else []

    def _write_client(self) -> None:
        config = self.folder / "ssh_config"
        config.write_text(
            f"Host {HOST}\n  HostName 127.0.0.1\n  Port {self.port}\n"
            f"  IdentityFile {self.folder / 'keys' / 'user'}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder / 'known_hosts'}\n  GlobalKnownHostsFile none\n"
        )
        client = self.folder / "bin" / "ssh"
        client.unlink(missing_ok=True)  # it may be on the PATH already
        client.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
        client.chmod(0o755)


def make_key(path: Path) -> None:
    """A new key pair at `path`, replaced if there is one."""
    path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def wait_for_port(port: int, process: subprocess.Popen[bytes], host: str = "127.0.0.1") -> None:
    """Until something listens.

    Raises:
        RuntimeError: the process ended, or nothing listens after a while.
    """
    for _ in range(300):
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((host, port)) == 0:
                return
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {host}:{port}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _descendants(pid: int, named: str) -> list[int]:
    """Processes below `pid` of that name."""
    children: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        child = int(stat.parent.name)
        names[child] = text[text.index("(") + 1 : text.rindex(")")]
        children.setdefault(int(text[text.rindex(")") + 2 :].split()[1]), []).append(child)
    found: list[int] = []
    remaining = list(children.get(pid, []))
    while remaining:
        child = remaining.pop()
        remaining += children.get(child, [])
        if names.get(child, "").startswith(named):
            found.append(child)
    return found
