"""`ssh:[user@]host[:port]`: the OpenSSH client, with whatever ~/.ssh/config says."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.devices.answer import last_line
from toolchain.errors import BadRequestError, MissingError, ParedownError

CONNECT_S = 15
KEEPALIVE_S = 5
"""Three unanswered in a row end the connection."""
IDLE_S = 60
"""So long the shared connection stays without any command."""

_URI = re.compile(
    r"(?:(?P<user>[^@\s]+)@)?(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[^@:\s\[\]]+)(?::(?P<port>\d+))?"
)
_REASONS: tuple[tuple[str, str, str], ...] = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the one in known_hosts",
        "somebody may be in between; if the device was set up anew: ssh-keygen -R {host}",
    ),
    (
        "Host key verification failed",
        "its host key is not known",
        "connect once with 'ssh {target}' and compare the key",
    ),
    (
        "Permission denied",
        "it accepts none of the keys offered",
        "copy yours with 'ssh-copy-id {target}', or name one in ~/.ssh/config",
    ),
    ("Could not resolve hostname", "there is no host of this name", "check the name: '{host}'"),
    ("Connection refused", "nothing answers at this port", "is sshd running there?"),
    ("timed out", "it does not answer", "is it on, and in this network?"),
    ("No route to host", "it cannot be reached", "is it on, and in this network?"),
    ("Network is unreachable", "it cannot be reached", "is it on, and in this network?"),
)

_BEHIND_A_JUMP = "UNKNOWN port 65535"
"""OpenSSH's name of a host that it reaches through another program."""


@dataclass(frozen=True)
class Address:
    """What follows `ssh:`."""

    user: str
    host: str
    port: str

    @property
    def target(self) -> str:
        """`user@host`, or `host`."""
        return f"{self.user}@{self.host}" if self.user else self.host


def parse_address(text: str) -> Address:
    """Read `[user@]host[:port]`; an IPv6 address stands in brackets.

    Raises:
        BadRequestError: it is none.
    """
    match = _URI.fullmatch(text)
    if match is None or text.startswith("-") or match["host"].startswith("-"):
        raise BadRequestError(
            f"'ssh:{text}' names no host", "write ssh:[user@]host[:port], such as ssh:pi@raspberry"
        )
    if match["port"] and not 0 < int(match["port"]) < 65536:
        raise BadRequestError(f"'ssh:{text}': there is no port {match['port']}", "use 1 to 65535")
    return Address(match["user"] or "", match["host"].strip("[]"), match["port"] or "")


class SshShell:
    """One connection, shared by every command (OpenSSH's ControlMaster in a private folder).

    Raises:
        MissingError: no ssh here, or the host cannot be reached or refuses; the reason in one line.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self.uri = "ssh:" + address.target + (f":{address.port}" if address.port else "")
        program = shutil.which("ssh")
        if program is None:
            raise MissingError("there is no ssh here", "install OpenSSH's client (openssh-client)")
        self._program = program
        # A short path: sockets allow about a hundred characters.
        self._folder = Path(tempfile.mkdtemp(prefix="paredown-", dir="/tmp"))
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def command(self, arguments: Sequence[str]) -> list[str]:
        """See `toolchain.devices.shell.Shell`."""
        return [
            self._program,
            "-T",
            *("-o", "ControlMaster=no", "-o", "LogLevel=ERROR"),
            *self._shared(),
            "--",
            self._address.target,
            shlex.join(arguments),
        ]

    def explain(self, said: str) -> ParedownError:
        """See `toolchain.devices.shell.Shell`."""
        for words, reason, hint in _REASONS:
            if words in said:
                host, target = self._address.host, self._address.target
                return MissingError(
                    f"cannot reach {self.uri}: {reason}", hint.format(host=host, target=target)
                )
        last = last_line(said)
        return MissingError(
            f"the connection to {self.uri} broke{last and ': '}{last}",
            "is the device still there? run again: what was pushed is not pushed twice",
        )

    def close(self) -> None:
        """End the shared connection."""
        if (self._folder / "c").exists():
            self._run_client(["-O", "exit"])
        shutil.rmtree(self._folder, ignore_errors=True)

    def _connect(self) -> None:
        options = [
            *("-M", "-N", "-f", "-T"),
            # It ends on its own where this process is killed and its commands with it.
            *("-o", "ControlMaster=yes", "-o", f"ControlPersist={IDLE_S}"),
            *("-o", f"ConnectTimeout={CONNECT_S}"),
            *("-o", f"ServerAliveInterval={KEEPALIVE_S}", "-o", "ServerAliveCountMax=3"),
            *("-o", "ExitOnForwardFailure=no", "-o", "ClearAllForwardings=yes"),
        ]
        if not sys.stdin.isatty():  # nobody could type a password
            options += ["-o", "BatchMode=yes"]
        status, said = self._run_client(options)
        if status != 0 and _BEHIND_A_JUMP in said:
            raise self._explain_jump()
        if status != 0:
            raise self.explain(said)

    def _explain_jump(self) -> ParedownError:
        """What the way to the host says: a shared connection that persists silences it."""
        _, said = self._run_client(["-T", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"])
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return MissingError(
            f"cannot reach {self.uri} through its jump host: {lines[0] if lines else 'no answer'}",
            f"try 'ssh {self._address.target}'",
        )

    def _run_client(self, options: list[str]) -> tuple[int, str]:
        # A file, because the connection stays behind and would hold a pipe open.
        log = self._folder / "log"
        with log.open("wb") as sink, contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(  # noqa: S603 - no shell
                [self._program, *options, *self._shared(), "--", self._address.target],
                stdin=None if sys.stdin.isatty() else subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                check=False,
                timeout=None if sys.stdin.isatty() else 4 * CONNECT_S,
            )
            return done.returncode, log.read_text(encoding="utf-8", errors="replace")
        return 255, "timed out"

    def _shared(self) -> list[str]:
        port = ["-p", self._address.port] if self._address.port else []
        return ["-o", f"ControlPath={self._folder / 'c'}", *port]
