"""From raw samples to medians with intervals.

Launches differ by more than repetitions within a launch do, so an interval comes from one mean
per launch (Student's t over launches), never from the pooled samples.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from runtime_py.schema import DeviceReport, Estimate, LaunchRecord, Reading, Sample
from toolchain.statistics import sample_mean

NS_PER_MS = 1e6
NS_PER_S = 1e9

MOST_RESIDENT = 0.05
"""Share of the model's pages in the page cache up to which a load counts as cold."""

Reduce = Callable[[Sequence[float]], float]


@dataclass(frozen=True)
class Metric:
    """How one row is computed: values of a launch, then one number of all and of each launch."""

    values: Callable[[LaunchRecord], Iterable[float]]
    centre: Reduce = statistics.median
    launch_value: Reduce = statistics.fmean


def percentile(values: Sequence[float], percent: float) -> float:
    """Percentile by linear interpolation between order statistics (numpy's default).

    Args:
        values: at least one.
        percent: 0 to 100.
    """
    ordered = sorted(values)
    place = percent / 100 * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@dataclass(frozen=True)
class Summary:
    """Every row of a report, keyed as `DeviceReport.summary` says, and why others are absent."""

    rows: dict[str, Estimate]
    absent: dict[str, str]


def summarize(
    launches: Sequence[LaunchRecord], extra: Sequence[LaunchRecord], prompt_tokens: int
) -> Summary:
    """Rows of the timed launches and of the extra ones.

    Args:
        launches: of phase `time`; at least one, each with at least one sample.
        extra: of the other phases, any number.
        prompt_tokens: tokens of the prefill.
    """
    rows = {name: estimate(m, launches) for name, m in _timing_metrics(prompt_tokens).items()}
    absent: dict[str, str] = {}
    for found in (_cold(extra), _memory(extra), _energy(launches), _sustained(extra)):
        rows |= found.rows
        absent |= found.absent
    return Summary(rows, absent)


def estimate(metric: Metric, launches: Sequence[LaunchRecord]) -> Estimate:
    """One row: the centre of all values, and a 95% t-interval from the values of the launches.

    The interval is taken on the logarithm (times and rates vary by factors), so it is never below
    zero and the same for a time as for the rate that is its inverse.
    """
    low = high = None
    if len(launches) > 1:
        low, high = map(math.exp, sample_mean(launch_logs(metric, launches)).interval())
    pooled = [value for launch in launches for value in metric.values(launch)]
    return Estimate(median=metric.centre(pooled), low=low, high=high, launches=len(launches))


def launch_logs(metric: Metric, launches: Sequence[LaunchRecord]) -> list[float]:
    """The logarithm of each launch's own value."""
    return [math.log(metric.launch_value(list(metric.values(launch)))) for launch in launches]


def report_logs(report: DeviceReport, key: str) -> list[float]:
    """The logarithms behind a row of a report, one per launch; none where it is absent."""
    if key not in report.summary:
        return []
    if key == "load_cold_ms":
        cold = [launch for launch in report.extra_launches if launch.phase == "cold"]
        return launch_logs(LOAD_MS, cold)
    metrics = _timing_metrics(report.protocol.prompt_tokens)
    if key in metrics:
        return launch_logs(metrics[key], report.launches)
    return [math.log(report.summary[key].median)]


def decode_tok_s(launch: LaunchRecord) -> list[float]:
    """Tokens per second of the decode steps, one value per sample."""
    return [len(s.token_ns) * NS_PER_S / sum(s.token_ns) for s in launch.samples]


def _timing_metrics(prompt_tokens: int) -> dict[str, Metric]:
    metrics = {
        "load_warm_ms": LOAD_MS,
        "ttft_ms": Metric(lambda launch: [s.ttft_ns / NS_PER_MS for s in launch.samples]),
        "prefill_tok_s": Metric(
            lambda launch: [prompt_tokens * NS_PER_S / s.prefill_ns for s in launch.samples]
        ),
        "decode_tok_s": Metric(decode_tok_s),
    }
    for percent in (50, 90, 99):
        metrics[f"itl_ms_p{percent}"] = _percentile_metric(percent)
    return metrics


