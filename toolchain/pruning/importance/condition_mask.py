"""Exact error of removing a neuron and rescaling each of the others by one factor (mask tuning)."""

from __future__ import annotations

import torch
from torch import Tensor

from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.pruning.importance.condition import DAMPING
from toolchain.pruning.linear import factorise, inverse_blocks, quadratic_


def score(statistics: ProjectionStatistics, weight: Tensor, block: int = 1) -> Tensor:
    """I_mask(B) = 1ᵀ ([Q⁻¹]_BB)⁻¹ 1, Q = XᵀX ∘ WWᵀ damped like the Gram of `condition`.

    The minimum over factors μ, with μ_B = 0, of ‖Y - X(μ ∘ W)‖² is this Schur complement, because
    the error is the quadratic form of Q in μ - 1. For one neuron: 1 / [Q⁻¹]_jj. Shapes as in
    `toolchain.pruning.importance`.
    """

    def weighted_gram() -> Tensor:
        return quadratic_(statistics.gram.to(torch.float64, copy=True), weight)

    inverses = inverse_blocks(factorise(weighted_gram, DAMPING)[0], block)
    ones = torch.ones(inverses.shape[0], block, 1, dtype=inverses.dtype)
    solved: Tensor = torch.linalg.solve(inverses, ones)
    return solved.sum((1, 2))
