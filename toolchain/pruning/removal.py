"""In which order units go when each choice sees what is already gone.

Optimal Brain Surgeon (Hassibi & Stork 1992) for whole rows: with P = H⁻¹ over the units still there
and W refitted to them, removing the block B costs tr(W_Bᵀ P_BB⁻¹ W_B), and afterwards
W_K -= P_KB P_BB⁻¹ W_B and P_KK -= P_KB P_BB⁻¹ P_BK. Both are exact, so the costs add up to the
error of the least-squares refit to what is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from toolchain.pruning.linear import factorise

BATCHES = 128
"""Batches in which all units go, where nothing else is asked for."""
_CANDIDATES = 2
"""Units that compete for a place in a batch, in batches."""
_COMPACT = 0.75
"""The live share of the matrices at which the dead rows are cut out."""


@dataclass(frozen=True)
class Removal:
    """Units in the order in which they go."""

    order: Tensor
    """Indices of units, int64 [removed]."""
    errors: Tensor
    """errors[i] = min over W' of tr((W - W')ᵀ H (W - W')) with order[:i + 1] gone, float64
    [removed]."""


def removal_order(
    gram: Tensor,
    weight: Tensor,
    *,
    block: int = 1,
    keep: int = 0,
    batch: int | None = None,
    damping: float,
) -> Removal:
    """Greedy removal by the error that a least-squares refit leaves.

    In each round the cheapest units compete for the places of a batch, one after the other, with
    exact costs among themselves; the rest learns of it after the round. With `batch` 1 that is the
    greedy order itself. The errors are exact for the order, whatever the batch.

    Holds two float64 matrices of d x d.

    Args:
        gram: XᵀX [d, d].
        weight: W [d, m].
        block: adjacent rows that go together.
        keep: units that stay to the end.
        batch: units that go at a time; a 128th of all by default.
        damping: H = XᵀX + damping * diag(XᵀX).
    """
    units = len(gram) // block
    size = batch or max(1, units // BATCHES)
    state = _State(gram, weight, block, damping)
    while (left := state.live_count - keep) > 0:
        state.remove_(min(size, left))
    errors = torch.cat([torch.empty(0, dtype=torch.float64), *state.errors])
    return Removal(torch.tensor(state.order, dtype=torch.int64), errors.cumsum(0))


class _State:
    """The inverse and the refitted weights of the units still there."""

    def __init__(self, gram: Tensor, weight: Tensor, block: int, damping: float) -> None:
        self._block = block
        factor, _ = factorise(lambda: gram.to(torch.float64, copy=True), damping)
        self._inverse = torch.cholesky_inverse(factor)
        self._weight = weight.to(torch.float64, copy=True)
        self._units = torch.arange(len(gram) // block)
        self._live = torch.ones(len(self._units), dtype=torch.bool)
        self.order: list[int] = []
        self.errors: list[Tensor] = []

    @property
    def live_count(self) -> int:
        """Units still there."""
        return int(self._live.sum())

    def remove_(self, count: int) -> None:
        """Let the cheapest `count` units go."""
        places = self._choose(count)
        rows = self._rows(places)
        # With LLᵀ = P_RR in the order of removal, the squares of the rows of L⁻¹W_R are what each
        # row adds to the error.
        panel = self._inverse[:, rows]
        factor = torch.linalg.cholesky(panel[rows])
        across = torch.linalg.solve_triangular(factor, panel.T, upper=False)
        solved = torch.linalg.solve_triangular(factor, self._weight[rows], upper=False)
        self.errors.append(solved.square().sum(1).view(-1, self._block).sum(1))
        self.order += self._units[places].tolist()
        self._inverse.addmm_(across.T, across, alpha=-1)
        self._weight.addmm_(across.T, solved, alpha=-1)
        self._inverse.diagonal()[rows] = 1  # all but zero now; the dead stay invertible
        self._live[places] = False
        if self.live_count < _COMPACT * len(self._live):
            self._compact_()

    def _choose(self, count: int) -> Tensor:
        """Places of the next units, in the order in which they go."""
        scores = block_costs(self._inverse, self._weight, self._block)
        scores[~self._live] = math.inf
        places = scores.topk(min(_CANDIDATES * count, self.live_count), largest=False).indices
        places = places.sort().values
        if count == 1:
            return places[scores[places].argmin()].view(1)
        rows = self._rows(places)
        inverse, weight = self._inverse[rows][:, rows], self._weight[rows]
        chosen = _greedy_(inverse, weight, self._block, count)
        return places[chosen]

    def _rows(self, places: Tensor) -> Tensor:
        return (places.unsqueeze(1) * self._block + torch.arange(self._block)).flatten()

    def _compact_(self) -> None:
        places = self._live.nonzero().squeeze(1)
        rows = self._rows(places)
        self._inverse = self._inverse[rows][:, rows]
        self._weight = self._weight[rows]
        self._units = self._units[places]
        self._live = torch.ones(len(places), dtype=torch.bool)


def block_costs(inverse: Tensor, weight: Tensor, block: int) -> Tensor:
    """tr(W_Bᵀ P_BB⁻¹ W_B) of every block of adjacent rows, float64 [d / block]."""
    if block == 1:
        return weight.square().sum(1) / inverse.diagonal()
    count = len(weight) // block
    index = torch.arange(count)
    blocks = inverse.view(count, block, count, block)[index, :, index, :]
    rows = weight.view(count, block, -1)
    solved: Tensor = torch.linalg.solve(blocks, rows)
    return (rows * solved).sum((1, 2))


def _greedy_(inverse: Tensor, weight: Tensor, block: int, count: int) -> list[int]:
    """The first `count` blocks that a greedy removal takes; overwrites both matrices."""
    gone: list[int] = []
    for _ in range(count):
        costs = block_costs(inverse, weight, block)
        costs[gone] = math.inf
        gone.append(int(costs.argmin()))
        rows = slice(gone[-1] * block, (gone[-1] + 1) * block)
        gain = torch.linalg.solve(inverse[rows, rows], inverse[rows])
        weight -= gain.T @ weight[rows]
        inverse -= gain.T @ inverse[rows]
        # A place that is gone stays invertible, with no weight.
        weight[rows] = 0
        inverse[rows] = 0
        inverse[:, rows] = 0
        inverse[rows, rows] = torch.eye(block, dtype=inverse.dtype)
    return gone
