"""Importances that see gradients: closed forms against brute force, and symmetry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from runtime_py.schema import LayerShape
from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.model.compact import ATTENTION, MLP
from toolchain.pruning.gradients import ProjectionGradients
from toolchain.pruning.importance.condition import DAMPING
from toolchain.registry import GRADIENT_IMPORTANCE, METHODS, resolve

WIDTH, OUTPUTS, TOKENS = 6, 4, 50
SHAPE = LayerShape(
    num_attention_heads=3, num_key_value_heads=3, head_dim=2, intermediate_size=WIDTH
)
seeds = st.integers(0, 2**31)


def draw(seed: int) -> tuple[Tensor, Tensor, ProjectionStatistics, ProjectionGradients]:
    """X with correlated columns, W, and what statistics and gradients say."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs = normal(TOKENS, WIDTH) @ normal(WIDTH, WIDTH)
    weight, outputs = normal(WIDTH, OUTPUTS), normal(TOKENS, OUTPUTS)
    statistics = replace(
        ProjectionStatistics.zeros(WIDTH, OUTPUTS), gram=inputs.T @ inputs, tokens=TOKENS
    ).in_float64()
    gradients = ProjectionGradients.zeros(SHAPE, MLP, WIDTH, OUTPUTS)
    mask = torch.ones(2, TOKENS // 2, dtype=torch.bool)
    shaped = (v.float().view(2, TOKENS // 2, -1) for v in (inputs, outputs))
    gradients.update_(*shaped, weight.float(), mask)
    gradients.update_taylor_(normal(WIDTH))
    return inputs, weight, statistics, gradients


@pytest.mark.parametrize("block", [1, 2, 3])
@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_fisher_is_the_curved_error_after_a_refit(block: int, seed: int) -> None:
    inputs, weight, statistics, gradients = draw(seed)
    ridge = np.sqrt(DAMPING) * np.diag(np.linalg.norm(inputs.numpy(), axis=0))
    x, curvature = np.vstack([inputs.numpy(), ridge]), gradients.fisher.double().numpy() / TOKENS
    expected = []
    for start in range(0, WIDTH, block):
        rest = np.delete(x, np.s_[start : start + block], axis=1)
        target = x @ weight.numpy()
        error = target - rest @ np.linalg.lstsq(rest, target, rcond=None)[0]
        expected.append(np.trace(curvature @ error.T @ error) / (2 * TOKENS))
    found = resolve("importance", "fisher")(statistics, weight, block, gradients)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_fisher_without_a_preferred_output_ranks_as_condition(seed: int) -> None:
    _, weight, statistics, gradients = draw(seed)
    even = replace(gradients, fisher=3 * TOKENS * torch.eye(OUTPUTS))
    found = resolve("importance", "fisher")(statistics, weight, 1, even)
    plain = resolve("importance", "condition")(statistics, weight, 1)
    torch.testing.assert_close(found, plain * 3 / (2 * TOKENS), rtol=1e-6, atol=0.0)


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_gblm_gives_both_norms_the_same_say(seed: int) -> None:
    _, weight, statistics, gradients = draw(seed)
    found = resolve("importance", "gblm")(statistics, weight, 1, gradients)
    activation = resolve("importance", "wanda")(statistics, weight, 1)
    rest = found - activation
    assert float(rest.mean()) == pytest.approx(float(activation.mean()), rel=1e-6)
    torch.testing.assert_close(rest / rest.sum(), gradients.energy / gradients.energy.sum())


@pytest.mark.parametrize("name", GRADIENT_IMPORTANCE)
@settings(deadline=None, max_examples=25)
@given(seed=seeds, order=st.permutations(range(WIDTH)))
def test_permuting_neurons_permutes_scores(name: str, seed: int, order: list[int]) -> None:
    _, weight, statistics, gradients = draw(seed)
    gram = statistics.gram[order][:, order]
    permuted = replace(
        gradients,
        taylor=gradients.taylor[order],
        taylor_shared=gradients.taylor_shared[order],
        energy=gradients.energy[order],
    )
    score = resolve("importance", name)
    torch.testing.assert_close(
        score(replace(statistics, gram=gram), weight[order], 1, permuted),
        score(statistics, weight, 1, gradients)[order],
        rtol=1e-6,
        atol=1e-9,
    )


@settings(deadline=None, max_examples=25)
@given(seed=seeds, split=st.integers(1, 9))
def test_gradient_sums_do_not_depend_on_the_split(seed: int, split: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(10, 5, WIDTH, generator=generator)
    outputs = torch.randn(10, 5, OUTPUTS, generator=generator)
    mask = torch.rand(10, 5, generator=generator) < 0.8
    outputs = outputs * mask.unsqueeze(2)
    weight = torch.randn(WIDTH, OUTPUTS, generator=generator)
    whole, parts = (ProjectionGradients.zeros(SHAPE, MLP, WIDTH, OUTPUTS) for _ in range(2))
    whole.update_(inputs, outputs, weight, mask)
    for rows in (slice(0, split), slice(split, 10)):
        parts.update_(inputs[rows], outputs[rows], weight, mask[rows])
    assert parts.tokens == whole.tokens == int(mask.sum())
    torch.testing.assert_close(parts.fisher, whole.fisher, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parts.energy, whole.energy, rtol=1e-5, atol=1e-6)


def test_a_group_of_several_heads_counts_its_key_and_value_once() -> None:
    shape = replace(SHAPE, num_attention_heads=4, num_key_value_heads=2)
    sums = ProjectionGradients.zeros(shape, ATTENTION, 8, OUTPUTS)
    sums.update_taylor_(torch.arange(8.0, dtype=torch.float64))  # queries
    sums.update_taylor_(torch.tensor([1.0, 1, -50, 0], dtype=torch.float64))  # keys
    sums.tokens = 1
    weight = torch.zeros(8, OUTPUTS, dtype=torch.float64)
    taylor = resolve("importance", "taylor")
    assert taylor(None, weight, 2, sums).tolist() == [1, 5, 9, 13]
    assert taylor(None, weight, 4, sums).tolist() == [8, 28]


def test_every_gradient_importance_is_registered() -> None:
    assert set(GRADIENT_IMPORTANCE) <= set(METHODS["importance"])
