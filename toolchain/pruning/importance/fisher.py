"""Loss-aware error of removing a neuron and refitting the rest by least squares.

`condition` counts an error alike wherever it falls. Here it is weighted by the curvature of the
loss: with g the gradient of the dense model's loss with respect to the projection's output and
Γ = E[g gᵀ], the loss grows by about half of tr(Γ EᵀE) for an error E [N, m] of that output
(Kronecker-factored curvature, Martens & Grosse 2015, arXiv 1503.05671), and the best that the other
neurons can do about it is Optimal Brain Surgeon's block saliency with H ⊗ Γ for a Hessian. Using it
to remove whole neurons and heads of a decoder is ours. Being nats, it compares across layers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.pruning.gradients import ProjectionGradients
from toolchain.pruning.importance.condition import DAMPING
from toolchain.pruning.linear import factorise, inverse_blocks


def score(
    statistics: ProjectionStatistics,
    weight: Tensor,
    block: int,
    gradients: ProjectionGradients,
) -> Tensor:
    """I(B) = tr(Γ W_Bᵀ ([H⁻¹]_BB)⁻¹ W_B) / 2N, H = XᵀX + DAMPING * diag(XᵀX), nats per token.

    For one neuron: w_jᵀ Γ w_j / (2N [H⁻¹]_jj). The refit that reaches it is plain least squares,
    whatever Γ is. Shapes as in `toolchain.pruning.importance`.
    """
    fisher = gradients.fisher.double() / gradients.tokens
    factor, _ = factorise(lambda: statistics.gram.to(torch.float64, copy=True), DAMPING)
    inverses = inverse_blocks(factor, block)
    rows = weight.double().reshape(-1, block, weight.shape[1])
    solved: Tensor = torch.linalg.solve(inverses, rows)
    return (rows @ fisher * solved).sum((1, 2)) / (2 * statistics.tokens)
