"""Activation norm and gradient norm together (after GBLM-Pruner, Das et al., arXiv 2311.04902).

The paper scores one weight by |W_ij| ‖x_j‖ + α |W_ij| ‖G_ij‖, the second norm over the gradients of
the calibration samples. Ours: squares, summed over a unit's rows of the output projection (so
that the first term is `wanda`), and, in place of the fixed α, which depends on the scale of the
loss, both terms in the proportion that gives them the same mean over the projection's units.
"""

from __future__ import annotations

from torch import Tensor

from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.pruning.gradients import ProjectionGradients
from toolchain.pruning.importance import wanda


def score(
    statistics: ProjectionStatistics,
    weight: Tensor,
    block: int,
    gradients: ProjectionGradients,
) -> Tensor:
    """a_B + b_B mean(a) / mean(b), with a_B = ‖X_B W_B‖² and b_B = Σ_ij W_ij² Σ_n G_nij².

    Shapes as in `toolchain.pruning.importance`.
    """
    activation = wanda.score(statistics, weight, block)
    gradient = gradients.energy.reshape(-1, block).sum(1)
    mean = gradient.mean()
    return activation + gradient * (activation.mean() / mean if mean > 0 else 0.0)
