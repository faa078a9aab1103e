"""One launch in the native runner, with this process's sensors around it.

While the runner works this process sleeps: it wakes for the runner's end, and every few seconds for
a look at the sensors unless memory or a cold load is what is measured.
"""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from runtime_py import native, sensors
from runtime_py.errors import BrokenBundleError, InvalidMeasurementError
from runtime_py.measure import SAMPLING_NS, check_protocol, with_energy, workload
from runtime_py.schema import LaunchRecord, Manifest, Protocol, Snapshot


def measure_native(
    runner: Path, bundle: Path, manifest: Manifest, protocol: Protocol
) -> LaunchRecord:
    """One launch of the kind that `protocol.phase` says.

    Args:
        runner: the program.
        bundle: the bundle's directory, accepted by `open_bundle`.
        manifest: its manifest.
        protocol: as for `runtime_py.measure.measure`.

    Raises:
        BadRequestError: the protocol is impossible, or not for this bundle.
        BrokenBundleError: the runner refused the bundle; its own line.
        InvalidMeasurementError: it crashed, or was killed.
    """
    check_protocol(protocol, manifest)
    affinity = sensors.use_cores(protocol.affinity, protocol.threads)
    others = sensors.OtherWork()
    trace: list[Snapshot] = []

    def sample() -> None:
        trace.append(sensors.snapshot(time.clock_gettime_ns(time.CLOCK_BOOTTIME)))

    sample()
    with tempfile.TemporaryDirectory() as folder:
        prompt = Path(folder, "prompt")
        prompt.write_text(" ".join(map(str, workload(bundle, manifest, protocol).tokens)) + "\n")
        command = native.measure_command(
            str(runner), str(manifest.model_path(bundle)), protocol, str(prompt)
        )
        traced = protocol.phase in ("time", "sustained")
        output = _output(command, Path(folder), sample if traced else None)
    sample()
    facts = sensors.read_all() | {"other_work_cores": others.cores(), "cpu_affinity": affinity}
    return with_energy(native.launch_record(output, facts, protocol.phase, trace))


def _output(command: list[str], folder: Path, look: Callable[[], None] | None) -> str:
    """Standard output of the runner; `look`, if any, is called while it runs, now and then.

    Files, not pipes: nobody has to wake up to empty them.
    """
    out, err = folder / "out", folder / "err"
    with out.open("wb") as out_file, err.open("wb") as err_file:
        process = subprocess.Popen(  # noqa: S603 - the runner, no shell
            command, stdin=subprocess.DEVNULL, stdout=out_file, stderr=err_file
        )
        try:
            while not _ended(process, SAMPLING_NS / 1e9):
                if look is not None:
                    look()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode == 0:
        return out.read_text(encoding="utf-8")
    lines = err.read_text(encoding="utf-8", errors="replace").splitlines()
    said = lines[-1].strip() if lines else "it said nothing"
    if process.returncode < 0:
        raise InvalidMeasurementError(f"the runner died of signal {-process.returncode}: {said}")
    raise BrokenBundleError(f"the runner ended with status {process.returncode}: {said}")


def _ended(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Sleep until the process ends, `timeout_s` at most; whether it has ended."""
    if not hasattr(os, "pidfd_open"):
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True
    # Popen.wait with a timeout looks twenty times a second; the kernel can say when it is over.
    descriptor = os.pidfd_open(process.pid)
    try:
        ready, _, _ = select.select([descriptor], [], [], timeout_s)
    finally:
        os.close(descriptor)
    if ready:
        process.wait()
    return bool(ready)
