"""Raw error of removing a neuron, with no recovery (Sun et al. 2023, arXiv 2306.11695, squared)."""

from __future__ import annotations

from torch import Tensor

from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.pruning.linear import diagonal_blocks


def score(statistics: ProjectionStatistics, weight: Tensor, block: int = 1) -> Tensor:
    """I0(B) = ‖X_B W_B‖² = sum of Q over B x B, with Q = XᵀX ∘ WWᵀ.

    For one neuron: ‖x_j‖² ‖w_j‖². Shapes as in `toolchain.pruning.importance`.
    """
    if block == 1:
        return statistics.gram.diagonal() * weight.square().sum(1)
    return diagonal_blocks(statistics.gram * (weight @ weight.T), block).sum((1, 2))
