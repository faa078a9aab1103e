"""What a recovered projection may be fitted to. Which one is used is decided on held-out text."""

from __future__ import annotations

from collections.abc import Sequence
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


def targets(
    statistics: ProjectionStatistics, weight: Tensor, columns: Tensor, names: Sequence[str]
) -> dict[str, Target]:
    """The targets of the given names, in their order.

    With X the inputs after the pruned prefix:

    - `own`: XW, what this layer itself gave before pruning;
    - `dense`: the dense model's output, which also asks for what earlier layers lost;
    - `residual`: the dense output plus the drift of the residual stream, so that the stream after
      this block is the dense one's;
    - `own+dense`, `own+residual`: halfway.

    Args:
        statistics: sums over X, on the CPU.
        weight: W, [d, m] in their dtype.
        columns: kept columns of X, [k].
        names: which, of `toolchain.pruning.recovery.TARGETS`.
    """
    tokens, input_sum = statistics.tokens, statistics.input_sum.double()
    parts = {part for name in names for part in MIXTURES.get(name, (name,))}
    rests = {part: weight.new_empty(len(columns), weight.shape[1]) for part in parts}
    gone = torch.ones(len(weight), dtype=torch.bool)
    gone[columns] = False
    removed = gone.nonzero().squeeze(1)
    # Neither XᵀX nor W is in float64 as a whole; a panel of W is turned again for each of XᵀX.
    for rows in row_panels(len(columns), 2):
        gram = statistics.gram[columns[rows]]
        to_removed, to_kept = gram[:, removed].double(), gram[:, columns].double()
        for outputs in row_panels(weight.shape[1], 2):
            if "own" in rests:
                # XᵀXW - X_KᵀX_K W_K is what the removed columns gave.
                rests["own"][rows, outputs] = to_removed @ weight[removed, outputs].double()
            if parts == {"own"}:
                continue
            dense = statistics.target_cross[columns[rows], outputs].double()
            dense -= to_kept @ weight[columns, outputs].double()
            if "dense" in rests:
                rests["dense"][rows, outputs] = dense
            if "residual" in rests:
                drift = statistics.drift_cross[columns[rows], outputs]
                rests["residual"][rows, outputs] = dense + drift
    own_sum = torch.cat([input_sum @ weight[:, o].double() for o in row_panels(weight.shape[1])])
    dense_sum = statistics.target_sum.double()
    sums = {"own": own_sum, "dense": dense_sum, "residual": dense_sum + statistics.drift_sum}
    plain = {part: Target(rest, sums[part] / tokens) for part, rest in rests.items()}
    mixed = {name: MIXTURES[name] for name in names if name in MIXTURES}
    found = plain | {n: plain[one].mixed_with(plain[other]) for n, (one, other) in mixed.items()}
    return {name: found[name] for name in names}


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
