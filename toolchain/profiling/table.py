"""A report as Markdown: for the terminal, for run reports and for the README."""

from __future__ import annotations

from runtime_py.schema import DeviceReport, Estimate

BYTES_PER_MB = 1e6


def report_table(report: DeviceReport) -> str:
    """Rows in the field's words (pp128, tg64), medians and their 95% intervals."""
    protocol = report.protocol
    rows = [
        (f"pp{protocol.prompt_tokens}", "prefill_tok_s", "tok/s", 1.0),
        (f"tg{protocol.generated_tokens}", "decode_tok_s", "tok/s", 1.0),
        ("time to first token", "ttft_ms", "ms", 1.0),
        ("load, warm cache", "load_warm_ms", "ms", 1.0),
        ("inter-token p50", "itl_ms_p50", "ms", 1.0),
        ("inter-token p90", "itl_ms_p90", "ms", 1.0),
        ("inter-token p99", "itl_ms_p99", "ms", 1.0),
        ("peak RSS", "peak_rss_bytes", "MB", 1 / BYTES_PER_MB),
    ]
    lines = [
        _headline(report),
        "",
        "| measure | median | 95% interval | unit |",
        "| --- | ---: | ---: | --- |",
    ]
    for label, key, unit, factor in rows:
        median, interval = _cells(report.summary.get(key), factor)
        lines.append(f"| {label} | {median} | {interval} | {unit} |")
    lines += ["", *_footer(report)]
    return "\n".join(lines) + "\n"


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
    predicted = report.predicted_memory.total_bytes / BYTES_PER_MB
    lines = [
        f"Predicted memory of the engine, without its host process: {predicted:.1f} MB.",
        f"Validity: {report.validity}. Protocol {report.protocol_fingerprint}.",
    ]
    return lines + [f"- {reason}" for reason in report.validity_reasons]


def _cells(estimate: Estimate | None, factor: float) -> tuple[str, str]:
    if estimate is None:
        return "not available", ""
    interval = ""
    if estimate.low is not None and estimate.high is not None:
        interval = f"{_digits(estimate.low * factor)} to {_digits(estimate.high * factor)}"
    return _digits(estimate.median * factor), interval


def _digits(value: float) -> str:
    """Three significant digits, or whole numbers from 100 on."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
