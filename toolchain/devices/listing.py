"""What `paredown devices` lists: this machine, what adb sees, and the hosts of ~/.ssh/config."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolchain.errors import ParedownError

SSH_CONFIG = Path(".ssh", "config")
_MOST_INCLUDES = 16
"""As OpenSSH: deeper than this is a loop."""


@dataclass(frozen=True)
class Listed:
    """One device that `--device` would take."""

    uri: str
    state: str
    """`here`, `ready`, `configured` (not asked), or why it cannot be used."""
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def list_devices(probe: bool = False, home: Path | None = None) -> list[Listed]:
    """Every device that is known without searching a network.

    Args:
        probe: connect to the hosts of ~/.ssh/config and say which answer.
        home: where .ssh/config is looked for; by default the user's.
    """
    found = [Listed("local", "here")]
    found += _adb()
    hosts = ssh_hosts((home or Path.home()) / SSH_CONFIG)
    return found + [_ssh(host) if probe else Listed(f"ssh:{host}", "configured") for host in hosts]


def devices_text(listed: list[Listed]) -> str:
    """One line per device."""
    width = max(len(device.uri) for device in listed)
    lines = [f"{device.uri:<{width}}  {device.state}  {device.note}".rstrip() for device in listed]
    return "\n".join(lines)


def ssh_hosts(config: Path) -> list[str]:
    """Names of the `Host` lines of an ssh configuration and its includes, patterns left out."""
    hosts = []
    for keyword, words in _lines(config, config.parent, 0):
        if keyword == "host":
            hosts += [w for w in words if not set(w) & set("*?!") and not w.startswith("-")]
    return list(dict.fromkeys(hosts))


def _lines(config: Path, folder: Path, depth: int) -> Iterator[tuple[str, list[str]]]:
    try:
        text = config.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        keyword, words = _split(line)
        if keyword == "include" and depth < _MOST_INCLUDES:
            for word in words:
                pattern = Path(word).expanduser()
                base, relative = (
                    (Path("/"), pattern.relative_to("/"))
                    if pattern.is_absolute()
                    else (folder, pattern)
                )
                for path in sorted(base.glob(str(relative))):
                    yield from _lines(path, folder, depth + 1)
        elif keyword:
            yield keyword, words


def _split(line: str) -> tuple[str, list[str]]:
    """`Keyword words` or `Keyword=words`; nothing for comments and what cannot be read."""
    keyword, _, rest = line.strip().replace("=", " ", 1).partition(" ")
    try:
        return keyword.lower(), shlex.split(rest, comments=True)
    except ValueError:
        return "", []


def _adb() -> list[Listed]:
    if shutil.which("adb") is None:
        return []
    from toolchain.devices.adb import adb_devices

    try:
        entries = adb_devices()
    except ParedownError as error:
        return [Listed("adb:", str(error))]
    return [
        Listed(f"adb:{e.serial}", "ready" if e.state == "device" else e.state, e.model)
        for e in entries
    ]


def _ssh(host: str) -> Listed:
    from toolchain.devices.ssh import SshShell, parse_address

    uri = f"ssh:{host}"
    try:
        SshShell(parse_address(host)).close()
    except ParedownError as error:
        return Listed(uri, "no answer", str(error))
    return Listed(uri, "ready")
