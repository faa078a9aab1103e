"""Measure a bundle on a device: fresh processes, raw samples, one report."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from pathlib import Path

from runtime_py.bundle import model_bytes, open_bundle
from runtime_py.measure import check_protocol
from runtime_py.schema import MANIFEST_NAME, DeviceReport, Protocol
from toolchain import __version__
from toolchain.devices import open_device
from toolchain.errors import MissingError, install_line
from toolchain.profiling.stats import judge, summarize
from toolchain.progress import SILENT, Progress, track
from toolchain.store import sha256_file


def profile_bundle(
    bundle: Path, device: str, protocol: Protocol, progress: Progress = SILENT
) -> DeviceReport:
    """Run every launch of `protocol` and report.

    Args:
        bundle: a bundle's directory.
        device: URI of `toolchain.devices.open_device`.
        protocol: what to run.
        progress: one step per launch.

    Raises:
        BadRequestError: unknown device, or a protocol that nothing or not this bundle can run;
            before any launch.
        BrokenBundleError: the bundle's bytes are not what its manifest says.
        MissingError: the engine's package is not on the device.
        InvalidMeasurementError: the agent crashed or hung.
    """
    machine = open_device(device)
    manifest = open_bundle(bundle)
    check_protocol(protocol, manifest)
    if protocol.launches > 1 and importlib.util.find_spec("scipy") is None:
        raise MissingError("intervals need scipy, which is not installed", install_line("evals"))
    count = protocol.launches
    rounds = track(range(count), progress, f"measure {manifest.name}", count)
    launches = [machine.measure(bundle, protocol) for _ in rounds]
    validity, reasons = judge(launches, protocol.threads)
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
        summary=summarize(launches, protocol.prompt_tokens),
        predicted_memory=manifest.predicted_memory,
        validity=validity,
        validity_reasons=reasons,
        emulated=machine.emulated,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        paredown_version=__version__,
    )
