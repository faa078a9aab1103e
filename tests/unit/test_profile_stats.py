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
from toolchain.profiling.stats import judge, percentile, summarize
from toolchain.profiling.table import report_table

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
    summary = summarize(launches, prompt_tokens=100)
    assert set(summary) == {
        "load_warm_ms",
        "ttft_ms",
        "prefill_tok_s",
        "decode_tok_s",
        "itl_ms_p50",
        "itl_ms_p90",
        "itl_ms_p99",
        "peak_rss_bytes",
    }
    assert summary["load_warm_ms"].median == 3.0
    assert summary["ttft_ms"].median == 21.0
    assert summary["prefill_tok_s"].median == pytest.approx(5000)
    assert summary["peak_rss_bytes"].median == 55_000_000
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
    estimate = summarize([_launch()] * 3, 1)["ttft_ms"]
    assert (estimate.low, estimate.median, estimate.high) == (21.0, 21.0, 21.0)


def test_one_launch_has_no_interval() -> None:
    for estimate in summarize([_launch()], 1).values():
        assert (estimate.low, estimate.high, estimate.launches) == (None, None, 1)


def test_memory_that_was_not_read_is_absent_not_zero() -> None:
    assert "peak_rss_bytes" not in summarize([_launch(), _launch(rss=None)], 1)


def test_quiet_launches_are_valid() -> None:
    assert judge([_launch()] * 3, threads=1) == ("valid", [])


def test_launches_without_sensors_are_valid_when_they_agree() -> None:
    bare = dataclasses.replace(_launch(), device={})
    assert judge([bare, bare], threads=1) == ("valid", [])


@pytest.mark.parametrize(
    ("second", "threads", "words"),
    [
        (_launch(((12, 12),)), 1, "decode speed varies by 12.9% between launches"),
        (_launch(governor=Reading("powersave")), 1, "governor changed between launches"),
        (_launch(cpu_frequency_max_hz=Reading(1.5e9)), 1, "cpu_frequency_max_hz changed"),
        (
            _launch(cpu_frequency_hz=Reading(1.5e9)),
            1,
            "clock changed between launches: 1500 to 2400",
        ),
        (_launch(other_work_cores=Reading(1.3)), 1, "other work kept 1.3 of 4 cores busy"),
        (_launch(), 5, "5 threads on 4 cores"),
    ],
)
def test_what_makes_launches_suspect(second: LaunchRecord, threads: int, words: str) -> None:
    validity, reasons = judge([_launch(), second], threads)
    assert validity == "suspect"
    assert len(reasons) == 1
    assert words in reasons[0]


def test_a_single_launch_is_suspect() -> None:
    validity, reasons = judge([_launch()], threads=1)
    assert validity == "suspect"
    assert "single launch" in reasons[0]


def test_the_load_average_counts_only_where_nothing_better_is_known() -> None:
    loaded = Reading(9.0)
    absent = Reading(None, "no /proc/stat")
    assert judge([_launch(load_average_1m=loaded)] * 2, 1)[0] == "valid"
    fallback = [_launch(load_average_1m=loaded, other_work_cores=absent)] * 2
    validity, reasons = judge(fallback, 1)
    assert validity == "suspect"
    assert reasons == ["the load average was 9.0 on 4 cores"]


def _report(launches: list[LaunchRecord]) -> DeviceReport:
    protocol = Protocol(launches=len(launches))
    validity, reasons = judge(launches, 1)
    return DeviceReport(
        bundle_name="tiny",
        bundle_sha256="0" * 64,
        backend="onnx",
        quantization="none",
        model_file_bytes=9_600_000,
        device_uri="local",
        protocol=protocol,
        protocol_fingerprint=protocol.fingerprint,
        launches=launches,
        summary=summarize(launches, 128),
        predicted_memory=MemoryPrediction(9_000_000, 500_000, 100_000),
        validity=validity,
        validity_reasons=reasons,
        emulated=False,
        created_at="2025-01-01T00:00:00+00:00",
        paredown_version="0",
    )


def test_the_table() -> None:
    text = report_table(_report([_launch(), _launch(((10, 11),))]))
    lines = text.splitlines()
    assert "**tiny** on local, Raspberry Pi 5 Model B: onnxruntime 1.2, 9.6 MB" in lines[0]
    assert "2 launches of 3" in lines[0]
    cells = {line.split("|")[1].strip(): line for line in lines if line.startswith("|")}
    assert "| pp128 | 6,400 | 6,400 to 6,400 | tok/s |" in lines
    assert "| time to first token | 21.0 | 21.0 to 21.0 | ms |" in lines
    assert "| peak RSS | 50.0 | 50.0 to 50.0 | MB |" in lines
    low, high = map(float, cells["tg64"].split("|")[3].split(" to "))
    # Launch means 100 and 95.24 tokens/s: the log interval is t(0.975, 1) · log(ratio) / 2 wide.
    assert high / low == pytest.approx((100 / (2000 / 21)) ** 12.706, rel=0.02)
    assert "9.6 MB" in lines[-2]
    assert "Validity: valid" in lines[-1]
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert widths == {5}, "one Markdown table"


def test_the_table_shows_what_is_not_known() -> None:
    text = report_table(_report([_launch(rss=None)]))
    assert "| peak RSS | not available |  | MB |" in text
    assert "| time to first token | 21.0 |  | ms |" in text
    assert "Validity: suspect" in text
    assert "- a single launch" in text
