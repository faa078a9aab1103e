"""The least-squares refit restricted to the output directions that it changes most.

Between mask tuning and least squares in freedom, for calibration sets too small for the latter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from toolchain.pruning.recovery import KeptRows, Problem, Recovered, Target, alone
from toolchain.pruning.recovery.least_squares import recover as least_squares

SHARE = 0.9
"""Of what the full correction explains, in the norm of the outputs."""


class LowRank:
    """W_K' = W_K + Δ V_r V_rᵀ, Δ the correction of `least_squares`: reduced-rank regression.

    With G = X_KᵀX_K + λ diag = LLᵀ and R = X_Kᵀ(T - X_K W_K), Δ = G⁻¹R, and the best correction of
    rank r minimises ‖Lᵀ(Δ' - Δ)‖²: the r largest singular vectors of LᵀΔ (Izenman 1975). Its right
    ones, V, are the eigenvectors of ΔᵀGΔ = RᵀΔ [m, m]. r is the least rank that keeps `SHARE` of
    the trace. The correction is a matrix like any other, and is added to the weights.
    """

    tried = least_squares.tried

    def __init__(self, share: float = SHARE) -> None:
        self._share = share

    def __call__(self, problem: Problem) -> Recovered:
        """Refit to the target of `problem`."""
        return alone(self, problem)

    def fit(
        self,
        kept: KeptRows,
        targets: Mapping[str, Target],
        mixtures: Mapping[str, tuple[str, str]],
    ) -> Iterator[tuple[str, Recovered]]:
        """Refit to each target, and to each mean of two."""
        rests = {name: target.rest.clone() for name, target in targets.items()}
        for name, full in least_squares.fit(kept, targets, mixtures):
            one, other = mixtures.get(name, (name, name))
            rest = (rests[one].double() + rests[other].double()) / 2
            yield name, self._reduced(kept.weight, rest, full)

    def _reduced(self, weight: Tensor, rest: Tensor, full: Recovered) -> Recovered:
        correction = full.weight.double() - weight
        energy = rest.T @ correction
        values, vectors = torch.linalg.eigh((energy + energy.T) / 2)
        rank = rank_for(values, self._share)
        if rank == len(values):
            return full
        top = vectors[:, len(values) - rank :]
        note = "; ".join(filter(None, [f"rank {rank} of {len(values)}", full.note]))
        return Recovered((weight + correction @ top @ top.T).to(full.weight.dtype), note=note)


def rank_for(values: Tensor, share: float) -> int:
    """The fewest of the largest `values` (ascending, [m]) that sum to `share` of all."""
    explained = values.clamp_min(0).flip(0).cumsum(0)
    return min(len(values), int((explained < share * explained[-1]).sum()) + 1)


recover = LowRank()
