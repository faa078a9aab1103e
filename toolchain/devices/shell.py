"""One remote shell over any transport: short scripts, bytes to a script, and a watched engine.

A transport only says how a command line reaches the device (`Shell.command`). Scripts are the files
of `scripts/`; what varies reaches them as arguments, quoted, never as text of a script. Every
answer is framed, so that a login banner is not taken for it and a broken connection not for a
result.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from toolchain.errors import InvalidMeasurementError, MissingError, ParedownError

TENDING = ("watch", "talk")
SCRIPTS = Path(__file__).parent / "scripts"
BEGIN = b"@paredown\n"
STATUS = b"\n@status "
CHUNK_BYTES = 1 << 18
ANSWER_S = 120.0
"""A short script that takes longer has lost its device (hashing has a limit of its own)."""
BEAT_S = 2
SILENCE_S = 60.0
"""No heartbeat for so long: the device is gone, whatever the connection says."""


class Shell(Protocol):
    """How commands reach one device."""

    uri: str

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command line of this machine that runs `arguments` on the device."""
        ...

    def explain(self, said: str) -> ParedownError:
        """The error for a transport that ended, from what it said on standard error."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


class LocalShell:
    """This machine, for questions that are asked of every device."""

    uri = "local"

    def command(self, arguments: Sequence[str]) -> list[str]:
        """See `Shell`."""
        return list(arguments)

    def explain(self, said: str) -> ParedownError:
        """See `Shell`."""
        return MissingError(f"this machine's sh ended: {' '.join(said.split())}")

    def close(self) -> None:
        """Nothing to give back."""


@dataclass(frozen=True)
class Ended:
    """How an engine's process ended."""

    status: int | None
    """Its exit status, 128 + n for signal n; None where the deadline stopped it."""
    pid: int
    stdout: str
    stderr: str


def script_text(name: str) -> str:
    """One of our scripts, with the part that those share which run an engine."""
    parts = ["tend", name] if name in TENDING else [name]
    return "".join((SCRIPTS / f"{part}.sh").read_text(encoding="utf-8") for part in parts)


def _sh(name: str, text: str, arguments: Sequence[str]) -> list[str]:
    return ["sh", "-c", text, name, *arguments]


def run_text(
    shell: Shell,
    name: str,
    text: str,
    arguments: Sequence[str] = (),
    *,
    feed: Callable[[IO[bytes]], None] | None = None,
    timeout_s: float = ANSWER_S,
) -> tuple[int, str]:
    """Run one script on the device.

    Args:
        shell: the device.
        name: what the script is called in messages.
        text: the script; constant text of ours.
        arguments: its positional parameters.
        feed: writes the script's standard input; without it there is none.
        timeout_s: limit of the script, not of `feed`.

    Returns:
        Exit status and standard output.

    Raises:
        MissingError: the connection broke or nothing came within `timeout_s`.
    """
    framed = f"printf '@paredown\\n'\n(\n{text}\n)\nprintf '\\n@status %s\\n' \"$?\"\n"
    process = subprocess.Popen(  # noqa: S603 - no shell on this side
        shell.command(_sh(name, framed, arguments)),
        stdin=subprocess.DEVNULL if feed is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is ours to handle, not the transport's
    )
    try:
        if feed is not None and process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                feed(process.stdin)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.stdin = None
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise MissingError(
            f"{shell.uri} did not answer within {timeout_s:g} s ({name})",
            "is it still there, and not out of memory?",
        ) from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    said = err.decode("utf-8", "replace")
    _, begun, rest = out.partition(BEGIN)
    body, ended, status = rest.rpartition(STATUS)
    if not begun or not ended:
        raise shell.explain(said)
    return int(status), body.decode("utf-8", "replace")


def run_script(
    shell: Shell, name: str, arguments: Sequence[str] = (), *, timeout_s: float = ANSWER_S
) -> list[str]:
    """Lines of standard output of `scripts/NAME.sh`.

    Raises:
        MissingError: the connection broke, or the script failed.
    """
    status, out = run_text(shell, name, script_text(name), arguments, timeout_s=timeout_s)
    lines = [line for line in out.splitlines() if line]
    if status != 0:
        said = lines[-1] if lines else "it said nothing"
        raise MissingError(f"{shell.uri}: {name} ended with status {status}: {said}")
    return lines


