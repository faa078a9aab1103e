"""From raw samples to medians with intervals, and whether to believe them.

Launches differ by more than repetitions within a launch do, so an interval comes from one mean
per launch (Student's t over launches), never from the pooled samples.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from runtime_py.schema import Estimate, LaunchRecord
from toolchain.statistics import sample_mean

NS_PER_MS = 1e6
NS_PER_S = 1e9

MOST_LAUNCH_CV = 0.05
"""A quiet machine repeats decode speed from launch to launch within about 2%."""
MOST_OTHER_WORK_CORES = 0.25
"""Cores' worth of other processes' work beside a launch."""
MOST_FREQUENCY_CHANGE = 0.1
"""Relative difference of the clock between launches that is more than its usual jitter."""

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


def summarize(launches: Sequence[LaunchRecord], prompt_tokens: int) -> dict[str, Estimate]:
    """Every row of a report, keyed as `runtime_py.schema.DeviceReport.summary` says.

    `peak_rss_bytes` is absent when a launch could not read it.

    Args:
        launches: at least one, each with at least one sample.
        prompt_tokens: tokens of the prefill.
    """
    metrics = _metrics(prompt_tokens)
    if any(launch.peak_rss_bytes is None for launch in launches):
        del metrics["peak_rss_bytes"]
    return {name: estimate(metric, launches) for name, metric in metrics.items()}


def estimate(metric: Metric, launches: Sequence[LaunchRecord]) -> Estimate:
    """One row: the centre of all values, and a 95% t-interval from the values of the launches.

    The interval is taken on the logarithm (times and rates vary by factors), so it is never below
    zero and the same for a time as for the rate that is its inverse.
    """
    groups = [list(metric.values(launch)) for launch in launches]
    low = high = None
    if len(groups) > 1:
        logs = [math.log(metric.launch_value(group)) for group in groups]
        low, high = map(math.exp, sample_mean(logs).interval())
    pooled = [value for group in groups for value in group]
    return Estimate(median=metric.centre(pooled), low=low, high=high, launches=len(groups))


def decode_tok_s(launch: LaunchRecord) -> list[float]:
    """Tokens per second of the decode steps, one value per sample."""
    return [len(s.token_ns) * NS_PER_S / sum(s.token_ns) for s in launch.samples]


def _metrics(prompt_tokens: int) -> dict[str, Metric]:
    metrics = {
        "load_warm_ms": Metric(lambda launch: [launch.load_ns / NS_PER_MS]),
        "ttft_ms": Metric(lambda launch: [s.ttft_ns / NS_PER_MS for s in launch.samples]),
        "prefill_tok_s": Metric(
            lambda launch: [prompt_tokens * NS_PER_S / s.prefill_ns for s in launch.samples]
        ),
        "decode_tok_s": Metric(decode_tok_s),
        "peak_rss_bytes": Metric(lambda launch: [float(launch.peak_rss_bytes or 0)]),
    }
    for percent in (50, 90, 99):
        metrics[f"itl_ms_p{percent}"] = _percentile_metric(percent)
    return metrics


def _percentile_metric(percent: float) -> Metric:
    def reduce(values: Sequence[float]) -> float:
        return percentile(values, percent)

    return Metric(
        lambda launch: [ns / NS_PER_MS for s in launch.samples for ns in s.token_ns],
        centre=reduce,
        launch_value=reduce,
    )


def judge(launches: Sequence[LaunchRecord], threads: int) -> tuple[str, list[str]]:
    """(`valid` or `suspect`, the reasons): what made these launches unlike each other.

    Args:
        launches: at least one.
        threads: compute threads of the engine.
    """
    reasons = [
        *_spread(launches),
        *_contention(launches, threads),
        *_changes(launches),
        *_clock(launches),
    ]
    return ("suspect" if reasons else "valid"), reasons


def _spread(launches: Sequence[LaunchRecord]) -> list[str]:
    if len(launches) < 2:
        return ["a single launch says nothing about the variation between launches"]
    means = [statistics.fmean(decode_tok_s(launch)) for launch in launches]
    variation = statistics.stdev(means) / statistics.fmean(means)
    if variation <= MOST_LAUNCH_CV:
        return []
    return [f"decode speed varies by {variation:.1%} between launches (over {MOST_LAUNCH_CV:.0%})"]


def _contention(launches: Sequence[LaunchRecord], threads: int) -> list[str]:
    """Other work on the machine; from the load average only where the kernel says nothing better.

    The load average looks back over a minute, so it also counts what ran before the launch.
    """
    cores = max(_numbers(launches, "cpu_count"), default=math.inf)
    if threads > cores:
        return [f"{threads} threads on {cores:g} cores"]
    others = _numbers(launches, "other_work_cores")
    loads = _numbers(launches, "load_average_1m")
    if others and max(others) > MOST_OTHER_WORK_CORES:
        return [f"other work kept {max(others):.1f} of {cores:g} cores busy"]
    if not others and loads and max(loads) > cores:
        return [f"the load average was {max(loads):.1f} on {cores:g} cores"]
    return []


def _changes(launches: Sequence[LaunchRecord]) -> list[str]:
    """Settings that must be the same in every launch."""
    reasons = []
    for name in ("governor", "cpu_frequency_max_hz"):
        seen = {str(launch.device[name].value) for launch in launches if name in launch.device}
        if len(seen) > 1:
            reasons.append(f"{name} changed between launches: {', '.join(sorted(seen))}")
    return reasons


def _clock(launches: Sequence[LaunchRecord]) -> list[str]:
    clocks = _numbers(launches, "cpu_frequency_hz")
    if not clocks or max(clocks) - min(clocks) <= MOST_FREQUENCY_CHANGE * max(clocks):
        return []
    low, high = min(clocks) / 1e6, max(clocks) / 1e6
    return [f"the clock changed between launches: {low:.0f} to {high:.0f} MHz"]


def _numbers(launches: Sequence[LaunchRecord], name: str) -> list[float]:
    readings = [launch.device[name].value for launch in launches if name in launch.device]
    return [value for value in readings if isinstance(value, float)]
