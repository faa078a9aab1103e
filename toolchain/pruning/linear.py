"""Damped float64 linear algebra shared by scores and recoveries."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_DAMPING = 1.0


def damped(matrix: Tensor, damping: float) -> Tensor:
    """matrix + damping * diag(matrix), float64.

    Per column, because a few outlier channels dominate a mean. A dead column (zero diagonal) gets
    a floor far below every live one, which makes it the cheapest to remove.
    """
    out = matrix.double().clone()
    diagonal = out.diagonal()
    largest = float(diagonal.max()) or 1.0
    diagonal += damping * diagonal
    diagonal.clamp_(min=1e-12 * largest)
    return out


def cholesky(matrix: Tensor, damping: float) -> tuple[Tensor, float]:
    """Cholesky factor of the damped matrix, and the damping that it took.

    The damping grows tenfold until the matrix is positive definite.

    Raises:
        ArithmeticError: even LARGEST_DAMPING does not help (the matrix is not a Gram matrix).
    """
    while True:
        factor, info = torch.linalg.cholesky_ex(damped(matrix, damping))
        if int(info) == 0:
            return factor, damping
        if damping >= LARGEST_DAMPING:
            raise ArithmeticError(f"not positive definite at damping {damping}")
        damping *= 10


def inverse(matrix: Tensor, damping: float) -> Tensor:
    """Inverse of the damped symmetric positive semidefinite matrix."""
    return torch.cholesky_inverse(cholesky(matrix, damping)[0])


def diagonal_blocks(matrix: Tensor, block: int) -> Tensor:
    """The d/block square blocks on the diagonal of [d, d], as [d/block, block, block]."""
    count = matrix.shape[0] // block
    index = torch.arange(count)
    return matrix.reshape(count, block, count, block)[index, :, index, :]
