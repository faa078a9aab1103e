"""One factor per kept neuron, folded into the weights (Kwon et al. 2022, arXiv 2204.09656)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from toolchain.pruning.linear import factorise, quadratic_, row_panels, solve_
from toolchain.pruning.recovery import TARGETS, KeptRows, Problem, Recovered, Target, alone

DAMPING = 1e-3
LARGEST_FACTOR = 10.0


class MaskTuning:
    """Minimise ‖T - X_K (μ ∘ W_K)‖² over the factors μ [k], and fold μ into the rows of W_K.

    With Q = X_KᵀX_K ∘ W_KW_Kᵀ and r = rowsum(X_KᵀT ∘ W_K) the normal equations are
    (Q + λ diag Q)(μ - 1) = r - Q·1 = rowsum(X_Kᵀ(T - X_K W_K) ∘ W_K); the damping pulls towards
    μ = 1 and makes the method free of the activations' scale. A projection with a bias is solved on
    centred X and T, and the bias absorbs the means. Factors outside [-10, 10] mean that the fit
    cannot be trusted: this projection alone keeps μ = 1, with a note. μ is linear in T, so one
    factorisation serves every target.
    """

    tried = TARGETS

    def __call__(self, problem: Problem) -> Recovered:
        """Tune to the target of `problem`."""
        return alone(self, problem)

    def fit(
        self,
        kept: KeptRows,
        targets: Mapping[str, Target],
        mixtures: Mapping[str, tuple[str, str]],
    ) -> Iterator[tuple[str, Recovered]]:
        """Tune to each target, and to each mean of two."""
        factor, damping = factorise(lambda: _quadratic(kept), DAMPING)
        note = f"damping was raised to {damping:g}" if damping > DAMPING else ""
        steps = {}
        means = {}
        for name, target in targets.items():
            steps[name] = solve_(factor, _linear(kept, target).unsqueeze(1)).squeeze(1)
            means[name] = target.mean
        for name, (one, other) in mixtures.items():
            steps[name] = (steps[one] + steps[other]) / 2
            means[name] = (means[one] + means[other]) / 2
        for name, step in steps.items():
            yield name, _folded(kept, 1 + step, means[name], note)


def _quadratic(kept: KeptRows) -> Tensor:
    gram = kept.gram()
    if kept.has_bias:
        gram.addr_(kept.input_mean, kept.input_mean, alpha=-kept.tokens)
    return quadratic_(gram, kept.weight)


def _linear(kept: KeptRows, target: Target) -> Tensor:
    """rowsum(X_Kᵀ(T - X_K W_K) ∘ W_K), of centred X and T where there is a bias; [k]."""
    out = torch.empty(len(kept.weight), dtype=torch.float64)
    for rows in row_panels(len(out)):
        out[rows] = (target.rest[rows].double() * kept.weight[rows].double()).sum(1)
    if kept.has_bias:
        weight = kept.weight.double()
        missing = target.mean - kept.input_mean @ weight
        out -= kept.tokens * kept.input_mean * (weight @ missing)
    return out


def _folded(kept: KeptRows, mask: Tensor, target_mean: Tensor, note: str) -> Recovered:
    largest = float(mask.abs().max())
    if not largest <= LARGEST_FACTOR:
        return Recovered(kept.weight, note=f"factors reached {largest:.3g}; all were set to 1")
    weight = kept.weight.double() * mask.unsqueeze(1)
    bias = target_mean - kept.input_mean @ weight if kept.has_bias else None
    return Recovered(weight, bias, note)


recover = MaskTuning()
