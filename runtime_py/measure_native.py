"""One launch in the native runner, with this process's sensors around it.

While the runner works this process sleeps: it wakes for the runner's end, and in a sustained launch
every few seconds for a look at the sensors.
"""

from __future__ import annotations

import dataclasses
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from runtime_py import native, sensors
from runtime_py.errors import BrokenBundleError, InvalidMeasurementError
from runtime_py.measure import SAMPLING_NS, check_protocol, drift_probe, launch_facts, workload
from runtime_py.schema import LaunchRecord, Manifest, Protocol


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
    probes = protocol.phase == "time"
    before = [drift_probe()] if probes else []
    wall, monotonic = time.time_ns(), time.monotonic_ns()
    others = sensors.OtherWork()
    trace = [sensors.snapshot(0)]
    start = time.perf_counter_ns()

    def sample() -> None:
        trace.append(sensors.snapshot(time.perf_counter_ns() - start))

    with tempfile.TemporaryDirectory() as folder:
        prompt = Path(folder, "prompt")
        prompt.write_text(" ".join(map(str, workload(bundle, manifest, protocol).tokens)) + "\n")
        command = native.measure_command(
            str(runner), str(manifest.model_path(bundle)), protocol, str(prompt)
        )
        output = _output(command, Path(folder), sample if protocol.sustained_s else _nothing)
    sample()
    jump = (time.time_ns() - wall) - (time.monotonic_ns() - monotonic)
    facts = launch_facts(trace) | {"other_work_cores": others.cores(), "cpu_affinity": affinity}
    record = native.launch_record(output, facts, protocol.phase)
    return dataclasses.replace(
        record,
        trace=trace,
        drift_ns=[*before, drift_probe()] if probes else [],
        clock_jump_ns=jump,
    )


def _output(command: list[str], folder: Path, look: Callable[[], None]) -> str:
    """Standard output of the runner; `look` is called while it runs, now and then.

    Files, not pipes: nobody has to wake up to empty them.
    """
    out, err = folder / "out", folder / "err"
    with out.open("wb") as out_file, err.open("wb") as err_file:
        process = subprocess.Popen(  # noqa: S603 - the runner, no shell
            command, stdin=subprocess.DEVNULL, stdout=out_file, stderr=err_file
        )
        try:
            while not _ended(process, SAMPLING_NS / 1e9):
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


def _nothing() -> None:
    """What a short launch looks at while it runs."""
