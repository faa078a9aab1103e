"""Refit all kept weights of the projection by ridge-damped least squares (as OSSCAR does)."""

from __future__ import annotations

import torch

from toolchain.pruning.linear import cholesky
from toolchain.pruning.recovery import Problem, Recovered

DAMPING = 1e-4


def recover(problem: Problem) -> Recovered:
    """W_K' = W_K + (G + λ diag G)⁻¹ (X_KᵀT - G W_K), G = X_KᵀX_K.

    Minimises ‖T - X_K W'‖² with a small pull towards W_K. An existing bias stays: a new one after
    this refit measurably hurts.
    """
    factor, damping = cholesky(problem.gram, DAMPING)
    rest = problem.cross - problem.gram @ problem.weight
    refitted = problem.weight + torch.cholesky_solve(rest, factor)
    note = f"damping was raised to {damping:g}" if damping > DAMPING else ""
    return Recovered(refitted, note=note)
