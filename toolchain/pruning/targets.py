"""What a recovered projection may be fitted to. Which one is used is decided on held-out text."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.pruning.linear import gathered, row_panels
from toolchain.pruning.recovery import KeptRows, Problem, Target

MIXTURES = {"own+dense": ("own", "dense"), "own+residual": ("own", "residual")}
"""Targets halfway between two others."""


def kept_rows(
    statistics: ProjectionStatistics, weight: Tensor, columns: Tensor, has_bias: bool
) -> KeptRows:
    """What all targets share when the `columns` [k] of X stay.

    Args:
        statistics: sums over X, on the CPU.
        weight: W, [d, m], in their dtype.
        columns: kept columns, in increasing order.
        has_bias: whether the projection has a bias.
    """
    return KeptRows(
        gram=partial(gathered, statistics.gram, columns),
        weight=weight[columns],
        input_mean=statistics.input_sum[columns].double() / statistics.tokens,
        tokens=statistics.tokens,
        has_bias=has_bias,
    )


def targets(statistics: ProjectionStatistics, weight: Tensor, columns: Tensor) -> dict[str, Target]:
    """The targets that are tried, by name; so are the means of two of them, `MIXTURES`.

    With X the inputs after the pruned prefix:

    - `own`: XW, what this layer itself gave before pruning;
    - `dense`: the dense model's output, which also asks for what earlier layers lost;
    - `residual`: the dense output plus the drift of the residual stream, so that the stream after
      this block is the dense one's;
    - `own+dense`, `own+residual`: halfway.

    Args:
        statistics: sums over X, on the CPU.
        weight: W, [d, m], in their dtype.
        columns: kept columns of X, [k].
    """
    tokens = statistics.tokens
    gone = torch.ones(len(weight), dtype=torch.bool)
    gone[columns] = False
    removed = gone.nonzero().squeeze(1)
    own = torch.empty(len(columns), weight.shape[1], dtype=weight.dtype)
    dense, residual = torch.empty_like(own), torch.empty_like(own)
    kept_weight, removed_weight = weight[columns].double(), weight[removed].double()
    for rows in row_panels(len(columns)):
        gram = statistics.gram[columns[rows]]
        # XᵀXW - X_KᵀX_K W_K is what the removed columns gave.
        own[rows] = gram[:, removed].double() @ removed_weight
        unrecovered = gram[:, columns].double() @ kept_weight
        missing = statistics.target_cross[columns[rows]].double() - unrecovered
        dense[rows] = missing
        residual[rows] = missing + statistics.drift_cross[columns[rows]]
    own_sum = statistics.input_sum.double() @ weight.double()
    dense_sum = statistics.target_sum.double()
    return {
        "own": Target(own, own_sum / tokens),
        "dense": Target(dense, dense_sum / tokens),
        "residual": Target(residual, (dense_sum + statistics.drift_sum) / tokens),
    }


def problem(kept: KeptRows, target: Target, gram: Tensor) -> Problem:
    """The recovery problem of one target, all in float64; `gram` is X_KᵀX_K."""
    weight = kept.weight.double()
    return Problem(
        gram=gram,
        cross=gram @ weight + target.rest,
        weight=weight,
        input_mean=kept.input_mean,
        target_mean=target.mean,
        tokens=kept.tokens,
        has_bias=kept.has_bias,
    )
