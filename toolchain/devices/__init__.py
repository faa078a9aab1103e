"""Where bundles run: one class per transport, found by the scheme of a URI."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from runtime_py.schema import CheckReport, LaunchRecord, Reading
from runtime_py.schema import Protocol as MeasuringProtocol
from toolchain.errors import BadRequestError
from toolchain.progress import SILENT, Progress

if TYPE_CHECKING:
    from toolchain.devices.shell import Shell

FORMS = "local, ssh:[user@]host[:port], adb:SERIAL, app:SERIAL, replay:FILE"
WAYS = ("runner", "app")
"""How a phone measures: the native runner in its shell, or the installed app."""


class Device(Protocol):
    """A machine that measures bundles; a context manager that gives it back at the end."""

    uri: str
    emulated: bool
    """Whether the machine is an emulator, whose latency says nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def prepare(self, bundle: Path, progress: Progress = SILENT) -> None:
        """Bring what a bundle needs there; what is there already is not pushed again.

        Raises:
            MissingError: no space, no connection, no engine for this bundle.
        """
        ...

    def measure(self, bundle: Path, protocol: MeasuringProtocol) -> LaunchRecord:
        """One launch in a fresh process.

        Raises:
            ParedownError: what the agent said, or how it ended.
        """
        ...

    def check(self, bundle: Path) -> CheckReport:
        """The bundle's golden cases, in a fresh process. Raises as `measure`."""
        ...

    def facts(self) -> dict[str, Reading]:
        """Every sensor of the machine, by name. Raises MissingError where it went away."""
        ...

    def close(self) -> None:
        """Stop what still runs, take away what was pushed, let others use the machine."""
        ...


def open_device(uri: str, *, keep: bool = False, record: Path | None = None) -> Device:
    """The device that `uri` names, connected and held.

    Args:
        uri: `local`, `ssh:[user@]host[:port]`, `adb:SERIAL`, `app:SERIAL` (the same phone, through
            the installed app) or `replay:FILE`.
        keep: leave what is pushed on the device for the next time.
        record: write every request and reply here, for `replay:`.

    Raises:
        BadRequestError: no such transport, or a malformed name.
        MissingError: the device cannot be reached, or is in use.
    """
    device = _open(uri, keep)
    if record is None:
        return device
    from toolchain.devices.replay import RecordingDevice

    return RecordingDevice(device, record)


def choose_way(uri: str, via: str | None) -> str:
    """The URI of the same device measured the way `via` says; None leaves it as it is.

    Raises:
        BadRequestError: no such way, or none of this device's.
    """
    scheme, _, rest = uri.partition(":")
    if via is None:
        return uri
    if via not in WAYS:
        raise BadRequestError(f"unknown way '{via}'", f"known: {', '.join(WAYS)}")
    if scheme not in ("adb", "app"):
        if via == "runner":
            return uri
        raise BadRequestError(f"no app measures on {uri}", "--via app is for adb:SERIAL")
    return f"{'app' if via == 'app' else 'adb'}:{rest}"


def open_shell(uri: str) -> Shell:
    """A shell on the device that `uri` names, connected; close it. Nobody is locked out.

    Raises:
        BadRequestError: no such transport, or one without a shell.
        MissingError: the device cannot be reached.
    """
    scheme, _, rest = uri.partition(":")
    if scheme == "ssh":
        from toolchain.devices.ssh import SshShell, parse_address

        return SshShell(parse_address(rest))
    if scheme in ("adb", "app"):
        from toolchain.devices.adb import AdbShell

        return AdbShell(rest)
    if uri == "local":
        from toolchain.devices.shell import LocalShell

        return LocalShell()
    if scheme == "replay":
        raise BadRequestError(f"{uri} is a recording, which has no shell", "name the device")
    raise BadRequestError(f"unknown device '{uri}'", f"known: {FORMS}")


def _open(uri: str, keep: bool) -> Device:
    scheme, _, rest = uri.partition(":")
    if uri == "local":
        from toolchain.devices.local import LocalDevice

        return LocalDevice()
    if scheme == "replay":
        from toolchain.devices.replay import ReplayDevice

        return ReplayDevice(Path(rest))
    if scheme == "app":
        from toolchain.devices.app import AppDevice

        return AppDevice(open_shell(uri), keep)
    from toolchain.devices.remote import RemoteDevice

    return RemoteDevice(open_shell(uri), keep)
