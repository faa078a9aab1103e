"""This machine: the agent in a fresh process per launch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import runtime_py
from runtime_py.schema import CheckReport, LaunchRecord, Protocol, SchemaError, dumps, loads
from toolchain.errors import (
    EXIT_BAD_REQUEST,
    EXIT_HOLD,
    EXIT_MISSING,
    EXIT_OK,
    BadRequestError,
    InvalidMeasurementError,
    MissingError,
    ParedownError,
)

TIMEOUT_S = 3600.0
"""A launch that takes longer than this is taken for hung."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_AGENT_ERRORS: dict[int, type[ParedownError]] = {
    EXIT_BAD_REQUEST: BadRequestError,
    EXIT_MISSING: MissingError,
}
_AGENT_PREFIX = "paredown-agent: "

T = TypeVar("T")


class LocalDevice:
    """Runs `python -m runtime_py` with this interpreter."""

    uri = "local"
    emulated = False

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s

    def measure(self, bundle: Path, protocol: Protocol) -> LaunchRecord:
        """One launch; see `toolchain.devices.Device`."""
        arguments = ["measure", str(bundle.absolute()), "--protocol", dumps(protocol)]
        return _parse(LaunchRecord, self._run(arguments, protocol.threads))

    def check(self, bundle: Path) -> CheckReport:
        """The golden cases; see `toolchain.devices.Device`."""
        arguments = ["check", str(bundle.absolute()), "--threads", "1"]
        return _parse(CheckReport, self._run(arguments, 1))

    def _run(self, arguments: list[str], threads: int) -> str:
        """Standard output of the agent.

        A failed check (exit status 1 with a report) is an answer, not an error.
        """
        # -P: a file of the current directory must not shadow a module of the agent.
        command = [sys.executable, "-P", "-m", "runtime_py", *arguments]
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter, no shell
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=_environment(threads),
                timeout=self._timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise InvalidMeasurementError(
                f"the agent did not answer within {self._timeout_s:g} s and was stopped"
            ) from error
        if done.returncode == EXIT_OK or (done.returncode == EXIT_HOLD and done.stdout):
            return done.stdout
        raise _failure(done.returncode, done.stderr)


def _environment(threads: int) -> dict[str, str]:
    packages = str(Path(runtime_py.__file__).parents[1])
    paths = [packages, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUTF8": "1",
    }


def _failure(status: int, stderr: str) -> ParedownError:
    """The agent's own one-line error, or how it crashed and the last line that it said."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else "it said nothing"
    if status in _AGENT_ERRORS and last.startswith(_AGENT_PREFIX):
        return _AGENT_ERRORS[status](last.removeprefix(_AGENT_PREFIX))
    ended = f"exit status {status}"
    if status < 0:
        ended = f"signal {signal.Signals(-status).name} ({ended})"
    return InvalidMeasurementError(f"the agent ended with {ended}: {last}")


def _parse(cls: type[T], text: str) -> T:
    try:
        return loads(cls, text, "the agent's answer")
    except SchemaError as error:
        raise InvalidMeasurementError(error.message) from error
