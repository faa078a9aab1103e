"""Files on a device by their content: what is there is not sent, what broke off goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from runtime_py.schema import MANIFEST_NAME, Manifest
from toolchain.devices.shell import Shell, append_file, run_script, run_text, script_text
from toolchain.errors import MissingError, ParedownError
from toolchain.progress import Progress

MARGIN_BYTES = 16 << 20
"""Kept free on the device beside what is pushed, for outputs and for the system."""
HASHED_BYTES_S = 10e6
"""A slow SD card read and hashed; for time limits only."""
STEP_BYTES = 1 << 20


@dataclass(frozen=True)
class Item:
    """One file to be on the device."""

    source: Path
    path: str
    """Where it goes, relative to the folder that is assembled; with '/'."""
    bytes: int
    sha256: str


def bundle_items(bundle: Path, manifest: Manifest, manifest_sha256: str) -> list[Item]:
    """Every file of a bundle, its manifest included."""
    size = (bundle / MANIFEST_NAME).stat().st_size
    items = [Item(bundle / e.path, e.path, e.bytes, e.sha256) for e in manifest.files]
    return [*items, Item(bundle / MANIFEST_NAME, MANIFEST_NAME, size, manifest_sha256)]


class Store:
    """The device's folder of files named by their SHA-256.

    Args:
        shell: the device.
        root: absolute path of our folder there.
    """

    def __init__(self, shell: Shell, root: str) -> None:
        self._shell = shell
        self._root = root
        self._brought: set[str] = set()
        self._verified: set[str] = set()
        self._interrupted = False

    def bring(self, items: Iterable[Item], title: str, progress: Progress) -> None:
        """Have every item there, whole and verified on the device.

        A file that was there is hashed again once per session, and sent again if it was damaged.

        Raises:
            MissingError: too little space, a connection that broke (what arrived stays and the
                next push goes on from it), or bytes that arrive damaged twice.
        """
        wanted = {item.sha256: item for item in items}
        for attempt in range(2):
            missing = self._missing(wanted)
            self._send(wanted, missing, title, progress)
            self._verify(list(missing), ".part", wanted)
            found = [h for h in wanted if h not in missing and h not in self._verified]
            self._verify(found, "", wanted)
            damaged = [wanted[h].path for h in wanted if h not in self._verified]
            if not damaged:
                return
            if attempt == 0:
                progress.note(f"{', '.join(damaged)}: damaged on {self._shell.uri}, sent again")
        raise MissingError(
            f"{self._shell.uri} damages what it stores: {damaged[0]} arrived wrong twice",
            "check its memory card, and the memory of this machine",
        )

    def assemble(self, items: Iterable[Item], folder: str, copy: bool = False) -> None:
        """Lay brought files out under their names in a new `folder`; see scripts/assemble.sh.

        Raises:
            MissingError: no space for copies, where the device knows no hard links.
        """
        pairs = [word for item in items for word in (item.sha256, item.path)]
        mode = "copy" if copy else "link"
        arguments = [self._root, folder, mode, *pairs]
        status, out = run_text(self._shell, "assemble", script_text("assemble"), arguments)
        if status != 0:
            reason = out.strip().rpartition("\n")[2] or "it gave no reason"
            raise MissingError(
                f"{self._shell.uri} cannot lay out {folder}: {reason}",
                "free some space there: files are copied where there are no hard links",
            )

    def clean(self, keep: bool) -> None:
        """Take away what was brought, unless `keep`; a push that broke off stays for the next."""
        if self._interrupted and not keep:
            return
        with contextlib.suppress(ParedownError):  # the device may be gone, and that was said
            brought = sorted(self._brought)
            run_script(self._shell, "clean", [self._root, "yes" if keep else "no", *brought])

    def _missing(self, wanted: dict[str, Item]) -> dict[str, tuple[str, int]]:
        """(path, bytes that are there) of every file that is not whole; checks the space."""
        lines = run_script(self._shell, "store", [self._root, *wanted])
        missing: dict[str, tuple[str, int]] = {}
        free_bytes: int | None = None
        for line in lines:
            words = line.split()
            if words[0] == "free":
                free_bytes = int(words[1]) * 1024 if words[1:] and words[1].isdigit() else None
            elif words[1] != "whole":
                there = int(words[2])
                # More than the whole: not a beginning of it.
                there = there if there <= wanted[words[0]].bytes else 0
                missing[words[0]] = (wanted[words[0]].path, there)
        needed = sum(wanted[h].bytes - there for h, (_, there) in missing.items())
        if missing and free_bytes is not None and needed + MARGIN_BYTES > free_bytes:
            raise MissingError(
                f"{self._shell.uri} has too little space: {needed / 1e6:.1f} MB and a margin of "
                f"{MARGIN_BYTES / 1e6:.0f} MB are needed, {free_bytes / 1e6:.1f} MB are free in "
                f"{self._root}",
                "free some there",
            )
        return missing

    def _send(
        self,
        wanted: dict[str, Item],
        missing: dict[str, tuple[str, int]],
        title: str,
        progress: Progress,
    ) -> None:
        if not missing:
            return
        total = sum(wanted[h].bytes - there for h, (_, there) in missing.items())
        steps = max(1, -(-total // STEP_BYTES))
        self._interrupted = True
        with progress.task(f"{title} ({total / 1e6:.1f} MB)", steps) as task:
            advance = _by_steps(task.advance)
            for digest, (_, there) in missing.items():
                item = wanted[digest]
                self._brought.add(digest)
                target = f"{self._root}/store/{digest}.part"
                append_file(self._shell, item.source, there, target, advance)
        self._interrupted = False

    def _verify(self, hashes: list[str], suffix: str, wanted: dict[str, Item]) -> None:
        if not hashes:
            return
        seconds = 60 + sum(wanted[h].bytes for h in hashes) / HASHED_BYTES_S
        lines = run_script(self._shell, "verify", [self._root, suffix, *hashes], timeout_s=seconds)
        self._verified |= {line.split()[1] for line in lines if line.startswith("good ")}


def _by_steps(advance: Callable[[int], None]) -> Callable[[int], None]:
    """Turn bytes into whole steps."""
    sent = 0

    def add(count: int) -> None:
        nonlocal sent
        before = sent // STEP_BYTES
        sent += count
        if sent // STEP_BYTES > before:
            advance(sent // STEP_BYTES - before)

    return add
