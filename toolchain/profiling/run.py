"""Measure a bundle on a device: fresh processes, raw samples, one report per row."""

from __future__ import annotations

import dataclasses
import importlib.util
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runtime_py.bundle import model_bytes, open_bundle
from runtime_py.measure import check_protocol
from runtime_py.schema import (
    MANIFEST_NAME,
    DeviceReport,
    LaunchRecord,
    Manifest,
    Protocol,
    Reading,
    Snapshot,
)
from toolchain import __version__
from toolchain.devices import Device, open_device
from toolchain.errors import MissingError, ParedownError, install_line
from toolchain.exporting.memory import predict_bundle
from toolchain.profiling.stats import summarize
from toolchain.profiling.validity import judge
from toolchain.progress import SILENT, Progress
from toolchain.store import sha256_file

COOLDOWN_POLL_S = 5.0

Sleep = Callable[[float], None]


@dataclass(frozen=True)
class Failure:
    """A device that could not be measured to the end, beside others that could."""

    device_uri: str
    error: ParedownError


@dataclass(frozen=True)
class Rows:
    """What several devices and protocols gave: device by device, in the order asked for."""

    reports: list[DeviceReport]
    failures: list[Failure]


def profile_bundle(
    bundle: Path, device: str, protocol: Protocol, progress: Progress = SILENT
) -> DeviceReport:
    """Run every launch of one protocol on one device and report.

    Raises:
        ParedownError: as `profile_rows`, and what stopped the device.
    """
    rows = profile_rows(bundle, [device], [protocol], progress=progress)
    if rows.failures:
        raise rows.failures[0].error
    return rows.reports[0]


def profile_rows(
    bundle: Path,
    devices: Sequence[str],
    protocols: Sequence[Protocol],
    *,
    keep: bool = False,
    record: Path | None = None,
    progress: Progress = SILENT,
) -> Rows:
    """Measure on every device, all devices at the same time, its protocols one after the other.

    Args:
        bundle: a bundle's directory.
        devices: URIs of `toolchain.devices.open_device`.
        protocols: what to run, each a row.
        keep: leave on the devices what was pushed.
        record: write the session of a single device here, for `replay:`.
        progress: one step per launch.

    Raises:
        BadRequestError: a protocol that nothing or not this bundle can run; before any launch.
        BrokenBundleError: the bundle's bytes are not what its manifest says.
        MissingError: intervals need a package that is not here.
    """
    manifest = open_bundle(bundle)
    if not manifest.faithful:
        progress.note(f"warning: {bundle} does not compute what torch does, says its manifest")
    for protocol in protocols:
        check_protocol(protocol, manifest)
    require_scipy(protocols)
    runs = [_Run(uri, bundle, manifest, protocols, keep, record) for uri in devices]
    if len(runs) == 1:
        return _gather([runs[0].attempt(progress)])
    with ThreadPoolExecutor(len(runs)) as pool:
        futures: list[Future[Rows]] = [pool.submit(run.attempt, progress) for run in runs]
        try:
            return _gather([future.result() for future in futures])
        except BaseException:  # Ctrl-C: a launch that hangs must not keep the others' devices
            for run in runs:
                run.stop()
            raise


def require_scipy(protocols: Sequence[Protocol]) -> None:
    """Raise MissingError where more than one launch needs an interval that cannot be computed."""
    several = any(protocol.launches > 1 for protocol in protocols)
    if several and importlib.util.find_spec("scipy") is None:
        raise MissingError("intervals need scipy, which is not installed", install_line("evals"))


def run_launches(
    machine: Device,
    bundle: Path,
    protocol: Protocol,
    order: Sequence[str],
    advance: Callable[[], None],
    sleep: Sleep = time.sleep,
) -> list[LaunchRecord]:
    """One launch per phase of `order`.

    Args:
        machine: prepared for `bundle`.
        bundle: the bundle's directory.
        protocol: what to run.
        order: the phase of each launch.
        advance: called after each launch.
        sleep: waits, between looks at the temperature.
    """
    records = []
    for phase in order:
        waited = cool_down(machine, protocol, sleep)
        before = machine.facts()
        record = machine.measure(bundle, dataclasses.replace(protocol, phase=phase))
        if not record.trace:
            # The engine read no sensors itself: what was before it, against the facts after it.
            record = dataclasses.replace(record, trace=[_snapshot(before)])
        if waited is not None:
            device = record.device | {"cooldown_s": waited}
            record = dataclasses.replace(record, device=device)
        records.append(record)
        advance()
    return records


def timed_phases(protocol: Protocol) -> list[str]:
    """What belongs to each launch of a protocol."""
    return ["cold", "time"] if protocol.cold else ["time"]


