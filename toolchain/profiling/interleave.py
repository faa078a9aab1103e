"""Two bundles on one device in turns, A B B A, so that a drifting machine is fair to both."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from runtime_py.bundle import open_bundle
from runtime_py.measure import check_protocol
from runtime_py.schema import DeviceReport, LaunchRecord, Protocol
from toolchain.devices import open_device
from toolchain.profiling.compare import abba
from toolchain.profiling.run import (
    final_phases,
    make_report,
    phases,
    require_scipy,
    run_launches,
    timed_phases,
)
from toolchain.progress import SILENT, Progress


def profile_interleaved(
    a: Path, b: Path, device: str, protocol: Protocol, progress: Progress = SILENT
) -> tuple[DeviceReport, DeviceReport]:
    """Reports of two bundles whose launches took turns.

    Args:
        a, b: directories of bundles.
        device: URI of `toolchain.devices.open_device`.
        protocol: `launches` is rounded up to an even number, for whole blocks.
        progress: one step per launch.

    Raises:
        ParedownError: as `profile_bundle`.
    """
    protocol = dataclasses.replace(protocol, launches=protocol.launches + protocol.launches % 2)
    bundles = {"A": a, "B": b}
    manifests = {arm: open_bundle(path) for arm, path in bundles.items()}
    for manifest in manifests.values():
        check_protocol(protocol, manifest)
    require_scipy([protocol])
    records: dict[str, list[LaunchRecord]] = {"A": [], "B": []}
    with open_device(device) as machine:
        for path in bundles.values():
            machine.prepare(path, progress)
        with progress.task("measure in turns", 2 * len(phases(protocol))) as task:
            for arm in abba(protocol.launches):
                turn = timed_phases(protocol)
                records[arm] += run_launches(machine, bundles[arm], protocol, turn, task.advance)
            for arm, path in bundles.items():
                last = final_phases(protocol)
                records[arm] += run_launches(machine, path, protocol, last, task.advance)
        reports = [
            make_report(bundles[arm], manifests[arm], machine, protocol, records[arm])
            for arm in bundles
        ]
    return reports[0], reports[1]
