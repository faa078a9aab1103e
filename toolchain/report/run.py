"""The result of a whole run: for the exit code, for a person, for a machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime_py.schema import DeviceReport, Manifest, to_json
from toolchain.errors import EXIT_HOLD, EXIT_INCONCLUSIVE, EXIT_INVALID_MEASUREMENT, EXIT_OK
from toolchain.model.spec import ModelSpec
from toolchain.profiling.table import report_table
from toolchain.validation.verdict import Verdict, verdict_markdown

BASELINE = "dense"
"""Folder, inside of a run's, of the run of the dense model that it is set beside."""

SEVERITY = (EXIT_HOLD, EXIT_INVALID_MEASUREMENT, EXIT_INCONCLUSIVE, EXIT_OK)
"""Which exit code wins where bundles differ."""


@dataclass(frozen=True)
class Outcome:
    """One bundle: what it is, how fast, whether it may ship; None for a step left out."""

    name: str
    manifest: Manifest
    report: DeviceReport | None
    verdict: Verdict | None

    @property
    def exit_codes(self) -> list[int]:
        """One per step that can object."""
        codes = [] if self.verdict is None else [self.verdict.exit_code]
        if self.report is not None and self.report.validity == "invalid":
            codes.append(EXIT_INVALID_MEASUREMENT)
        return codes


@dataclass(frozen=True)
class RunResult:
    """Everything a run found; `record` is the pruned checkpoint's, else empty."""

    out: Path
    dense: ModelSpec
    compact: ModelSpec
    record: dict[str, Any]
    outcomes: tuple[Outcome, ...]

    @property
    def report_path(self) -> Path:
        """Where the run's report lies."""
        return self.out / "report.md"

    @property
    def exit_code(self) -> int:
        """The gravest of all bundles' codes; EXIT_OK says ship."""
        codes = {code for outcome in self.outcomes for code in outcome.exit_codes}
        return next((code for code in SEVERITY if code in codes), EXIT_OK)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: the summary; every artifact has its own file."""
        return {
            "exit_code": self.exit_code,
            "report": str(self.report_path),
            "parameters": {"before": self.dense.parameters, "after": self.compact.parameters},
            "bundles": {o.name: _summary(o) for o in self.outcomes},
        }

    def text(self) -> str:
        """The verdicts, a line each, and where to read on."""
        lines = [_sizes_line(self)]
        for outcome in self.outcomes:
            sentence = outcome.verdict.sentence if outcome.verdict else "not validated"
            lines += [outcome.name, f"  {sentence}", f"  {_measured(outcome)}"]
        page = self.report_path.with_suffix(".html")
        lines.append(f"report: {page if page.is_file() else self.report_path}")
        return "\n".join(lines)


def run_markdown(result: RunResult) -> str:
    """The run's report: verdicts first, then sizes, then each bundle's measurements and gates."""
    lines = [f"# {result.dense.name}: {_headline(result)}", "", _sizes_line(result), ""]
    lines += _shape_table(result)
    for outcome in result.outcomes:
        lines += ["", f"## {outcome.name}", ""]
        if outcome.verdict is not None:
            lines += [verdict_markdown(outcome.verdict, heading="###"), ""]
        if outcome.report is not None:
            lines += ["### Measured", "", report_table(outcome.report)]
    return "\n".join(lines).rstrip() + "\n"


def _headline(result: RunResult) -> str:
    words = {
        EXIT_OK: "ship",
        EXIT_HOLD: "hold",
        EXIT_INCONCLUSIVE: "inconclusive",
        EXIT_INVALID_MEASUREMENT: "invalid measurement",
    }
    judged = any(outcome.verdict for outcome in result.outcomes)
    return words[result.exit_code] if judged else "not validated"


def _sizes_line(result: RunResult) -> str:
    before, after = result.dense.parameters, result.compact.parameters
    return f"{before:,} → {after:,} parameters ({after / before - 1:+.1%})"


def _shape_table(result: RunResult) -> list[str]:
    rows = ["| | before | after |", "|---|---:|---:|"]
    rows.append(f"| layers | {len(result.dense.layers)} | {len(result.compact.layers)} |")
    before, after = result.dense.layers[0], result.compact.layers[0]
    for name in ("num_attention_heads", "num_key_value_heads", "intermediate_size"):
        rows.append(f"| {name} | {getattr(before, name)} | {getattr(after, name)} |")
    rows.append(f"| parameters | {result.dense.parameters:,} | {result.compact.parameters:,} |")
    return rows


def _measured(outcome: Outcome) -> str:
    """Size and speed of a bundle in one line."""
    parts = [f"{_bundle_bytes(outcome.manifest) / 1e6:.1f} MB"]
    if outcome.report is not None:
        summary = outcome.report.summary
        parts.append(f"decodes {summary['decode_tok_s'].median:,.0f} tokens/s")
        parts.append(f"first token after {summary['ttft_ms'].median:.1f} ms")
        if "peak_rss_bytes" in summary:
            peak = summary["peak_rss_bytes"].median / 1e6
            parts.append(f"peak memory {peak:.0f} MB of the whole process")
        parts.append(f"measurement {outcome.report.validity}")
    return ", ".join(parts)


def _bundle_bytes(manifest: Manifest) -> int:
    return sum(entry.bytes for entry in manifest.files)


def _summary(outcome: Outcome) -> dict[str, Any]:
    return {
        "verdict": outcome.verdict.outcome if outcome.verdict else None,
        "sentence": outcome.verdict.sentence if outcome.verdict else None,
        "validity": outcome.report.validity if outcome.report else None,
        "summary": to_json(outcome.report.summary) if outcome.report else None,
        "bytes": _bundle_bytes(outcome.manifest),
    }