def append_file(
    shell: Shell, source: Path, offset: int, target: str, advance: Callable[[int], None]
) -> None:
    """Append the bytes of `source` from `offset` on to the device's file `target`.

    Args:
        shell: the device.
        source: a file of this machine.
        offset: bytes that `target` already has.
        target: absolute path on the device.
        advance: called with the number of bytes handed over.

    Raises:
        MissingError: the connection broke, or the device could not write.
    """

    def feed(sink: IO[bytes]) -> None:
        with source.open("rb") as stream:
            stream.seek(offset)
            while block := stream.read(CHUNK_BYTES):
                sink.write(block)
                advance(len(block))

    status, out = run_text(shell, "append", 'cat >>"$1" 2>&1', [target], feed=feed)
    if status != 0:
        raise MissingError(
            f"{shell.uri} cannot write {target}: {out.strip() or 'no reason given'}",
            "free some space there and run again: it goes on where it stopped",
        )


class Stream:
    """A script that stays: its lines as they come, its end when its standard input is closed."""

    def __init__(self, shell: Shell, name: str, arguments: Sequence[str]) -> None:
        self._shell = shell
        self.process = subprocess.Popen(  # noqa: S603 - no shell on this side
            shell.command(_sh(name, script_text(name), arguments)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._buffer = b""

    def line(self, silence_s: float) -> str:
        """The next line that starts with '@'.

        Raises:
            MissingError: the connection broke, or nothing came for `silence_s`.
        """
        while True:
            while b"\n" not in self._buffer:
                self._more(silence_s)
            line, _, self._buffer = self._buffer.partition(b"\n")
            if line.startswith(b"@"):
                return line.decode("utf-8", "replace").strip()

    def read(self, count: int, silence_s: float) -> bytes:
        """The next `count` bytes. Raises as `line`."""
        while len(self._buffer) < count:
            self._more(silence_s)
        block, self._buffer = self._buffer[:count], self._buffer[count:]
        return block

    def end_input(self) -> None:
        """Close the script's standard input; what it says then can still be read."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def alive(self) -> bool:
        """Whether the transport's process still runs."""
        return self.process.poll() is None

    def close(self, patience_s: float = 10.0) -> None:
        """End the script through its standard input, and the transport if that is not enough."""
        self.end_input()
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _more(self, silence_s: float) -> None:
        pipe = self.process.stdout
        assert pipe is not None  # noqa: S101 - Popen was given PIPE
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            if not selector.select(silence_s):
                raise MissingError(
                    f"{self._shell.uri} gave no sign of life for {silence_s:g} s",
                    "is it still connected, and not out of memory?",
                )
        block = os.read(pipe.fileno(), CHUNK_BYTES)
        if not block:
            raise self._shell.explain(self._said())
        self._buffer += block

    def _said(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        if self.process.poll() is None or self.process.stderr is None:
            return ""
        return self.process.stderr.read().decode("utf-8", "replace")


@contextlib.contextmanager
def closing_stream(stream: Stream) -> Iterator[Stream]:
    """Close `stream` whatever happens, Ctrl-C included."""
    try:
        yield stream
    finally:
        stream.close()


def watch(stream: Stream, deadline_s: float) -> Ended:
    """Wait for the end of an engine that `scripts/watch.sh` runs.

    Args:
        stream: the running script.
        deadline_s: what the script was told, for the last resort on this side.

    Raises:
        MissingError: the device went away.
    """
    last_resort = time.monotonic() + deadline_s + SILENCE_S
    while True:
        word, *values = stream.line(SILENCE_S).split()
        if word == "@end":
            status, pid, out_bytes, err_bytes = values
            out = stream.read(int(out_bytes), SILENCE_S).decode("utf-8", "replace")
            err = stream.read(int(err_bytes), SILENCE_S).decode("utf-8", "replace")
            return Ended(None if status == "late" else int(status), int(pid), out, err)
        if time.monotonic() > last_resort:
            raise InvalidMeasurementError(
                f"the engine's supervisor outlived its deadline of {deadline_s:g} s"
            )


def listen(stream: Stream, deadline_s: float, hear: Callable[[str], None]) -> int | None:
    """The lines of a program that `scripts/talk.sh` runs, and its end.

    Args:
        stream: the running script.
        deadline_s: as for `watch`.
        hear: called with each line.

    Returns:
        Its exit status; None where the deadline stopped it.

    Raises:
        MissingError: the device went away.
    """
    last_resort = time.monotonic() + deadline_s + SILENCE_S
    while True:
        word, _, rest = stream.line(SILENCE_S).partition(" ")
        if word == "@out":
            hear(rest.removesuffix("."))
        elif word == "@end":
            return None if rest == "late" else int(rest)
        if time.monotonic() > last_resort:
            raise InvalidMeasurementError(
                f"the program's supervisor outlived its deadline of {deadline_s:g} s"
            )
