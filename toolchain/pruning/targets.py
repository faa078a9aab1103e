"""What a recovered projection may be fitted to. Which one is used is decided on held-out text."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.pruning.recovery import Problem


@dataclass(frozen=True)
class Target:
    """A target T [N, m] by its statistics."""

    cross: Tensor
    """XᵀT, [d, m]."""
    total: Tensor
    """Sum of T over tokens, [m]."""

    def mixed_with(self, other: Target) -> Target:
        """The mean of both targets."""
        return Target((self.cross + other.cross) / 2, (self.total + other.total) / 2)


def targets(statistics: ProjectionStatistics, weight: Tensor) -> dict[str, Target]:
    """Every target that is tried, by name.

    With X the inputs after the pruned prefix:

    - `own`: XW, what this layer itself gave before pruning;
    - `dense`: the dense model's output, which also asks for what earlier layers lost;
    - `residual`: the dense output plus the drift of the residual stream, so that the stream after
      this block is the dense one's;
    - `own+dense`, `own+residual`: halfway.

    Args:
        statistics: float64 sums over X.
        weight: W, [d, m] float64.
    """
    own = Target(statistics.gram @ weight, statistics.input_sum @ weight)
    dense = Target(statistics.target_cross, statistics.target_sum)
    residual = Target(
        statistics.target_cross + statistics.drift_cross,
        statistics.target_sum + statistics.drift_sum,
    )
    return {
        "own": own,
        "own+dense": own.mixed_with(dense),
        "dense": dense,
        "own+residual": own.mixed_with(residual),
        "residual": residual,
    }


def problem(
    statistics: ProjectionStatistics,
    target: Target,
    weight: Tensor,
    columns: Tensor,
    has_bias: bool,
) -> Problem:
    """The recovery problem of the kept `columns` [k] of X."""
    return Problem(
        gram=statistics.gram[columns][:, columns],
        cross=target.cross[columns],
        weight=weight[columns],
        input_mean=statistics.input_sum[columns] / statistics.tokens,
        target_mean=target.total / statistics.tokens,
        tokens=statistics.tokens,
        has_bias=has_bias,
    )
