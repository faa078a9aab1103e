"""The ExecuTorch engine in a process of its own: the native runner, without torch."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime_py.engines import RUNNER_VARIABLE, check_tokens
from runtime_py.errors import (
    EXIT_BAD_REQUEST,
    EXIT_MISSING,
    BrokenBundleError,
    MissingError,
    ParedownError,
)
from runtime_py.native import ENGINE
from runtime_py.schema import Manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROGRAM = "paredown-runner"

_FLOAT_BYTES = 4


def find_runner() -> str:
    """The runner that PAREDOWN_RUNNER names (the program or its folder), or that PATH has.

    Raises:
        MissingError: there is none.
    """
    named = os.environ.get(RUNNER_VARIABLE)
    if named and Path(named).is_dir():
        named = str(Path(named, PROGRAM))
    found = shutil.which(named or PROGRAM)
    if found is None:
        where = f"{RUNNER_VARIABLE} is {named}" if named else f"no {PROGRAM} on the PATH"
        raise MissingError(
            f"the native runner is not here: {where}",
            f"paredown runner build, then {RUNNER_VARIABLE}=FOLDER",
        )
    return found


class NativeEngine:
    """Talks to `paredown-runner serve` over pipes; logits cross as raw float32.

    The child ends with this object, or when its standard input closes.
    """

    name = ENGINE

    def __init__(
        self, bundle: Path, manifest: Manifest, threads: int, runner: str | None = None
    ) -> None:
        """Load the model in a new process.

        Raises:
            MissingError: there is no runner, or no numpy.
            BrokenBundleError: the runner cannot load the model file.
        """
        try:
            import numpy
        except ImportError as error:
            raise MissingError(
                "the native engine hands out logits as numpy arrays, numpy is not installed",
                "pip install numpy",
            ) from error
        self._numpy = numpy
        self.vocab_size = manifest.vocab_size
        self.context_length = manifest.context_length
        self._position = 0
        self._path = manifest.model_path(bundle)
        self._runner = runner or find_runner()
        command = [self._runner, "serve", "--model", str(self._path), "--threads", str(threads)]
        if manifest.max_prefill_tokens:
            command += ["--max-prefill", str(manifest.max_prefill_tokens)]
        self._child = _start(command)
        self._end = weakref.finalize(self, _stop, self._child)
        ready = self._answer()
        self.load_ns = int(ready["load_ns"])
        self.versions = {"executorch": ready["executorch"], PROGRAM: ready["runner"]}
        self._check_shape(ready)

    @property
    def position(self) -> int:
        """Tokens in the KV cache."""
        return self._position

    def prefill(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Append S tokens; logits float32 [S, vocab_size]."""
        return self._append("append", token_ids)

    def prefill_last(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Append S tokens; logits float32 [vocab_size] after the last of them."""
        row: NDArray[np.float32] = self._append("append-last", token_ids)[0]
        return row

    def step(self, token_id: int) -> NDArray[np.float32]:
        """Append one token; logits float32 [vocab_size]."""
        return self.prefill_last((token_id,))

    def rewind(self, position: int) -> None:
        """Keep the first `position` tokens of the KV cache, at most all that are in it."""
        self._send(f"rewind {position}")
        self._answer()
        self._position = position

    def reset(self) -> None:
        """Start again at position 0."""
        self.rewind(0)

    def close(self) -> None:
        """End the child; the engine cannot be used afterwards."""
        self._end()

    def _append(self, request: str, token_ids: Sequence[int]) -> NDArray[np.float32]:
        check_tokens(token_ids, self._position, self.vocab_size, self.context_length)
        self._send(" ".join([request, *(str(int(token)) for token in token_ids)]))
        rows = int(self._answer()["rows"])
        content = self._read(rows * self.vocab_size * _FLOAT_BYTES)
        self._position += len(token_ids)
        logits: NDArray[np.float32] = self._numpy.frombuffer(content, self._numpy.float32)
        return logits.reshape(rows, self.vocab_size)

    def _send(self, line: str) -> None:
        assert self._child.stdin is not None  # noqa: S101 - a pipe, for mypy
        try:
            self._child.stdin.write(line.encode() + b"\n")
            self._child.stdin.flush()
        except (OSError, ValueError) as error:
            raise self._death() from error

    def _answer(self) -> dict[str, Any]:
        """The next line of JSON.

        Raises:
            ParedownError: the child's own error, or how it ended.
        """
        assert self._child.stdout is not None  # noqa: S101 - a pipe, for mypy
        line = self._child.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._death()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise self._failure(answer["error"], answer["exit_code"])
        return answer

    def _read(self, size: int) -> bytes:
        assert self._child.stdout is not None  # noqa: S101 - a pipe, for mypy
        content = self._child.stdout.read(size)
        if len(content) != size:
            raise self._death()
        return content

    def _death(self) -> ParedownError:
        """Why the child is gone, in its own words where it had time for any."""
        assert self._child.stderr is not None  # noqa: S101 - a pipe, for mypy
        if self._child.stdin is None or self._child.stdin.closed:
            return ParedownError("the native engine was closed", "open it again")
        with self._child.stderr as stream:
            said = stream.read().decode(errors="replace").strip().splitlines()
        status = self._child.wait()
        self._end()
        if status < 0:
            return ParedownError(
                f"{PROGRAM} was ended by {_signal_name(-status)} while it ran {self._path}",
                "the machine ran out of memory" if -status == signal.SIGKILL else "",
            )
        line = said[-1].removeprefix(f"{PROGRAM}: ") if said else f"ended with status {status}"
        return self._failure(line, status)

    def _failure(self, message: str, status: int) -> ParedownError:
        if status == EXIT_BAD_REQUEST:
            return BrokenBundleError(message)
        if status == EXIT_MISSING:
            return MissingError(message)
        return ParedownError(f"{PROGRAM}: {message}")

    def _check_shape(self, ready: dict[str, Any]) -> None:
        for key in ("vocab_size", "context_length"):
            if ready[key] != getattr(self, key):
                raise BrokenBundleError(
                    f"{self._path} has a {key} of {ready[key]}, "
                    f"the manifest says {getattr(self, key)}",
                    "export the bundle again",
                )


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)  # noqa: S603
    except OSError as error:
        raise MissingError(
            f"cannot start {command[0]}: {error.strerror}", "build it with: paredown runner build"
        ) from error


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a child that may be dead already, and every pipe to it."""
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # what was still buffered has no reader
                continue


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
