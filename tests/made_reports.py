"""Reports whose every launch is known, for tests of what is computed from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from runtime_py.schema import (
    DeviceReport,
    LaunchRecord,
    MemoryPrediction,
    Protocol,
    Reading,
    Sample,
)
from toolchain.profiling.stats import summarize

MACHINE = {
    "cpu_model": Reading("Raspberry Pi 5 Model B"),
    "cpu_count": Reading(4.0),
    "machine": Reading("aarch64"),
    "memory_total_bytes": Reading(8e9),
}
PROTOCOL = Protocol(prompt_tokens=16, generated_tokens=2, cold=False)


def made_launch(token_ns: float, phase: str = "time", rss: int | None = None) -> LaunchRecord:
    """A launch whose every token took `token_ns`, its prompt ten times that."""
    sample = Sample(round(10 * token_ns), round(10 * token_ns) + 1, [round(token_ns)] * 2)
    return LaunchRecord(5_000_000, [sample] * 2, rss, "onnxruntime", {}, MACHINE, phase)


def made_report(
    token_ns: Sequence[float], rss: int = 50_000_000, name: str = "tiny", **changes: object
) -> DeviceReport:
    """One launch per value; `changes` replace fields of the report."""
    launches = [made_launch(ns) for ns in token_ns]
    memory = made_launch(1000, "memory", rss)
    protocol = dataclasses.replace(PROTOCOL, launches=len(launches))
    found = summarize(launches, [memory], protocol.prompt_tokens)
    report = DeviceReport(
        bundle_name=name,
        bundle_sha256="0" * 64,
        backend="onnx",
        quantization="none",
        model_file_bytes=9_600_000,
        device_uri="ssh:pi",
        protocol=protocol,
        protocol_fingerprint=protocol.fingerprint,
        launches=launches,
        extra_launches=[memory],
        summary=found.rows,
        absent=found.absent,
        predicted_memory=MemoryPrediction(9_000_000, 500_000, 100_000),
        memory_error=None,
        validity="valid",
        validity_reasons=[],
        emulated=False,
        created_at="2025-01-01T00:00:00+00:00",
        paredown_version="0",
    )
    return dataclasses.replace(report, **changes)