LOAD_MS = Metric(lambda launch: [launch.load_ns / NS_PER_MS])


def _cold(extra: Sequence[LaunchRecord]) -> Summary:
    """Loads from a page cache that had lost the model, as far as the kernel confirms it."""
    launches = [launch for launch in extra if launch.phase == "cold"]
    if not launches:
        return Summary({}, {"load_cold_ms": "not asked for"})
    for launch in launches:
        resident = launch.device.get("page_cache_resident", Reading(None, "it was not checked"))
        if not isinstance(resident.value, float):
            return Summary({}, {"load_cold_ms": resident.reason})
        if resident.value > MOST_RESIDENT:
            left = f"{resident.value:.0%} of the model stayed in the page cache"
            return Summary({}, {"load_cold_ms": left})
    return Summary({"load_cold_ms": estimate(LOAD_MS, launches)}, {})


def _memory(extra: Sequence[LaunchRecord]) -> Summary:
    launches = [launch for launch in extra if launch.phase == "memory"]
    fields = {
        "peak_rss_bytes": "peak_rss_bytes",
        "peak_pss_bytes": "pss_bytes",
        "anonymous_bytes": "anon_bytes",
        "file_mapped_bytes": "file_bytes",
    }
    rows, absent = {}, {}
    for row, name in fields.items():
        values = [getattr(launch, name) for launch in launches]
        if values and None not in values:
            rows[row] = Estimate(float(statistics.median(values)), None, None, len(values))
        else:
            absent[row] = "the kernel does not say" if launches else "not asked for"
    return Summary(rows, absent)


def _energy(launches: Sequence[LaunchRecord]) -> Summary:
    """Energy of the repetitions, prompts included, per generated token."""
    for launch in launches:
        reading = launch.device.get("launch_energy_joules", Reading(None, "it was not read"))
        if not isinstance(reading.value, float) or reading.value <= 0:
            reason = reading.reason or "the meter did not move"
            return Summary({}, {"energy_mj_per_token": reason})
    return Summary({"energy_mj_per_token": estimate(Metric(_millijoules), launches)}, {})


def _millijoules(launch: LaunchRecord) -> list[float]:
    joules = launch.device["launch_energy_joules"].value
    tokens = sum(len(sample.token_ns) for sample in launch.samples)
    return [1e3 * joules / tokens] if isinstance(joules, float) else []


def _sustained(extra: Sequence[LaunchRecord]) -> Summary:
    """Decode speed of a launch without pauses: its last minute, alone and over its first."""
    names = ("sustained_decode_tok_s", "sustained_ratio")
    launches = [launch for launch in extra if launch.phase == "sustained"]
    if not launches:
        return Summary({}, dict.fromkeys(names, "not asked for"))
    first, last = _edges(launches[0].samples)
    values = (last, last / first)
    return Summary({n: Estimate(v, None, None, 1) for n, v in zip(names, values, strict=True)}, {})


def _edges(samples: Sequence[Sample]) -> tuple[float, float]:
    """Decode tokens per second of the samples that began in the first and in the last minute.

    Of a run under three minutes: in the first and the last third.
    """
    start, end = samples[0].start_ns, samples[-1].end_ns
    window = min(60 * NS_PER_S, (end - start) / 3)
    first = [s for s in samples if s.start_ns <= start + window]
    last = [s for s in samples if s.start_ns >= end - window] or [samples[-1]]
    return _pooled_tok_s(first), _pooled_tok_s(last)


def _pooled_tok_s(samples: Sequence[Sample]) -> float:
    tokens = sum(len(sample.token_ns) for sample in samples)
    return tokens * NS_PER_S / sum(sum(sample.token_ns) for sample in samples)


def _percentile_metric(percent: float) -> Metric:
    def reduce(values: Sequence[float]) -> float:
        return percentile(values, percent)

    return Metric(
        lambda launch: [ns / NS_PER_MS for s in launch.samples for ns in s.token_ns],
        centre=reduce,
        launch_value=reduce,
    )
