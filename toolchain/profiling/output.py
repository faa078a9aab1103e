"""Reports out and in: the four output formats, and files of one report or of several."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime_py.schema import (
    REPORTS_SCHEMA,
    DeviceReport,
    ReportSet,
    SchemaError,
    dumps,
    from_json,
    to_json,
)
from toolchain.errors import BadRequestError
from toolchain.profiling.table import report_table, rows_table

FORMATS = ("md", "json", "jsonl", "csv")


def render(reports: Sequence[DeviceReport], output: str) -> str:
    """Reports in one of `FORMATS`; `json` has everything, `jsonl` and `csv` a flat row each."""
    if output == "json":
        return file_text(reports)
    if output == "jsonl":
        return "".join(f"{json.dumps(flat_row(report))}\n" for report in reports)
    if output == "csv":
        return _csv([flat_row(report) for report in reports])
    return report_table(reports[0]) if len(reports) == 1 else rows_table(reports)


def file_text(reports: Sequence[DeviceReport]) -> str:
    """What `--out` writes: one report as it is, several as a `ReportSet`."""
    return dumps(reports[0] if len(reports) == 1 else ReportSet(list(reports)))


def load_reports(path: Path) -> list[DeviceReport]:
    """The reports of a file that `paredown profile --out` wrote.

    Raises:
        BadRequestError: no such file, or no report in it.
    """
    if path.is_dir():
        raise BadRequestError(
            f"{path} is a folder, not a report", "two bundles are measured with --interleave"
        )
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRequestError(f"cannot read the report {path}: {error.strerror}") from error
    except ValueError as error:
        raise BadRequestError(f"{path} is not a report: it is not JSON") from error
    several = isinstance(value, dict) and value.get("schema") == REPORTS_SCHEMA
    try:
        if several:
            return from_json(ReportSet, value, str(path)).reports
        return [from_json(DeviceReport, value, str(path))]
    except SchemaError as error:
        raise BadRequestError(error.message, error.hint) from error


def flat_row(report: DeviceReport) -> dict[str, Any]:
    """Names and numbers without nesting: identity, protocol, `ROW`, `ROW_low`, `ROW_high`."""
    row: dict[str, Any] = {
        "device": report.device_uri,
        "bundle": report.bundle_name,
        "bundle_sha256": report.bundle_sha256,
        "backend": report.backend,
        "quantization": report.quantization,
        "model_file_bytes": report.model_file_bytes,
        "validity": report.validity,
        "emulated": report.emulated,
        "created_at": report.created_at,
    }
    protocol = to_json(report.protocol)
    row |= {key: protocol[key] for key in protocol if key not in ("schema", "phase")}
    for key in SUMMARY_KEYS:
        estimate = report.summary.get(key)
        row[key] = estimate.median if estimate else None
        row[f"{key}_low"] = estimate.low if estimate else None
        row[f"{key}_high"] = estimate.high if estimate else None
    return row


SUMMARY_KEYS = (
    "prefill_tok_s",
    "decode_tok_s",
    "ttft_ms",
    "load_cold_ms",
    "load_warm_ms",
    "itl_ms_p50",
    "itl_ms_p90",
    "itl_ms_p99",
    "peak_rss_bytes",
    "peak_pss_bytes",
    "anonymous_bytes",
    "file_mapped_bytes",
    "energy_mj_per_token",
    "sustained_decode_tok_s",
    "sustained_ratio",
)
"""Every row, so that the files of two runs have the same columns."""


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
