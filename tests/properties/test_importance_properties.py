"""Importance metrics: closed forms against brute force, order, and symmetry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain import registry
from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.pruning.importance.condition import DAMPING

WIDTH, OUTPUTS, TOKENS = 6, 4, 50
METRICS = sorted(set(registry.METHODS["importance"]) - set(registry.GRADIENT_IMPORTANCE))
seeds = st.integers(0, 2**31)


def draw(seed: int) -> tuple[torch.Tensor, torch.Tensor, ProjectionStatistics]:
    """X with correlated columns of very different scales, W, and the statistics."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(TOKENS, WIDTH, generator=generator, dtype=torch.float64)
    mix = torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64)
    scales = 10 ** torch.linspace(-1, 1, WIDTH, dtype=torch.float64)
    inputs = (inputs @ mix) * scales + 0.3
    weight = torch.randn(WIDTH, OUTPUTS, generator=generator, dtype=torch.float64)
    empty = ProjectionStatistics.zeros(WIDTH, OUTPUTS)
    statistics = replace(
        empty, gram=inputs.T @ inputs, input_sum=inputs.sum(0), tokens=TOKENS
    ).in_float64()
    return inputs, weight, statistics


def score(name: str, statistics: ProjectionStatistics, weight: torch.Tensor, block: int = 1):  # type: ignore[no-untyped-def]
    return registry.resolve("importance", name)(statistics, weight, block)


def damped(inputs: torch.Tensor) -> np.ndarray:  # type: ignore[type-arg]
    """X with rows below it whose Gram matrix is the damping: the ridge as data."""
    ridge = np.sqrt(DAMPING) * np.diag(np.linalg.norm(inputs.numpy(), axis=0))
    return np.vstack([inputs.numpy(), ridge])


@pytest.mark.parametrize("block", [1, 2, 3])
@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_condition_is_the_error_after_a_refit(block: int, seed: int) -> None:
    inputs, weight, statistics = draw(seed)
    x, w = damped(inputs), weight.numpy()
    expected = []
    for start in range(0, WIDTH, block):
        rest = np.delete(x, np.s_[start : start + block], axis=1)
        target = x @ w
        fit = np.linalg.lstsq(rest, target, rcond=None)[0]
        expected.append(np.square(target - rest @ fit).sum())
    found = score("condition", statistics, weight, block)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("block", [1, 2, 3])
@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_condition_mask_is_the_error_after_rescaling(block: int, seed: int) -> None:
    inputs, weight, statistics = draw(seed)
    x, w = damped(inputs), weight.numpy()
    # One column per neuron: its contribution to all outputs, flattened.
    parts = np.stack([np.outer(x[:, j], w[j]).ravel() for j in range(WIDTH)], axis=1)
    target = parts.sum(1)
    expected = []
    for start in range(0, WIDTH, block):
        rest = np.delete(parts, np.s_[start : start + block], axis=1)
        mask = np.linalg.lstsq(rest, target, rcond=None)[0]
        expected.append(np.square(target - rest @ mask).sum())
    found = score("condition_mask", statistics, weight, block)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("block", [1, 2, 3])
@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_wanda_and_fluctuation_are_the_errors_of_leaving_out(block: int, seed: int) -> None:
    inputs, weight, statistics = draw(seed)
    x, w = inputs.numpy(), weight.numpy()
    groups = [np.s_[start : start + block] for start in range(0, WIDTH, block)]
    raw = [np.square(x[:, g] @ w[g]).sum() for g in groups]
    centred = [np.square((x - x.mean(0))[:, g] @ w[g]).sum() / TOKENS for g in groups]
    wanda = score("wanda", statistics, weight, block)
    np.testing.assert_allclose(wanda.numpy(), raw, rtol=1e-9)
    fluctuation = score("fluctuation", statistics, weight, block)
    np.testing.assert_allclose(fluctuation.numpy(), centred, rtol=1e-7)
    magnitude = score("magnitude", statistics, weight, block)
    np.testing.assert_allclose(magnitude.numpy(), [np.square(w[g]).sum() for g in groups])


@pytest.mark.parametrize("block", [1, 2])
@settings(deadline=None, max_examples=50)
@given(seed=seeds)
def test_more_freedom_to_recover_never_costs_more(block: int, seed: int) -> None:
    _, weight, statistics = draw(seed)
    refit, rescaled, raw = (
        score(name, statistics, weight, block) for name in ("condition", "condition_mask", "wanda")
    )
    assert bool((refit <= rescaled * (1 + 1e-9)).all())
    # The refits pay the ridge, the raw error does not: (1 + DAMPING) I0 bounds a single neuron.
    largest_ridge = DAMPING * (statistics.gram.diagonal() * weight.square().sum(1))
    ridge = largest_ridge.reshape(-1, block).sum(1)
    assert bool((rescaled <= raw + ridge + 1e-9 * raw).all())


@pytest.mark.parametrize("name", METRICS)
@settings(deadline=None, max_examples=25)
@given(seed=seeds, order=st.permutations(range(WIDTH)))
def test_permuting_neurons_permutes_scores(name: str, seed: int, order: list[int]) -> None:
    _, weight, statistics = draw(seed)
    permuted = replace(
        statistics,
        gram=statistics.gram[order][:, order],
        input_sum=statistics.input_sum[order],
    )
    torch.testing.assert_close(
        score(name, permuted, weight[order]),
        score(name, statistics, weight)[order],
        rtol=1e-6,
        atol=1e-9,
    )


@pytest.mark.parametrize("name", METRICS)
def test_a_neuron_that_never_fires_is_the_first_to_go(name: str) -> None:
    inputs, weight, _ = draw(7)
    inputs[:, 2] = 0
    empty = ProjectionStatistics.zeros(WIDTH, OUTPUTS)
    statistics = replace(
        empty, gram=inputs.T @ inputs, input_sum=inputs.sum(0), tokens=TOKENS
    ).in_float64()
    found = score(name, statistics, weight)
    assert bool(found.isfinite().all())
    if name != "magnitude":
        assert int(found.argmin()) == 2
        assert float(found[2]) <= 1e-6 * float(found.median())