def final_phases(protocol: Protocol) -> list[str]:
    """What comes once, after all launches."""
    return ["memory"] * protocol.memory + ["sustained"] * (protocol.sustained_s > 0)


def phases(protocol: Protocol) -> list[str]:
    """The phase of every launch of a report."""
    return timed_phases(protocol) * protocol.launches + final_phases(protocol)


def cool_down(machine: Device, protocol: Protocol, sleep: Sleep = time.sleep) -> Reading | None:
    """Wait until the machine is as cool as the protocol wants it, or its limit is over.

    Returns:
        Seconds waited, with a reason where the machine is still hotter; None if not asked for.
    """
    if protocol.cooldown_celsius is None:
        return None
    waited = 0.0
    while True:
        temperature = machine.facts().get("temperature_celsius", Reading(None, "no sensor")).value
        if not isinstance(temperature, float):
            return Reading(None, "no temperature sensor to cool down by")
        if temperature <= protocol.cooldown_celsius:
            return Reading(waited)
        if waited >= protocol.cooldown_limit_s:
            return Reading(waited, f"still at {temperature:.0f} °C")
        sleep(COOLDOWN_POLL_S)
        waited += COOLDOWN_POLL_S


def make_report(
    bundle: Path,
    manifest: Manifest,
    machine: Device,
    protocol: Protocol,
    records: Sequence[LaunchRecord],
) -> DeviceReport:
    """Judge and summarise the launches of one protocol on one device."""
    launches = [record for record in records if record.phase == "time"]
    extra = [record for record in records if record.phase != "time"]
    summary = summarize(launches, extra, protocol.prompt_tokens)
    validity, reasons = judge(records, protocol.threads)
    tokens = protocol.depth + protocol.prompt_tokens
    base_bytes = next((record.base_rss_bytes for record in extra if record.phase == "memory"), None)
    predicted = predict_bundle(
        manifest, launches[0].engine, tokens, tokens + protocol.generated_tokens, base_bytes
    )
    peak = summary.rows.get("peak_rss_bytes")
    return DeviceReport(
        bundle_name=manifest.name,
        bundle_sha256=sha256_file(bundle / MANIFEST_NAME),
        backend=manifest.backend,
        quantization=manifest.quantization,
        model_file_bytes=model_bytes(manifest),
        device_uri=machine.uri,
        protocol=protocol,
        protocol_fingerprint=protocol.fingerprint,
        launches=launches,
        extra_launches=extra,
        summary=summary.rows,
        absent=summary.absent,
        predicted_memory=predicted,
        memory_error=None if peak is None else predicted.total_bytes / peak.median - 1,
        validity=validity,
        validity_reasons=reasons,
        emulated=machine.emulated,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        paredown_version=__version__,
    )


class _Run:
    """One device and all its rows; errors of the device are kept for the others' sake."""

    def __init__(
        self,
        uri: str,
        bundle: Path,
        manifest: Manifest,
        protocols: Sequence[Protocol],
        keep: bool,
        record: Path | None,
    ) -> None:
        self._uri = uri
        self._bundle = bundle
        self._manifest = manifest
        self._protocols = protocols
        self._keep = keep
        self._record = record
        self._machine: Device | None = None

    def attempt(self, progress: Progress) -> Rows:
        """All rows, or those up to the failure and the failure."""
        reports: list[DeviceReport] = []
        try:
            with open_device(self._uri, keep=self._keep, record=self._record) as machine:
                self._machine = machine
                machine.prepare(self._bundle, progress)
                for protocol in self._protocols:
                    reports.append(self._row(machine, protocol, progress))
        except ParedownError as error:
            return Rows(reports, [Failure(self._uri, error)])
        return Rows(reports, [])

    def stop(self) -> None:
        """End what runs on the device."""
        if self._machine is not None:
            self._machine.close()

    def _row(self, machine: Device, protocol: Protocol, progress: Progress) -> DeviceReport:
        what = f"measure {self._manifest.name} on {machine.uri}, {protocol.label}"
        order = phases(protocol)
        with progress.task(what, len(order)) as task:
            records = run_launches(machine, self._bundle, protocol, order, task.advance)
        return make_report(self._bundle, self._manifest, machine, protocol, records)


def _gather(parts: Sequence[Rows]) -> Rows:
    return Rows(
        [report for part in parts for report in part.reports],
        [failure for part in parts for failure in part.failures],
    )


def _snapshot(facts: dict[str, Reading]) -> Snapshot:
    return Snapshot(0, {k: r.value for k, r in facts.items() if r.value is not None})
