"""Streaming statistics equal the two-pass ones, however the tokens are split."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.calibrate.stats import ProjectionStatistics

WIDTH, OUTPUTS = 5, 3
seeds = st.integers(0, 2**31)


def draw(seed: int, tokens: int, offset: float = 0.0) -> tuple[torch.Tensor, ...]:
    """X, T and D with correlated columns, and a mask with some padding."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(tokens, WIDTH, generator=generator) + offset
    inputs[:, 1] += inputs[:, 0]
    target = torch.randn(tokens, OUTPUTS, generator=generator)
    drift = torch.randn(tokens, OUTPUTS, generator=generator)
    mask = torch.rand(tokens, generator=generator) < 0.8
    mask[0] = True
    return inputs, target, drift, mask


def stream(parts: list[tuple[torch.Tensor, ...]]) -> ProjectionStatistics:
    """One pass over batches."""
    statistics = ProjectionStatistics.zeros(WIDTH, OUTPUTS)
    for inputs, target, drift, mask in parts:
        statistics.update_(inputs, target, drift, mask)
    return statistics


def assert_same(one: ProjectionStatistics, other: ProjectionStatistics) -> None:
    assert one.tokens == other.tokens
    for name in ("gram", "input_sum", "target_cross", "target_sum", "drift_cross", "drift_sum"):
        torch.testing.assert_close(
            getattr(one, name), getattr(other, name), atol=1e-3, rtol=1e-4, msg=name
        )


@settings(deadline=None, max_examples=60)
@given(seeds, st.lists(st.integers(1, 39), max_size=6, unique=True), st.randoms())
def test_any_split_in_any_order_gives_the_two_pass_sums(seed, cuts, rng) -> None:  # type: ignore[no-untyped-def]
    data = draw(seed, 40)
    bounds = [0, *sorted(cuts), 40]
    parts = [tuple(t[a:b] for t in data) for a, b in itertools.pairwise(bounds)]
    rng.shuffle(parts)
    found = stream(parts)
    inputs, target, drift, mask = data
    x, t, d = (v[mask].double() for v in (inputs, target, drift))
    expected = ProjectionStatistics(
        x.T @ x, x.sum(0), x.T @ t, t.sum(0), x.T @ d, d.sum(0), int(mask.sum())
    )
    assert_same(found.in_float64(), expected)
    merged = ProjectionStatistics.zeros(WIDTH, OUTPUTS)
    for part in parts:
        merged = merged.merge(stream([part]))
    assert_same(merged, found)


@settings(deadline=None, max_examples=60)
@given(seeds, st.floats(-30, 30), st.integers(1, 40))
def test_variance_does_not_depend_on_the_number_of_batches(
    seed: int, offset: float, size: int
) -> None:
    inputs, target, drift, mask = draw(seed, 40, offset)
    parts = [
        tuple(t[i : i + size] for t in (inputs, target, drift, mask)) for i in range(0, 40, size)
    ]
    found = stream(parts).in_float64()
    x = inputs[mask].double().numpy()
    # Rounding of float32 sums grows with the square of the mean.
    tolerance = 1e-5 * (1 + offset**2)
    np.testing.assert_allclose(found.variance.numpy(), x.var(axis=0), atol=tolerance)


@given(seeds)
@settings(deadline=None, max_examples=30)
def test_padding_never_counts(seed: int) -> None:
    inputs, target, drift, mask = draw(seed, 12)
    shape = (3, 4)
    batch = [t.reshape(*shape, -1) for t in (inputs, target, drift)]
    found = stream([(*batch, mask.reshape(shape))])
    spoiled = [t.clone() for t in batch]
    for tensor in spoiled:
        tensor[~mask.reshape(shape)] = 1e6
    assert_same(stream([(*spoiled, mask.reshape(shape))]), found)
