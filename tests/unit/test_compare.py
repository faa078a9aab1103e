"""Ratios of two reports, what is refused, and the gate over them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from made_reports import MACHINE, made_launch, made_report

from runtime_py.schema import Reading, ReportSet, dumps
from toolchain.errors import BadRequestError, InvalidMeasurementError
from toolchain.profiling.compare import (
    Comparison,
    RatioRow,
    abba,
    compare,
    difference,
    pair_reports,
)
from toolchain.profiling.comparison import comparison_table, gravest
from toolchain.profiling.output import file_text, flat_row, load_reports, render

STEADY = [1_000_000, 1_001_000, 999_000, 1_000_500, 999_500]


def _row(comparison: Comparison, key: str) -> RatioRow:
    return next(row for row in comparison.rows if row.key == key)


def test_the_ratio_and_its_direction() -> None:
    slower = [ns * 1.1 for ns in STEADY]
    comparison = compare(made_report(STEADY), made_report(slower, name="other"))
    decode, ttft = _row(comparison, "decode_tok_s"), _row(comparison, "ttft_ms")
    assert decode.ratio == pytest.approx(1 / 1.1, rel=1e-3)
    assert ttft.ratio == pytest.approx(1.1, rel=1e-3)
    assert decode.difference == ttft.difference == "worse"
    assert _row(comparison, "peak_rss_bytes").difference == "unknown"
    assert (comparison.outcome, comparison.exit_code) == ("shown", 0)
    back = compare(made_report(slower), made_report(STEADY))
    assert _row(back, "decode_tok_s").difference == "better"
    low, high = decode.low, decode.high
    assert low is not None
    assert high is not None
    other = _row(back, "decode_tok_s")
    assert other.low == pytest.approx(1 / high)
    assert other.high == pytest.approx(1 / low)


def test_welch_against_scipy() -> None:
    from scipy import stats

    a, b = [0.1, 0.12, 0.09, 0.2], [0.3, 0.1, 0.25, 0.28, 0.31, 0.2]
    found = difference(a, b, interleaved=False)
    assert found is not None
    interval = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    assert found.interval() == pytest.approx((interval.low, interval.high))


def test_abba_against_least_squares() -> None:
    import numpy as np

    a, b = [1.0, 1.4, 1.3, 1.9], [2.1, 2.2, 2.8, 2.6]
    order = abba(4)
    assert order == "ABBAABBA"
    left = {"A": iter(a), "B": iter(b)}
    values = np.array([next(left[arm]) for arm in order])
    design = np.column_stack([[1] * 8, [arm == "B" for arm in order], range(8)]).astype(float)
    solution, rest, _, _ = np.linalg.lstsq(design, values)
    error = math.sqrt(rest[0] / 5 * np.linalg.inv(design.T @ design)[1, 1])
    found = difference(a, b, interleaved=True)
    assert found is not None
    assert found.mean == pytest.approx(solution[1])
    assert found.standard_error == pytest.approx(error)
    assert found.degrees_of_freedom == 5


def test_one_launch_has_a_ratio_and_no_interval() -> None:
    row = _row(compare(made_report([1e6]), made_report([2e6])), "decode_tok_s")
    assert row.ratio == pytest.approx(0.5)
    assert (row.low, row.high, row.difference) == (None, None, "unknown")


@pytest.mark.parametrize(
    ("factor", "outcome", "code"),
    [(1.0, "pass", 0), (1.5, "regress", 1), (1.05, "inconclusive", 4)],
)
def test_the_gate(factor: float, outcome: str, code: int) -> None:
    candidate = made_report([ns * factor for ns in STEADY])
    comparison = compare(made_report(STEADY), candidate, margin=0.05)
    assert (comparison.outcome, comparison.exit_code) == (outcome, code)
    gates = {row.key for row in comparison.rows if row.gate is not None}
    assert gates == {"prefill_tok_s", "decode_tok_s", "ttft_ms", "peak_rss_bytes"}
    assert gravest([comparison, compare(made_report(STEADY), candidate)]) == code


def test_memory_alone_can_regress() -> None:
    fat = made_report(STEADY, rss=60_000_000)
    comparison = compare(made_report(STEADY), fat, margin=0.05)
    assert comparison.outcome == "regress"
    assert _row(comparison, "peak_rss_bytes").gate == "regress"
    text = comparison_table(comparison)
    assert "| peak_rss_bytes | 1.200 |  | unknown | regress |" in text
    assert "Regression: peak_rss_bytes worse by more than 5%." in text


def test_other_protocols_are_refused_and_named() -> None:
    a = made_report(STEADY)
    protocol = dataclasses.replace(a.protocol, threads=4)
    with pytest.raises(BadRequestError, match="protocols differ: threads is 1 and 4"):
        compare(a, dataclasses.replace(a, protocol=protocol))


@pytest.mark.parametrize(
    ("name", "value"), [("cpu_model", "Raspberry Pi 4 Model B"), ("memory_total_bytes", 4e9)]
)
def test_other_devices_are_refused_and_named(name: str, value: float | str) -> None:
    launch = dataclasses.replace(made_launch(1e6), device={**MACHINE, name: Reading(value)})
    a = made_report(STEADY)
    with pytest.raises(BadRequestError, match=f"devices differ: {name} is"):
        compare(a, dataclasses.replace(a, launches=[launch] * 5))
    with pytest.raises(BadRequestError, match="device is ssh:pi and ssh:other"):
        compare(a, dataclasses.replace(a, device_uri="ssh:other"))


def test_invalid_and_emulated_reports_are_refused() -> None:
    a = made_report(STEADY)
    bad = dataclasses.replace(a, validity="invalid", validity_reasons=["throttled"])
    with pytest.raises(InvalidMeasurementError, match="invalid: throttled") as caught:
        compare(a, bad)
    assert caught.value.exit_code == 5
    emulated = dataclasses.replace(a, emulated=True)
    with pytest.raises(BadRequestError, match="is emulated"):
        compare(emulated, emulated)


def test_what_was_suspect_is_repeated() -> None:
    suspect = made_report(STEADY, validity="suspect", validity_reasons=["it was warm"])
    assert compare(suspect, made_report(STEADY)).warnings == ["tiny: it was warm"]


def test_files_of_several_rows_are_paired_by_device_and_protocol(tmp_path: Path) -> None:
    one, two = made_report(STEADY), made_report(STEADY[:3])
    path = tmp_path / "a.json"
    path.write_text(file_text([one, two]))
    reports = load_reports(path)
    assert reports == [one, two]
    assert pair_reports(reports, [two, one]) == [(one, one), (two, two)]
    with pytest.raises(BadRequestError, match="not in the second file"):
        pair_reports(reports, [two])
    assert pair_reports([one], [two]) == [(one, two)], "single rows are compared, or refused"


def test_report_files(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(file_text([made_report(STEADY)]))
    assert load_reports(path) == [made_report(STEADY)]
    with pytest.raises(BadRequestError, match="cannot read the report"):
        load_reports(tmp_path / "absent.json")
    with pytest.raises(BadRequestError, match="is a folder, not a report"):
        load_reports(tmp_path)
    path.write_text("{")
    with pytest.raises(BadRequestError, match="is not JSON"):
        load_reports(path)
    path.write_text(dumps(ReportSet([])).replace("reports/1", "reports/9"))
    with pytest.raises(BadRequestError, match="schema"):
        load_reports(path)


def test_flat_rows_have_the_same_columns_whatever_was_measured() -> None:
    full, bare = made_report(STEADY), made_report(STEADY, summary={}, absent={})
    assert list(flat_row(full)) == list(flat_row(bare))
    assert flat_row(full)["decode_tok_s"] == pytest.approx(1000, rel=1e-3)
    assert flat_row(bare)["decode_tok_s"] is None
    text = render([full, bare], "csv").splitlines()
    assert len(text) == 3
    assert {line.count(",") for line in text} == {text[0].count(",")}
    assert len(render([full, bare], "jsonl").splitlines()) == 2
