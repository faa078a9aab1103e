"""First-order change of the loss when a whole unit goes (LLM-Pruner, arXiv 2305.11627)."""

from __future__ import annotations

from torch import Tensor

from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.pruning.gradients import ProjectionGradients


def score(
    statistics: ProjectionStatistics,
    weight: Tensor,
    block: int,
    gradients: ProjectionGradients,
) -> Tensor:
    """abs(Σ w ∂L/∂w) / N over the coupled rows and columns of a unit, nats per token.

    A neuron: its gate and up rows and its down column. A KV group: the rows of its queries, key and
    value, and its output columns; one query head of several: its query rows and output columns.
    The vector-wise form of Ma et al. 2023, whose element-wise form sums absolute values instead.
    Shapes as in `toolchain.pruning.importance`.
    """
    del statistics
    units = weight.shape[0] // block
    total = gradients.taylor.reshape(units, -1).sum(1)
    if units == len(gradients.taylor_shared):
        total = total + gradients.taylor_shared
    return total.abs() / gradients.tokens
