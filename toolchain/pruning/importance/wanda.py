"""Raw error of removing a neuron, with no recovery (Sun et al. 2023, arXiv 2306.11695, squared)."""

from __future__ import annotations

from torch import Tensor

from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.pruning.linear import diagonal_blocks, row_products


def score(statistics: ProjectionStatistics, weight: Tensor, block: int = 1) -> Tensor:
    """I0(B) = ‖X_B W_B‖² = sum of Q over B x B, with Q = XᵀX ∘ WWᵀ.

    For one neuron: ‖x_j‖² ‖w_j‖². Shapes as in `toolchain.pruning.importance`.
    """
    if block == 1:
        return statistics.gram.diagonal().double() * weight.double().square().sum(1)
    products = row_products(weight, block)
    return (diagonal_blocks(statistics.gram, block) * products).sum((1, 2))
