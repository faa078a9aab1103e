"""This machine: the agent in a fresh process per launch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import runtime_py
from runtime_py import sensors
from runtime_py.schema import CheckReport, LaunchRecord, Protocol, Reading, dumps
from toolchain.devices import Device
from toolchain.devices.answer import answered, failure, parse
from toolchain.errors import InvalidMeasurementError
from toolchain.progress import SILENT, Progress

TIMEOUT_S = 3600.0
"""A launch that takes longer than this (and its `sustained_s`) is taken for hung."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class LocalDevice(Device):
    """Runs `python -m runtime_py` with this interpreter."""

    uri = "local"
    emulated = False

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s

    def prepare(self, bundle: Path, progress: Progress = SILENT) -> None:
        """Nothing to push."""

    def measure(self, bundle: Path, protocol: Protocol) -> LaunchRecord:
        """One launch; see `toolchain.devices.Device`."""
        arguments = ["measure", str(bundle.absolute()), "--protocol", dumps(protocol)]
        if protocol.engine == "native":
            from toolchain.native.folder import PROGRAM, build

            arguments += ["--runner", str(build("host") / PROGRAM)]
        limit_s = self._timeout_s + protocol.sustained_s
        return parse(LaunchRecord, self._run(arguments, protocol.threads, limit_s))

    def check(self, bundle: Path) -> CheckReport:
        """The golden cases; see `toolchain.devices.Device`."""
        arguments = ["check", str(bundle.absolute()), "--threads", "1"]
        return parse(CheckReport, self._run(arguments, 1, self._timeout_s))

    def facts(self) -> dict[str, Reading]:
        """Every sensor of this machine."""
        return sensors.read_all()

    def close(self) -> None:
        """Nothing to give back."""

    def _run(self, arguments: list[str], threads: int, limit_s: float) -> str:
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
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise InvalidMeasurementError(
                f"the agent did not answer within {limit_s:g} s and was stopped"
            ) from error
        if answered(done.returncode, done.stdout):
            return done.stdout
        raise failure("the agent", done.returncode, done.stderr)


def _environment(threads: int) -> dict[str, str]:
    packages = str(Path(runtime_py.__file__).parents[1])
    paths = [packages, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUTF8": "1",
    }
