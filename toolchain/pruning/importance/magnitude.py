"""Size of a neuron's output weights alone: the baseline that looks at no data."""

from __future__ import annotations

from torch import Tensor

from toolchain.calibrate.stats import ProjectionStatistics


def score(statistics: ProjectionStatistics, weight: Tensor, block: int = 1) -> Tensor:
    """‖W_B‖². Shapes as in `toolchain.pruning.importance`."""
    del statistics
    return weight.double().square().sum(1).reshape(-1, block).sum(1)
