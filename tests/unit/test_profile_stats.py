"""Rows and verdicts of a report, from launches whose every number is known."""

from __future__ import annotations

import dataclasses
import math

import pytest

from runtime_py.schema import (
    DeviceReport,
    LaunchRecord,
    MemoryPrediction,
    Protocol,
    Reading,
    Sample,
)
from toolchain.profiling.stats import percentile, summarize
from toolchain.profiling.table import report_table, rows_table
from toolchain.profiling.validity import judge

QUIET = {
    "cpu_model": Reading("Raspberry Pi 5 Model B"),
    "cpu_count": Reading(4.0),
    "governor": Reading("performance"),
    "cpu_frequency_hz": Reading(2.4e9),
    "cpu_frequency_max_hz": Reading(2.4e9),
    "load_average_1m": Reading(0.5),
    "other_work_cores": Reading(0.02),
}


def _launch(
    token_ms: tuple[tuple[int, ...], ...] = ((10, 10),),
    rss: int | None = 50_000_000,
    **facts: Reading,
) -> LaunchRecord:
    samples = [Sample(20_000_000, 21_000_000, [ms * 10**6 for ms in token]) for token in token_ms]
    return LaunchRecord(
        3_000_000, samples, rss, "onnxruntime", {"onnxruntime": "1.2"}, {**QUIET, **facts}
    )


def test_percentiles() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert [percentile(values, p) for p in (0, 50, 100)] == [1.0, 2.5, 4.0]
    assert percentile(values, 90) == pytest.approx(3.7)
    assert percentile([7.0], 99) == 7.0


def test_summary_of_two_launches() -> None:
    launches = [_launch(((10, 10), (10, 20))), _launch(((20, 20), (40, 40)), rss=60_000_000)]
    summary = summarize(launches, [], prompt_tokens=100).rows
    assert set(summary) == {
        "load_warm_ms",
        "ttft_ms",
        "prefill_tok_s",
        "decode_tok_s",
        "itl_ms_p50",
        "itl_ms_p90",
        "itl_ms_p99",
    }
    assert summary["load_warm_ms"].median == 3.0
    assert summary["ttft_ms"].median == 21.0
    assert summary["prefill_tok_s"].median == pytest.approx(5000)
    decode = summary["decode_tok_s"]
    # Samples: 100, 66.7 | 50, 25 tokens/s; launch means 83.3 and 37.5.
    assert decode.median == pytest.approx((200 / 3 + 50) / 2)
    mean, factor = math.sqrt(250 / 3 * 37.5), (250 / 3 / 37.5) ** (12.706 / 2)
    assert decode.low == pytest.approx(mean / factor, rel=1e-3)
    assert decode.high == pytest.approx(mean * factor, rel=1e-3)
    assert decode.launches == 2
    # Token times: 10 10 10 20 | 20 20 40 40 milliseconds, pooled.
    assert summary["itl_ms_p50"].median == 20
    assert summary["itl_ms_p99"].median == pytest.approx(40)


def test_equal_launches_have_an_interval_of_no_width() -> None:
    estimate = summarize([_launch()] * 3, [], 1).rows["ttft_ms"]
    assert (estimate.low, estimate.median, estimate.high) == (21.0, 21.0, 21.0)


def test_one_launch_has_no_interval() -> None:
    for estimate in summarize([_launch()], [], 1).rows.values():
        assert (estimate.low, estimate.high, estimate.launches) == (None, None, 1)


def _extra(phase: str, **changes: object) -> LaunchRecord:
    return dataclasses.replace(_launch(), phase=phase, **changes)


def test_rows_that_nobody_asked_for_say_so() -> None:
    absent = summarize([_launch()], [], 1).absent
    assert absent["load_cold_ms"] == "not asked for"
    assert absent["peak_rss_bytes"] == "not asked for"
    assert absent["sustained_ratio"] == "not asked for"
    assert "was not read" in absent["energy_mj_per_token"]


def test_cold_loads_count_only_where_the_cache_was_cold() -> None:
    gone, stayed = Reading(0.0), Reading(0.4)
    cold = [_extra("cold", load_ns=ns, device={"page_cache_resident": gone}) for ns in (4, 6)]
    rows = summarize([_launch()], cold, 1).rows
    assert rows["load_cold_ms"].median == pytest.approx(5e-6)
    assert rows["load_cold_ms"].launches == 2
    warm = [*cold, _extra("cold", device={"page_cache_resident": stayed})]
    found = summarize([_launch()], warm, 1)
    assert "load_cold_ms" not in found.rows
    assert found.absent["load_cold_ms"] == "40% of the model stayed in the page cache"
    unknown = [_extra("cold", device={"page_cache_resident": Reading(None, "no mincore")})]
    assert summarize([_launch()], unknown, 1).absent["load_cold_ms"] == "no mincore"


