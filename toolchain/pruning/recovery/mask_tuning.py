"""One factor per kept neuron, folded into the weights (Kwon et al. 2022, arXiv 2204.09656)."""

from __future__ import annotations

import torch
from torch import Tensor

from toolchain.pruning.linear import cholesky
from toolchain.pruning.recovery import Problem, Recovered

DAMPING = 1e-3
LARGEST_FACTOR = 10.0


def recover(problem: Problem) -> Recovered:
    """Minimise ‖T - X_K (μ ∘ W_K)‖² over the factors μ [k], and fold μ into the rows of W_K.

    With Q = X_KᵀX_K ∘ W_KW_Kᵀ and r = rowsum(X_KᵀT ∘ W_K) the normal equations are
    (Q + λ diag Q)(μ - 1) = r - Q·1; the damping pulls towards μ = 1 and makes the method free of
    the activations' scale. A projection with a bias is solved on centred X and T, and the bias
    absorbs the means. Factors outside [-10, 10] mean that the fit cannot be trusted: this
    projection alone keeps μ = 1, with a note.
    """
    weight = problem.weight
    gram, cross = _centred(problem) if problem.has_bias else (problem.gram, problem.cross)
    quadratic = gram * (weight @ weight.T)
    linear = (cross * weight).sum(1)
    factor, damping = cholesky(quadratic, DAMPING)
    step = torch.cholesky_solve((linear - quadratic.sum(1)).unsqueeze(1), factor).squeeze(1)
    mask = 1 + step
    largest = float(mask.abs().max())
    if not largest <= LARGEST_FACTOR:
        return Recovered(weight, note=f"factors reached {largest:.3g}; all were set to 1")
    tuned = mask.unsqueeze(1) * weight
    bias = problem.target_mean - problem.input_mean @ tuned if problem.has_bias else None
    note = f"damping was raised to {damping:g}" if damping > DAMPING else ""
    return Recovered(tuned, bias, note)


def _centred(problem: Problem) -> tuple[Tensor, Tensor]:
    mean, tokens = problem.input_mean, problem.tokens
    gram = problem.gram - tokens * torch.outer(mean, mean)
    cross = problem.cross - tokens * torch.outer(mean, problem.target_mean)
    return gram, cross
