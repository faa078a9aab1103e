"""Greedy removal against brute force: exact errors, and the order of naive re-computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.pruning.importance import condition, greedy
from toolchain.pruning.removal import removal_order

DAMPING = 1e-3
OUTPUTS = 3


class Draw:
    """Correlated X [tokens, d] and W [d, m]."""

    def __init__(self, seed: int, units: int, block: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        width = units * block

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        x = normal(40, width) @ normal(width, width) + 0.5
        self.units, self.block = units, block
        self.weight = normal(width, OUTPUTS)
        self.gram = x.T @ x

    @property
    def damped(self) -> np.ndarray:
        """H."""
        gram: np.ndarray = self.gram.numpy()
        return gram + DAMPING * np.diag(np.diag(gram))

    def error(self, gone: list[int]) -> float:
        """The least error with the units in `gone` removed, by solving for the rest."""
        rows = [u * self.block + i for u in gone for i in range(self.block)]
        kept = [i for i in range(len(self.gram)) if i not in set(rows)]
        root = np.linalg.cholesky(self.damped).T
        target = root @ self.weight.numpy()
        if not kept:
            return float((target**2).sum())
        fitted = root[:, kept] @ np.linalg.lstsq(root[:, kept], target, rcond=None)[0]
        return float(((target - fitted) ** 2).sum())


draws = st.builds(Draw, st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 3))


@settings(deadline=None, max_examples=60)
@given(draws, st.integers(0, 9), st.sampled_from([None, 1, 2, 3, 20]))
def test_errors_are_those_of_solving_for_the_rest(
    drawn: Draw, keep: int, batch: int | None
) -> None:
    found = removal_order(
        drawn.gram, drawn.weight, block=drawn.block, keep=keep, batch=batch, damping=DAMPING
    )
    order = found.order.tolist()
    assert len(set(order)) == len(order) == max(0, drawn.units - keep)
    assert all(0 <= unit < drawn.units for unit in order)
    expected = [drawn.error(order[: i + 1]) for i in range(len(order))]
    np.testing.assert_allclose(found.errors.numpy(), expected, rtol=1e-6)


@settings(deadline=None, max_examples=40)
@given(draws)
def test_one_at_a_time_is_the_naive_greedy_order(drawn: Draw) -> None:
    found = removal_order(drawn.gram, drawn.weight, block=drawn.block, batch=1, damping=DAMPING)
    gone: list[int] = []
    for unit in found.order.tolist():
        left = [u for u in range(drawn.units) if u not in gone]
        best = min(drawn.error([*gone, u]) for u in left)
        assert drawn.error([*gone, unit]) <= best * (1 + 1e-6)
        gone.append(unit)


@settings(deadline=None, max_examples=30)
@given(draws)
def test_a_batch_of_half_or_more_is_greedy_too(drawn: Draw) -> None:
    """All units compete for the places of such a batch."""
    orders = [
        removal_order(
            drawn.gram, drawn.weight, block=drawn.block, batch=batch, damping=DAMPING
        ).order.tolist()
        for batch in (1, drawn.units)
    ]
    assert orders[0] == orders[1]


@settings(deadline=None, max_examples=40)
@given(draws)
def test_scores_are_the_order_and_start_as_condition(drawn: Draw) -> None:
    width, outputs = drawn.weight.shape
    statistics = ProjectionStatistics.zeros(width, outputs)
    statistics.gram = drawn.gram
    scores = greedy.score(statistics, drawn.weight, drawn.block)
    order = removal_order(drawn.gram, drawn.weight, block=drawn.block, damping=greedy.DAMPING).order
    assert scores.argsort().tolist() == order.tolist()
    alone = condition.score(statistics, drawn.weight, drawn.block)
    assert int(alone.argmin()) == int(scores.argmin())
    assert float(scores.min()) == pytest.approx(float(alone.min()), rel=1e-6)


def test_of_two_twins_one_stays() -> None:
    """`condition` finds both twins cheap, and would remove the pair."""
    drawn = Draw(5, 6, 1)
    mixing = torch.eye(6, dtype=torch.float64)
    mixing[0, 1], mixing[1, 1] = 1.0, 1e-3
    gram, weight = mixing.T @ drawn.gram @ mixing, drawn.weight * 5
    statistics = ProjectionStatistics.zeros(6, OUTPUTS)
    statistics.gram = gram
    alone = condition.score(statistics, weight).argsort()[:2].tolist()
    assert sorted(alone) == [0, 1]
    together = removal_order(gram, weight, keep=4, damping=DAMPING).order.tolist()
    assert len({0, 1} & set(together)) == 1
