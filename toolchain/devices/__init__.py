"""Where bundles run: one class per transport, found by the scheme of a URI."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from runtime_py.schema import CheckReport, LaunchRecord
from runtime_py.schema import Protocol as MeasuringProtocol
from toolchain.errors import BadRequestError


class Device(Protocol):
    """A machine with a `paredown-agent`."""

    uri: str
    emulated: bool
    """Whether the machine is an emulator, whose latency says nothing."""

    def measure(self, bundle: Path, protocol: MeasuringProtocol) -> LaunchRecord:
        """One launch in a fresh process.

        Raises:
            ParedownError: what the agent said, or how it ended.
        """
        ...

    def check(self, bundle: Path) -> CheckReport:
        """The bundle's golden cases, in a fresh process. Raises as `measure`."""
        ...


def open_device(uri: str) -> Device:
    """The device that `uri` names.

    Args:
        uri: `local`.

    Raises:
        BadRequestError: no such transport.
    """
    if uri == "local":
        from toolchain.devices.local import LocalDevice

        return LocalDevice()
    raise BadRequestError(f"unknown device '{uri}'", "this version supports: local")