def test_memory_is_that_of_its_own_launch() -> None:
    memory = _extra(
        "memory", peak_rss_bytes=9, pss_bytes=8, anon_bytes=5, file_bytes=None, samples=[]
    )
    found = summarize([_launch(rss=1)], [memory], 1)
    assert found.rows["peak_rss_bytes"].median == 9
    assert found.rows["peak_pss_bytes"].median == 8
    assert found.rows["anonymous_bytes"].median == 5
    assert found.absent["file_mapped_bytes"] == "the kernel does not say"


def test_energy_is_per_generated_token() -> None:
    launch = _launch(((10, 10), (10, 10)), launch_energy_joules=Reading(2.0))
    assert summarize([launch], [], 1).rows["energy_mj_per_token"].median == 500
    still = _launch(launch_energy_joules=Reading(0.0))
    assert "did not move" in summarize([still], [], 1).absent["energy_mj_per_token"]


def test_sustained_compares_the_last_minute_with_the_first() -> None:
    second = 10**9
    # A token takes 100 ms for five minutes, then 125 ms for another five; one sample per second.
    samples = [
        Sample(1, 1, [100_000_000 if at < 300 else 125_000_000] * 8, at * second)
        for at in range(600)
    ]
    rows = summarize([_launch()], [_extra("sustained", samples=samples)], 1).rows
    assert rows["sustained_decode_tok_s"].median == pytest.approx(8)
    assert rows["sustained_ratio"].median == pytest.approx(0.8)
    short = summarize([_launch()], [_extra("sustained", samples=samples[299:302])], 1).rows
    assert 0.8 <= short["sustained_ratio"].median <= 1


def _report(launches: list[LaunchRecord], **changes: object) -> DeviceReport:
    protocol = Protocol(launches=len(launches))
    memory = _extra("memory", peak_rss_bytes=50_000_000)
    found = summarize(launches, [memory], 128)
    validity, reasons = judge(launches, 1)
    report = DeviceReport(
        bundle_name="tiny",
        bundle_sha256="0" * 64,
        backend="onnx",
        quantization="none",
        model_file_bytes=9_600_000,
        device_uri="local",
        protocol=protocol,
        protocol_fingerprint=protocol.fingerprint,
        launches=launches,
        extra_launches=[memory],
        summary=found.rows,
        absent=found.absent,
        predicted_memory=MemoryPrediction(9_000_000, 500_000, 100_000, runtime_bytes=40_000_000),
        memory_error=-0.008,
        validity=validity,
        validity_reasons=reasons,
        emulated=False,
        created_at="2025-01-01T00:00:00+00:00",
        paredown_version="0",
    )
    return dataclasses.replace(report, **changes)


def test_the_table() -> None:
    text = report_table(_report([_launch(), _launch(((10, 11),))]))
    lines = text.splitlines()
    assert "**tiny** on local, Raspberry Pi 5 Model B: onnxruntime 1.2, 9.6 MB" in lines[0]
    assert "2 launches of 5" in lines[0]
    cells = {line.split("|")[1].strip(): line for line in lines if line.startswith("|")}
    assert "| pp128 | 6,400 | 6,400 to 6,400 | tok/s |" in lines
    assert "| time to first token | 21.0 | 21.0 to 21.0 | ms |" in lines
    assert "| peak RSS | 50.0 |  | MB |" in lines
    low, high = map(float, cells["tg64"].split("|")[3].split(" to "))
    # Launch means 100 and 95.24 tokens/s: the log interval is t(0.975, 1) · log(ratio) / 2 wide.
    assert high / low == pytest.approx((100 / (2000 / 21)) ** 12.706, rel=0.02)
    assert "Predicted peak: 49.6 MB, -0.8% from the measured one." in lines
    assert "0.94 GB/s" in text
    assert "No energy_mj_per_token: it was not read." in lines
    assert "Validity: valid" in lines[-1]
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert widths == {5}, "one Markdown table"
    assert "last minute" not in text, "what was not asked for is left out"


def test_the_table_shows_what_is_not_known() -> None:
    text = report_table(_report([_launch()], absent={}, summary={}))
    assert "| peak RSS | not available |  | MB |" in text
    text = report_table(_report([_launch()]))
    assert "| time to first token | 21.0 |  | ms |" in text
    assert "Validity: suspect" in text
    assert "- a single launch" in text


def test_one_table_for_several_rows() -> None:
    reports = [_report([_launch(), _launch(((10, 11),))]), _report([_launch()])]
    lines = rows_table(reports).splitlines()
    assert len([line for line in lines if line.startswith("| local |")]) == 2
    assert "| local | tiny onnx none | pp128+tg64 | 1 | 6,400 ± 0.00 |" in lines[2]
    assert "| 6,400 | 100.0 |" in lines[3].replace("100 |", "100.0 |")
    assert lines[-1].startswith("- local, pp128+tg64, 1 threads: a single launch")


def test_an_emulators_numbers_are_never_shown() -> None:
    report = _report([_launch()] * 2, emulated=True)
    for text in (report_table(report), rows_table([report, report])):
        assert "6,400" not in text
        assert "50.0" not in text
        assert "GB/s" not in text
        assert "emulated" in text
