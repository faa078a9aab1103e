"""Two reports, or two bundles measured in turns: the ratio of every row, with its interval.

Launches are the unit, as everywhere. Reports from two runs are compared by Welch's t. Launches that
took turns in the order A B B A share the machine's drift, which is fitted (linear in the order of
launches) and taken away: in whole blocks of A B B A it is orthogonal to the difference, so the
estimate stays the plain difference of the means and only its error shrinks.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from runtime_py.schema import DeviceReport, LaunchRecord, Reading, to_json
from toolchain.errors import (
    EXIT_HOLD,
    EXIT_INCONCLUSIVE,
    EXIT_OK,
    BadRequestError,
)
from toolchain.profiling.stats import report_logs
from toolchain.profiling.validity import require_believable
from toolchain.statistics import MeanEstimate

COMPARISON_SCHEMA = "paredown.comparison/1"

LOWER_IS_BETTER = {
    "prefill_tok_s": False,
    "decode_tok_s": False,
    "ttft_ms": True,
    "itl_ms_p50": True,
    "itl_ms_p90": True,
    "itl_ms_p99": True,
    "load_cold_ms": True,
    "load_warm_ms": True,
    "peak_rss_bytes": True,
    "energy_mj_per_token": True,
    "sustained_decode_tok_s": False,
}
"""Rows of a comparison."""
GATED = ("prefill_tok_s", "decode_tok_s", "ttft_ms", "peak_rss_bytes")
"""Rows that a gate looks at; the others are too noisy, or follow from these."""

CONFIDENCE = 0.95
SAME_DEVICE = ("cpu_model", "machine", "cpu_count", "memory_total_bytes")


@dataclass(frozen=True)
class RatioRow:
    """B over A."""

    key: str
    ratio: float
    low: float | None
    high: float | None
    """95% interval; null where there is one launch of it."""
    difference: str
    """`better`, `worse`, `none seen`, or `unknown` without an interval."""
    gate: str | None
    """`pass`, `regress` or `inconclusive` at the margin; null where no gate looks."""


@dataclass(frozen=True)
class Comparison:
    """How B differs from A on one device under one protocol."""

    name_a: str
    name_b: str
    device_uri: str
    protocol_label: str
    threads: int
    interleaved: bool
    margin: float | None
    """Of the gate: B may be worse by this factor minus 1; null without a gate."""
    rows: list[RatioRow]
    outcome: str
    """`pass`, `regress`, `inconclusive`, or `shown` without a gate."""
    warnings: list[str]
    reports: list[DeviceReport]
    """A and B where they were measured for this comparison, else none (they have their files)."""
    schema: str = COMPARISON_SCHEMA

    @property
    def exit_code(self) -> int:
        """1 for a regression, 4 where the data do not decide, else 0."""
        codes = {"regress": EXIT_HOLD, "inconclusive": EXIT_INCONCLUSIVE}
        return codes.get(self.outcome, EXIT_OK)


def pair_reports(
    first: Sequence[DeviceReport], second: Sequence[DeviceReport]
) -> list[tuple[DeviceReport, DeviceReport]]:
    """Rows of two files by device and protocol; single reports are a pair as they are.

    Raises:
        BadRequestError: a row of one file has no partner in the other.
    """
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    partners = {_row_key(report): report for report in second}
    mine = {_row_key(report): report for report in first}
    for key in [*mine, *partners]:
        if key not in mine or key not in partners:
            where = "second" if key in mine else "first"
            raise BadRequestError(
                f"{key[0]} with {key[2]} is not in the {where} file",
                "compare files of the same devices and protocols",
            )
    return [(report, partners[key]) for key, report in mine.items()]


def compare(
    a: DeviceReport, b: DeviceReport, margin: float | None = None, interleaved: bool = False
) -> Comparison:
    """Ratios B/A of two reports.

    Args:
        a: the reference.
        b: the candidate.
        margin: makes it a gate: the most by which B may be worse, such as 0.05.
        interleaved: their launches ran as A B B A A B B A ...

    Raises:
        BadRequestError: other protocols, other devices, or an emulator's.
        InvalidMeasurementError: one of them is invalid.
    """
    require_comparable(a, b)
    shared = [key for key in LOWER_IS_BETTER if key in a.summary and key in b.summary]
    judged = [key for key in shared if key in GATED] if margin is not None else []
    rows = [
        _row(key, a, b, margin if key in judged else None, len(judged), interleaved)
        for key in shared
    ]
    return Comparison(
        name_a=f"{a.bundle_name} ({a.bundle_sha256[:8]})",
        name_b=f"{b.bundle_name} ({b.bundle_sha256[:8]})",
        device_uri=a.device_uri,
        protocol_label=a.protocol.label,
        threads=a.protocol.threads,
        interleaved=interleaved,
        margin=margin,
        rows=rows,
        outcome=_outcome([row.gate for row in rows if row.gate is not None]),
        warnings=_warnings(a, b),
        reports=[a, b] if interleaved else [],
    )


def require_comparable(a: DeviceReport, b: DeviceReport) -> None:
    """Refuse reports whose ratio means nothing; what differs is named. Raises as `compare`."""
    protocols = to_json(a.protocol), to_json(b.protocol)
    for key in protocols[0]:
        if protocols[0][key] != protocols[1][key]:
            raise BadRequestError(
                f"the protocols differ: {key} is {protocols[0][key]} and {protocols[1][key]}",
                "measure both with the same one",
            )
    devices = _device(a), _device(b)
    for key in devices[0]:
        if devices[0][key] != devices[1][key]:
            raise BadRequestError(
                f"the devices differ: {key} is {devices[0][key]} and {devices[1][key]}",
                "measure both on the same one",
            )
    if a.emulated:
        raise BadRequestError(
            f"{a.device_uri} is emulated: its times say nothing", "measure on a real device"
        )
    for report in (a, b):
        require_believable(report, "comparing")


def difference(a: Sequence[float], b: Sequence[float], interleaved: bool) -> MeanEstimate | None:
    """Mean of `b` minus mean of `a`; None where there is no variation to judge by.

    Args:
        a, b: one value per launch (logarithms for ratios), in order.
        interleaved: the launches ran as A B B A A B B A ...
    """
    if len(a) < 2 or len(b) < 2:
        return None
    return _drift_free(a, b) if interleaved else _welch(a, b)


def _welch(a: Sequence[float], b: Sequence[float]) -> MeanEstimate:
    """Welch (Biometrika 34:28, 1947), degrees of freedom by Satterthwaite."""
    shares = [statistics.variance(x) / len(x) for x in (a, b)]
    variance = sum(shares)
    freedom = math.inf
    if variance > 0:
        freedom = variance**2 / sum(
            share**2 / (len(x) - 1) for share, x in zip(shares, (a, b), strict=True)
        )
    mean = statistics.fmean(b) - statistics.fmean(a)
    return MeanEstimate(mean, math.sqrt(variance), freedom)


def abba(launches: int) -> str:
    """The order of `launches` of each of A and B: whole blocks of ABBA.

    Args:
        launches: even.
    """
    return "ABBA" * (launches // 2)


def _drift_free(a: Sequence[float], b: Sequence[float]) -> MeanEstimate:
    """Least squares on arm and order of launches, n - 3 degrees of freedom."""
    values: dict[str, list[float]] = {"A": list(a), "B": list(b)}
    order = abba(len(a))
    means = {arm: statistics.fmean(values[arm]) for arm in values}
    left = {arm: iter(values[arm]) for arm in values}
    residuals = [next(left[arm]) - means[arm] for arm in order]
    middle = (len(order) - 1) / 2
    times = [place - middle for place in range(len(order))]
    squares = math.fsum(t * t for t in times)
    slope = math.fsum(t * r for t, r in zip(times, residuals, strict=True)) / squares
    rest = math.fsum((r - slope * t) ** 2 for t, r in zip(times, residuals, strict=True))
    freedom = len(order) - 3
    error = math.sqrt(rest / freedom * (1 / len(a) + 1 / len(b)))
    return MeanEstimate(means["B"] - means["A"], error, freedom)


def _row(
    key: str,
    a: DeviceReport,
    b: DeviceReport,
    margin: float | None,
    judged: int,
    interleaved: bool,
) -> RatioRow:
    logs = report_logs(a, key), report_logs(b, key)
    found = difference(*logs, interleaved)
    mean = statistics.fmean(logs[1]) - statistics.fmean(logs[0])
    low, high = found.interval(CONFIDENCE) if found else (None, None)
    sign = 1 if LOWER_IS_BETTER[key] else -1
    gate = None
    if margin is not None:
        # Several rows may each raise a false alarm: together no more often than one alone.
        bounds = found.interval(1 - (1 - CONFIDENCE) / judged) if found else (mean, mean)
        gate = _gate(min(sign * x for x in bounds), max(sign * x for x in bounds), margin)
    return RatioRow(
        key=key,
        ratio=math.exp(mean),
        low=None if low is None else math.exp(low),
        high=None if high is None else math.exp(high),
        difference=_difference_word(low, high, sign),
        gate=gate,
    )


def _difference_word(low: float | None, high: float | None, sign: int) -> str:
    if low is None or high is None:
        return "unknown"
    if low <= 0 <= high:
        return "none seen"
    return "worse" if sign * low > 0 else "better"


def _gate(least_worse: float, most_worse: float, margin: float) -> str:
    """Bounds of the log factor by which B is worse, against the margin."""
    limit = math.log1p(margin)
    if least_worse > limit:
        return "regress"
    return "pass" if most_worse <= limit else "inconclusive"


def _outcome(gates: Sequence[str]) -> str:
    for word in ("regress", "inconclusive", "pass"):
        if word in gates:
            return word
    return "shown"


def _warnings(a: DeviceReport, b: DeviceReport) -> list[str]:
    warnings = [
        f"{report.bundle_name}: {reason}" for report in (a, b) for reason in report.validity_reasons
    ]
    engines = a.launches[0].engine, b.launches[0].engine
    if engines[0] != engines[1]:
        warnings.append(f"the engines differ: {engines[0]} and {engines[1]}")
    return list(dict.fromkeys(warnings))


def _device(report: DeviceReport) -> dict[str, object]:
    launch: LaunchRecord = report.launches[0]
    absent = Reading(None)
    facts = {key: launch.device.get(key, absent).value for key in SAME_DEVICE}
    return {"device": report.device_uri, "emulated": report.emulated, **facts}


def _row_key(report: DeviceReport) -> tuple[str, str, str]:
    protocol = report.protocol
    label = f"{protocol.label}, {protocol.threads} threads"
    return report.device_uri, report.protocol_fingerprint, label
