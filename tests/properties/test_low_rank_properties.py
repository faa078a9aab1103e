"""Reduced-rank refit: between nothing and least squares, the better the higher the rank."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.pruning.recovery import Problem, Recovered
from toolchain.pruning.recovery.least_squares import DAMPING
from toolchain.pruning.recovery.least_squares import recover as least_squares
from toolchain.pruning.recovery.low_rank import LowRank, rank_for

KEPT, OUTPUTS, TOKENS = 6, 4, 50


class Draw:
    """X_K, W_K and a target that the kept rows cannot quite give."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.x = normal(TOKENS, KEPT) @ normal(KEPT, KEPT)
        self.w = normal(KEPT, OUTPUTS)
        self.t = self.x @ (self.w + normal(KEPT, 2) @ normal(2, OUTPUTS)) + normal(TOKENS, OUTPUTS)

    @property
    def problem(self) -> Problem:
        """The recovery problem."""
        x, t = self.x, self.t
        return Problem(x.T @ x, x.T @ t, self.w, x.mean(0), t.mean(0), TOKENS, False)

    def error(self, recovered: Recovered) -> float:
        """What the refit minimises: ‖T - X W'‖² + λ ‖diag(G)^½ (W' - W)‖²."""
        ridge = DAMPING * self.x.square().sum(0).unsqueeze(1)
        missed = (self.t - self.x @ recovered.weight).square().sum()
        return float(missed + (ridge * (recovered.weight - self.w).square()).sum())


draws = st.builds(Draw, st.integers(0, 2**31))


@settings(deadline=None, max_examples=60)
@given(draws)
def test_the_error_falls_with_the_rank_down_to_least_squares(drawn: Draw) -> None:
    shares = [0.0, 0.3, 0.6, 0.8, 0.9, 0.99, 1.0]
    found = [LowRank(share)(drawn.problem) for share in shares]
    nothing = drawn.error(Recovered(drawn.w))
    errors = [nothing, *map(drawn.error, found)]
    full = least_squares(drawn.problem)
    assert all(after <= before * (1 + 1e-9) for before, after in pairwise(errors))
    assert errors[1] < nothing
    assert drawn.error(full) <= errors[-1] * (1 + 1e-9)
    assert torch.equal(found[-1].weight, full.weight)


@settings(deadline=None, max_examples=60)
@given(draws, st.floats(0.05, 0.95))
def test_it_is_the_best_correction_of_its_rank(drawn: Draw, share: float) -> None:
    """Against the singular value decomposition of Lᵀ Δ, G = LLᵀ."""
    gram = (drawn.x.T @ drawn.x).numpy()
    root = np.linalg.cholesky(gram + DAMPING * np.diag(np.diag(gram)))
    full = (least_squares(drawn.problem).weight - drawn.w).numpy()
    left, values, right = np.linalg.svd(root.T @ full, full_matrices=False)
    explained = np.cumsum(values**2) / np.sum(values**2)
    rank = int(np.searchsorted(explained, share - 1e-12)) + 1
    best = np.linalg.solve(root.T, (left[:, :rank] * values[:rank]) @ right[:rank])
    found = LowRank(share)(drawn.problem)
    np.testing.assert_allclose((found.weight - drawn.w).numpy(), best, atol=1e-7)
    assert np.linalg.matrix_rank((found.weight - drawn.w).numpy(), tol=1e-8) == rank
    if rank < OUTPUTS:
        assert found.note == f"rank {rank} of {OUTPUTS}"


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_the_rank_is_the_least_that_keeps_the_share(numbers: list[int], share: float) -> None:
    values = sorted(numbers)
    rank = rank_for(torch.tensor(values, dtype=torch.float64), share)
    assert 1 <= rank <= len(values)
    assert sum(values[-rank:]) >= share * sum(values)
    assert rank == 1 or sum(values[len(values) - rank + 1 :]) < share * sum(values)


@settings(deadline=None, max_examples=20)
@given(draws)
def test_nothing_missing_changes_nothing(drawn: Draw) -> None:
    drawn.t = drawn.x @ drawn.w
    found = LowRank()(drawn.problem)
    torch.testing.assert_close(found.weight, drawn.w, rtol=1e-7, atol=1e-7)
