"""Comparisons against known truth: how often they cry wolf, and what drift does to them."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.profiling.compare import abba, difference

BETWEEN_CV = 0.02
WITHIN_CV = 0.005
REPETITIONS = 5


def _launch_log(rng: random.Random, level: float = 1.0) -> float:
    """The log mean of a launch that happened to get a speed of its own."""
    own = level * (1 + BETWEEN_CV * rng.gauss(0, 1))
    values = [own * (1 + WITHIN_CV * rng.gauss(0, 1)) for _ in range(REPETITIONS)]
    return math.log(statistics.fmean(values))


def _turns(rng: random.Random, launches: int, drift: float) -> tuple[list[float], list[float]]:
    """A and B, equally fast, in turns on a machine that slows down by `drift` over the run."""
    order = abba(launches)
    values: dict[str, list[float]] = {"A": [], "B": []}
    for place, arm in enumerate(order):
        level = 1 + drift * place / (len(order) - 1)
        values[arm].append(_launch_log(rng, level))
    return values["A"], values["B"]


def _alarms(interleaved: bool, drift: float, trials: int = 1500, launches: int = 6) -> float:
    rng = random.Random(5)  # noqa: S311
    alarms = 0
    for _ in range(trials):
        if interleaved:
            a, b = _turns(rng, launches, drift)
        else:
            a, b = ([_launch_log(rng) for _ in range(5)] for _ in "ab")
        found = difference(a, b, interleaved)
        assert found is not None
        low, high = found.interval()
        alarms += not low <= 0 <= high
    return alarms / trials


@pytest.mark.parametrize(("interleaved", "drift"), [(False, 0.0), (True, 0.0), (True, -0.06)])
def test_equal_bundles_raise_an_alarm_in_five_of_a_hundred(interleaved: bool, drift: float) -> None:
    # Binomial standard error 0.56%: 6.5% is less than three of them above 5%.
    assert _alarms(interleaved, drift) <= 0.065


@given(st.floats(-0.06, 0.06), st.integers(1, 5), st.floats(0.5, 2))
def test_turns_cancel_a_linear_drift(drift: float, blocks: int, ratio: float) -> None:
    launches = 2 * blocks
    order = abba(launches)
    values: dict[str, list[float]] = {"A": [], "B": []}
    for place, arm in enumerate(order):
        level = math.log(ratio if arm == "B" else 1.0)
        values[arm].append(level + drift * place)
    found = difference(values["A"], values["B"], interleaved=True)
    assert found is not None
    assert found.mean == pytest.approx(math.log(ratio), abs=1e-9)
    assert found.standard_error == pytest.approx(0, abs=1e-6)


def test_six_per_cent_of_drift_bias_turns_by_less_than_a_third_of_one() -> None:
    """Linear in time, so not quite linear in the logarithm."""
    for launches in (2, 6, 10):
        order = abba(launches)
        values: dict[str, list[float]] = {"A": [], "B": []}
        for place, arm in enumerate(order):
            values[arm].append(math.log(1 - 0.06 * place / (len(order) - 1)))
        bias = statistics.fmean(values["B"]) - statistics.fmean(values["A"])
        assert abs(math.expm1(bias)) < 0.003
    half = len(order) // 2
    levels = [math.log(1 - 0.06 * place / (len(order) - 1)) for place in range(len(order))]
    one_after_the_other = statistics.fmean(levels[half:]) - statistics.fmean(levels[:half])
    assert abs(math.expm1(one_after_the_other)) > 0.025
