"""What all devices behind a shell have in common: they are held, and know what they were given."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Generic, TypeVar

from runtime_py import sensors
from runtime_py.bundle import open_bundle
from runtime_py.schema import MANIFEST_NAME, Manifest, Reading
from toolchain.devices import Device
from toolchain.devices.local import TIMEOUT_S
from toolchain.devices.place import Place, look_around
from toolchain.devices.readings import read_device
from toolchain.devices.session import Session
from toolchain.devices.shell import Shell
from toolchain.progress import SILENT, Progress
from toolchain.store import sha256_file

Ready = TypeVar("Ready")
"""What is known of a bundle that is on the device."""


class HeldDevice(Device, Generic[Ready]):
    """A device that nobody else uses meanwhile.

    Args:
        shell: how commands reach it; closed with the device.
        uri: its name.
        keep: leave what is pushed.
        timeout_s: a launch that takes longer (beyond its `sustained_s`) is taken for hung.

    Raises:
        MissingError: the device is no Linux, lacks what it needs, or somebody else holds it.
    """

    def __init__(
        self, shell: Shell, uri: str, keep: bool = False, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._shell = shell
        self._keep = keep
        self._timeout_s = timeout_s
        self._bundles: dict[Path, tuple[str, Ready]] = {}
        self.uri = uri
        try:
            self.place: Place = look_around(shell)
            self._require()
            self._session = Session(shell, self.place.root, self.place.lock)
        except BaseException:
            shell.close()
            raise
        self.emulated = bool(self.place.emulator)

    def prepare(self, bundle: Path, progress: Progress = SILENT) -> None:
        """See `toolchain.devices.Device`."""
        self._ready(bundle, progress)

    def facts(self) -> dict[str, Reading]:
        """See `toolchain.devices.Device`."""
        return sensors.read_all(read_device(self._shell, self.place.arch))

    def close(self) -> None:
        """See `toolchain.devices.Device`."""
        self._session.close(self._keep)
        self._shell.close()

    def _require(self) -> None:
        """Refuse a device that lacks something, before it is held."""

    @abstractmethod
    def _bring(self, bundle: Path, manifest: Manifest, digest: str, progress: Progress) -> Ready:
        """Push a bundle, whose manifest has the SHA-256 `digest`, and what runs it."""

    def _ready(self, bundle: Path, progress: Progress = SILENT) -> Ready:
        """The bundle on the device; pushed again where its manifest is another one by now."""
        manifest = open_bundle(bundle, verify=False)  # the device hashes every byte
        digest = sha256_file(bundle / MANIFEST_NAME)
        known = self._bundles.get(bundle.absolute())
        if known is None or known[0] != digest:
            known = (digest, self._bring(bundle, manifest, digest, progress))
            self._bundles[bundle.absolute()] = known
        return known[1]
