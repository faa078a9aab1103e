"""Error that stays when a constant stands in for what was removed (FLAP, arXiv 2312.11983)."""

from __future__ import annotations

from torch import Tensor

from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.pruning.linear import diagonal_blocks, row_products


def score(statistics: ProjectionStatistics, weight: Tensor, block: int = 1) -> Tensor:
    """‖(X_B - mean) W_B‖² / N: the block sum of the centred Q.

    For one neuron: Var(x_j) ‖w_j‖², FLAP's metric with the population variance. Shapes as in
    `toolchain.pruning.importance`.
    """
    if block == 1:
        return statistics.variance * weight.double().square().sum(1)
    mean = (statistics.input_sum.double() / statistics.tokens).view(-1, block, 1)
    covariance = diagonal_blocks(statistics.gram, block) / statistics.tokens - mean @ mean.mT
    return (covariance * row_products(weight, block)).sum((1, 2))
