"""The two estimators against brute force and against their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.statistics import cluster_mean, sample_mean, t_quantile

VALUES = st.floats(-1e3, 1e3)


@given(st.lists(VALUES, min_size=2, max_size=30))
def test_sample_mean_is_numpys(values: list[float]) -> None:
    estimate = sample_mean(values)
    assert estimate.mean == pytest.approx(np.mean(values), abs=1e-9)
    expected = np.std(values, ddof=1) / math.sqrt(len(values))
    assert estimate.standard_error == pytest.approx(expected, abs=1e-9)


@given(st.lists(VALUES, min_size=2, max_size=30), st.integers(1, 50))
def test_clusters_of_equal_size_are_a_plain_mean(values: list[float], size: int) -> None:
    clustered = cluster_mean([v * size for v in values], [size] * len(values))
    plain = sample_mean(values)
    assert clustered.mean == pytest.approx(plain.mean, abs=1e-9)
    assert clustered.standard_error == pytest.approx(plain.standard_error, abs=1e-9)


@given(st.lists(st.tuples(VALUES, st.integers(1, 100)), min_size=2, max_size=30))
def test_clusters_do_not_depend_on_their_order(rows: list[tuple[float, int]]) -> None:
    forward = cluster_mean([s for s, _ in rows], [n for _, n in rows])
    backward = cluster_mean([s for s, _ in rows[::-1]], [n for _, n in rows[::-1]])
    assert forward == backward


def test_one_value_has_no_standard_error() -> None:
    with pytest.raises(ValueError, match="no standard error"):
        sample_mean([1.0])
    with pytest.raises(ValueError, match="no standard error"):
        cluster_mean([1.0], [3])


def test_t_quantiles_of_the_printed_tables() -> None:
    assert t_quantile(0.975, 1) == pytest.approx(12.706, abs=1e-3)
    assert t_quantile(0.975, 4) == pytest.approx(2.776, abs=1e-3)
    assert t_quantile(0.95, 120) == pytest.approx(1.658, abs=1e-3)
