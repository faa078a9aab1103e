"""Reports as Markdown: for the terminal, for run reports and for the README."""

from __future__ import annotations

from collections.abc import Sequence

from runtime_py.schema import DeviceReport, Estimate

BYTES_PER_MB = 1e6
HIDDEN = "emulated"
"""In place of every time and size of an emulated device: they say nothing about a real one."""


def report_table(report: DeviceReport) -> str:
    """Rows in the field's words (pp128, tg64), medians and their 95% intervals."""
    lines = [
        _headline(report),
        "",
        "| measure | median | 95% interval | unit |",
        "| --- | ---: | ---: | --- |",
    ]
    for label, key, unit, factor in _rows(report):
        median, interval = _cells(report, key, factor)
        lines.append(f"| {label} | {median} | {interval} | {unit} |")
    lines += ["", *_footer(report)]
    return "\n".join(lines) + "\n"


def rows_table(reports: Sequence[DeviceReport]) -> str:
    """One line per report (device, workload, threads), then what was wrong with each."""
    lines = [
        "| device | bundle | test | threads | prefill tok/s | decode tok/s | first token ms "
        "| peak MB | validity |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    columns = (
        ("prefill_tok_s", 1.0),
        ("decode_tok_s", 1.0),
        ("ttft_ms", 1.0),
        ("peak_rss_bytes", 1 / BYTES_PER_MB),
    )
    for report in reports:
        cells = " | ".join(_with_spread(report, key, factor) for key, factor in columns)
        lines.append(
            f"| {report.device_uri} | {report.bundle_name} {report.backend} {report.quantization} "
            f"| {report.protocol.label} | {report.protocol.threads} | {cells} "
            f"| {report.validity} |"
        )
    lines.append("")
    for report in reports:
        where = f"{report.device_uri}, {report.protocol.label}, {report.protocol.threads} threads"
        lines += [f"- {where}: {reason}" for reason in report.validity_reasons]
    return "\n".join(lines).rstrip() + "\n"


def _rows(report: DeviceReport) -> list[tuple[str, str, str, float]]:
    """(label, key of the summary, unit, factor); what was not asked for is left out."""
    protocol = report.protocol
    depth = f" @ d{protocol.depth}" if protocol.depth else ""
    megabytes = 1 / BYTES_PER_MB
    rows = [
        (f"pp{protocol.prompt_tokens}{depth}", "prefill_tok_s", "tok/s", 1.0),
        (f"tg{protocol.generated_tokens}{depth}", "decode_tok_s", "tok/s", 1.0),
        ("time to first token", "ttft_ms", "ms", 1.0),
        ("load, cold cache", "load_cold_ms", "ms", 1.0),
        ("load, warm cache", "load_warm_ms", "ms", 1.0),
        ("inter-token p50", "itl_ms_p50", "ms", 1.0),
        ("inter-token p90", "itl_ms_p90", "ms", 1.0),
        ("inter-token p99", "itl_ms_p99", "ms", 1.0),
        ("peak RSS", "peak_rss_bytes", "MB", megabytes),
        ("peak PSS", "peak_pss_bytes", "MB", megabytes),
        ("of it anonymous", "anonymous_bytes", "MB", megabytes),
        ("of it files", "file_mapped_bytes", "MB", megabytes),
        ("energy per token", "energy_mj_per_token", "mJ", 1.0),
        ("tg, last minute", "sustained_decode_tok_s", "tok/s", 1.0),
        ("last minute / first", "sustained_ratio", "", 1.0),
    ]
    return [row for row in rows if report.absent.get(row[1]) != "not asked for"]


def _headline(report: DeviceReport) -> str:
    protocol = report.protocol
    cpu = report.launches[0].device.get("cpu_model")
    where = f"{report.device_uri}, {cpu.value}" if cpu and cpu.value else report.device_uri
    engine = report.launches[0].engine
    version = report.launches[0].engine_versions.get(engine, "")
    return (
        f"**{report.bundle_name}** on {where}: {' '.join([engine, version]).strip()}, "
        f"{report.model_file_bytes / BYTES_PER_MB:.1f} MB, threads {protocol.threads}, "
        f"{protocol.launches} launches of {protocol.repetitions}"
    )


def _footer(report: DeviceReport) -> list[str]:
    lines = [_memory_line(report)]
    decode = report.summary.get("decode_tok_s")
    if decode is not None and not report.emulated:
        gigabytes = decode.median * report.model_file_bytes / 1e9
        lines.append(
            f"Decoding read at most {report.model_file_bytes / BYTES_PER_MB:.1f} MB of weights per "
            f"token: {gigabytes:.2f} GB/s."
        )
    for key, reason in report.absent.items():
        if reason != "not asked for":
            lines.append(f"No {key}: {reason}.")
    if report.emulated:
        lines.append("Emulated: its times and sizes say nothing about a device and are not shown.")
    lines.append(f"Validity: {report.validity}. Protocol {report.protocol_fingerprint}.")
    return lines + [f"- {reason}" for reason in report.validity_reasons]


def _memory_line(report: DeviceReport) -> str:
    predicted = f"Predicted peak: {report.predicted_memory.total_bytes / BYTES_PER_MB:.1f} MB"
    if report.memory_error is None or report.emulated:
        return f"{predicted}."
    return f"{predicted}, {report.memory_error:+.1%} from the measured one."


def _cells(report: DeviceReport, key: str, factor: float) -> tuple[str, str]:
    estimate = report.summary.get(key)
    if estimate is None:
        return "not available", ""
    if report.emulated:
        return HIDDEN, ""
    interval = ""
    if estimate.low is not None and estimate.high is not None:
        interval = f"{_digits(estimate.low * factor)} to {_digits(estimate.high * factor)}"
    return _digits(estimate.median * factor), interval


def _with_spread(report: DeviceReport, key: str, factor: float) -> str:
    """`123 ± 4`, the half width of the interval."""
    estimate: Estimate | None = report.summary.get(key)
    if estimate is None:
        return "not available"
    if report.emulated:
        return HIDDEN
    if estimate.low is None or estimate.high is None:
        return _digits(estimate.median * factor)
    half = (estimate.high - estimate.low) / 2 * factor
    return f"{_digits(estimate.median * factor)} ± {_digits(half)}"


def _digits(value: float) -> str:
    """Three significant digits, or whole numbers from 100 on."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
