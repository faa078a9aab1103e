"""One stay on a device: nobody else measures there meanwhile, and it is left as it was found."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import IO

from toolchain.devices.push import Item, Store
from toolchain.devices.shell import (
    ANSWER_S,
    BEAT_S,
    Ended,
    Shell,
    Stream,
    closing_stream,
    listen,
    run_text,
    watch,
)
from toolchain.errors import MissingError
from toolchain.progress import Progress


class Session:
    """The lock, the store and the folder of this run.

    The lock is held by a script on the device that ends, and lets go, when this process or the
    connection does.

    Args:
        shell: the device.
        root: absolute path of our folder there.
        lock: absolute path of the lock, one for the whole device.

    Raises:
        MissingError: another host or process holds the device; the message names it.
    """

    def __init__(self, shell: Shell, root: str, lock: str) -> None:
        self._shell = shell
        self.run_folder = f"{root}/runs/{secrets.token_hex(4)}"
        self._store = Store(shell, root)
        self._engines: set[Stream] = set()
        self._guard = Stream(shell, "guard", [lock, _holder(), root, self.run_folder])
        try:
            self._require_lock(self._guard.line(ANSWER_S), root)
        except BaseException:
            self._guard.close()
            raise

    def bring(
        self, items: Sequence[Item], folder: str, title: str, progress: Progress, copy: bool = False
    ) -> str:
        """Push what is missing and lay it out; the absolute path of the new folder.

        Args:
            items: the files.
            folder: its name within the run's folder.
            title: what the progress bar is called.
            progress: one step per MiB.
            copy: where the device knows no hard links, copy; else symbolic links.

        Raises:
            MissingError: as `Store.bring`.
        """
        self._require_guard()
        self._store.bring(items, title, progress)
        path = f"{self.run_folder}/{folder}"
        self._store.assemble(items, path, copy)
        return path

    def write(self, name: str, text: str) -> str:
        """A small file in the run's folder; its absolute path."""
        path = f"{self.run_folder}/{name}"
        content = text.encode()

        def feed(sink: IO[bytes]) -> None:  # an argument must be below 128 KiB
            sink.write(content)

        status, out = run_text(self._shell, "write", 'cat >"$1" 2>&1', [path], feed=feed)
        if status != 0:
            raise MissingError(f"{self._shell.uri} cannot write {path}: {out.strip()}")
        return path

    def run(self, arguments: Sequence[str], deadline_s: float) -> Ended:
        """Run an engine to its end in the run's folder.

        It is killed after `deadline_s`, and when this process, Ctrl-C or the connection ends.

        Raises:
            MissingError: the device went away.
        """
        with self._engine("watch", arguments, deadline_s) as stream:
            return watch(stream, deadline_s)

    def beside(self, name: str, arguments: Sequence[str]) -> Stream:
        """Start `scripts/NAME.sh` in the run's folder, beside an engine; close it.

        Raises:
            MissingError: the device went away.
        """
        self._require_guard()
        return Stream(self._shell, name, [self.run_folder, *arguments])

    def talk(
        self, arguments: Sequence[str], deadline_s: float, hear: Callable[[str], None]
    ) -> int | None:
        """As `run`, but every line of output goes to `hear` as it comes; the exit status.

        None where the deadline stopped it.

        Raises:
            MissingError: the device went away.
        """
        with self._engine("talk", arguments, deadline_s) as stream:
            return listen(stream, deadline_s, hear)

    def close(self, keep: bool) -> None:
        """Stop engines of other threads, take away what was brought, let the device go."""
        for stream in list(self._engines):
            stream.close()
        self._store.clean(keep)
        self._guard.close()

    @contextlib.contextmanager
    def _engine(self, script: str, arguments: Sequence[str], deadline_s: float) -> Iterator[Stream]:
        """An engine that one of the tending scripts runs; `close` stops it from another thread."""
        self._require_guard()
        limits = [str(max(1, round(deadline_s))), str(BEAT_S)]
        stream = Stream(self._shell, script, [self.run_folder, *limits, *arguments])
        self._engines.add(stream)
        try:
            with closing_stream(stream):
                yield stream
        finally:
            self._engines.discard(stream)

    def _require_guard(self) -> None:
        if not self._guard.alive():
            raise self._shell.explain("")

    def _require_lock(self, answer: str, root: str) -> None:
        word, _, rest = answer.partition(" ")
        if word == "@locked":
            return
        if word == "@held":
            raise MissingError(
                f"{self._shell.uri} is in use by {rest}",
                "wait until that run ends",
            )
        if word == "@noroot":
            raise MissingError(f"{self._shell.uri} cannot make the folder {root}", "is it full?")
        raise MissingError(
            f"{self._shell.uri} cannot be locked: {rest}", "remove that folder on the device"
        )


def _holder() -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} (process {os.getpid()}, since {now})"
