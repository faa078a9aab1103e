"""Exact error of removing a neuron and refitting the rest by least squares.

Our reading of COMP's "matrix condition-based" metric (Xu et al., arXiv 2501.15255, whose formula
is not public to us): for one neuron it equals (‖x_j‖ ‖w_j‖ / κ_j)², where κ_j = sqrt(H_jj [H⁻¹]_jj)
is Stewart's condition index of column j. A neuron whose activation is nearly a combination of the
others is cheap to remove. As an error it is the saliency of Optimal Brain Surgeon (Hassibi & Stork
1992) for a whole row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.pruning.linear import factorise, inverse_blocks, row_products

DAMPING = 1e-3


def score(statistics: ProjectionStatistics, weight: Tensor, block: int = 1) -> Tensor:
    """I_ls(B) = tr(W_Bᵀ ([H⁻¹]_BB)⁻¹ W_B), H = XᵀX + DAMPING * diag(XᵀX).

    For one neuron: ‖w_j‖² / [H⁻¹]_jj. Shapes as in `toolchain.pruning.importance`.
    """
    factor, _ = factorise(lambda: statistics.gram.to(torch.float64, copy=True), DAMPING)
    solved = torch.linalg.solve(inverse_blocks(factor, block), row_products(weight, block))
    trace: Tensor = solved.diagonal(dim1=1, dim2=2).sum(1)
    return trace
