"""The 95% interval from launch means covers the truth as often as it says; pooling does not."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_py.schema import LaunchRecord, Sample
from toolchain.profiling.stats import percentile, summarize
from toolchain.statistics import sample_mean

BETWEEN_CV = 0.02
WITHIN_CV = 0.005
TRUE_TOKEN_NS = 1e6
STEPS = 8


def _launch(rng: random.Random, repetitions: int) -> LaunchRecord:
    """Token times around a speed that this launch happened to get."""
    level = TRUE_TOKEN_NS * (1 + BETWEEN_CV * rng.gauss(0, 1))
    samples = []
    for _ in range(repetitions):
        token_ns = round(level * (1 + WITHIN_CV * rng.gauss(0, 1)))
        samples.append(Sample(1000, 1001, [token_ns] * STEPS))
    return LaunchRecord(1, samples, None, "fake", {}, {})


def _coverage(launches: int, repetitions: int, trials: int) -> float:
    rng = random.Random(11)  # noqa: S311
    covered = 0
    for _ in range(trials):
        records = [_launch(rng, repetitions) for _ in range(launches)]
        estimate = summarize(records, [], prompt_tokens=1).rows["itl_ms_p50"]
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= TRUE_TOKEN_NS / 1e6 <= estimate.high
    return covered / trials


def test_five_launches_cover_the_truth() -> None:
    coverage = _coverage(launches=5, repetitions=5, trials=1500)
    # Binomial standard error 0.6%: 93% is three of them below 95%.
    assert 0.93 <= coverage <= 0.97, coverage


def test_pooled_repetitions_of_one_launch_would_not() -> None:
    """Why intervals never come from pooled samples."""
    rng = random.Random(12)  # noqa: S311
    covered = 0
    for _ in range(500):
        record = _launch(rng, repetitions=25)
        low, high = sample_mean([s.token_ns[0] for s in record.samples]).interval()
        covered += low <= TRUE_TOKEN_NS <= high
    assert covered / 500 < 0.5


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=30),
    st.floats(0, 100),
    st.floats(0, 100),
)
def test_percentiles_are_ordered_and_inside(values: list[float], p: float, q: float) -> None:
    low, high = sorted((p, q))
    slack = 1e-6 * max(map(abs, values))
    assert min(values) - slack <= percentile(values, low)
    assert percentile(values, low) <= percentile(values, high) + slack
    assert percentile(values, high) <= max(values) + slack
    assert percentile(values, 50) == pytest.approx(statistics.median(values), abs=slack + 1e-12)


@given(st.lists(st.floats(0.1, 1e6), min_size=2, max_size=20), st.integers(1, 99))
def test_percentile_is_the_inclusive_quantile(values: list[float], percent: int) -> None:
    assert percentile(values, percent) == pytest.approx(_inclusive(values, percent))


def _inclusive(values: Sequence[float], percent: int) -> float:
    """The stdlib's own inclusive quantile, the same definition."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


@given(st.lists(st.floats(1, 1e6), min_size=2, max_size=8), st.floats(0.1, 10))
def test_intervals_scale_with_the_unit(means: list[float], factor: float) -> None:
    low, high = sample_mean(means).interval()
    scaled_low, scaled_high = sample_mean([m * factor for m in means]).interval()
    tolerance = 1e-6 * max(means) * max(factor, 1)
    assert math.isclose(scaled_low, low * factor, rel_tol=1e-6, abs_tol=tolerance)
    assert math.isclose(scaled_high, high * factor, rel_tol=1e-6, abs_tol=tolerance)
