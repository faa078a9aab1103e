"""Damped float64 linear algebra shared by scores and recoveries.

A float64 matrix of d x d takes 0.5 GB at d = 8192, so everything here holds one at a time: it is
factorised in place, solved with in place, and its inverse is only ever seen a panel at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from toolchain.model.sizes import SOLVED_AT_A_TIME

LARGEST_DAMPING = 1.0


def damp_(matrix: Tensor, damping: float) -> Tensor:
    """Add damping * diag(matrix) to a float64 matrix.

    Per column, because a few outlier channels dominate a mean. A dead column (zero diagonal) gets
    a floor far below every live one, which makes it the cheapest to remove.
    """
    diagonal = matrix.diagonal()
    largest = float(diagonal.max()) or 1.0
    diagonal += damping * diagonal
    diagonal.clamp_(min=1e-12 * largest)
    return matrix


def factorise(make: Callable[[], Tensor], damping: float) -> tuple[Tensor, float]:
    """Lower Cholesky factor of a damped matrix, in the matrix's own memory, and its damping.

    The damping grows tenfold until the matrix is positive definite.

    Args:
        make: a fresh float64 [d, d] symmetric matrix, to be overwritten; only its upper triangle
            is read. Called again where the damping must grow.
        damping: the least damping.

    Raises:
        ArithmeticError: even LARGEST_DAMPING does not help (the matrix is not a Gram matrix).
    """
    while True:
        # LAPACK's order of a symmetric matrix is its transpose: factorised without a copy.
        factor = damp_(make(), damping).mT
        info = torch.zeros((), dtype=torch.int32)
        torch.linalg.cholesky_ex(factor, out=(factor, info))
        if int(info) == 0:
            return factor, damping
        if damping >= LARGEST_DAMPING:
            raise ArithmeticError(f"not positive definite at damping {damping}")
        damping *= 10


def solve_(factor: Tensor, right: Tensor) -> Tensor:
    """(LLᵀ)⁻¹ right for `right` [d, n] float64, in the memory of `right`."""
    for start in range(0, right.shape[1], SOLVED_AT_A_TIME):
        columns = right[:, start : start + SOLVED_AT_A_TIME]
        half = torch.linalg.solve_triangular(factor, columns, upper=False)
        columns.copy_(torch.linalg.solve_triangular(factor.mT, half, upper=True))
    return right


def inverse_blocks(factor: Tensor, block: int) -> Tensor:
    """The d/block square blocks on the diagonal of (LLᵀ)⁻¹, as [d/block, block, block].

    With Z = L⁻¹ they are Z_:Bᵀ Z_:B; Z is lower triangular, so that a panel of its columns needs
    only the part of L below and right of the panel. Half the work of the whole inverse, and none of
    its memory.
    """
    size = len(factor)
    width = block * max(1, SOLVED_AT_A_TIME // block)
    blocks = []
    for start in range(0, size, width):
        panel = _inverse_panel(factor[start:, start:], min(width, size - start))
        grouped = panel.view(len(panel), -1, block)
        blocks.append(torch.einsum("nbi,nbj->bij", grouped, grouped))
    return torch.cat(blocks)


def _inverse_panel(factor: Tensor, width: int) -> Tensor:
    """The first `width` columns of L⁻¹, by forward substitution over blocks of rows."""
    size = len(factor)
    panel = factor.new_empty(size, width)
    for start in range(0, size, width):
        rows = slice(start, min(start + width, size))
        if start == 0:
            right = torch.eye(width, dtype=factor.dtype)
        else:
            right = -(factor[rows, :start] @ panel[:start])
        panel[rows] = torch.linalg.solve_triangular(factor[rows, rows], right, upper=False)
    return panel


def gathered(matrix: Tensor, index: Tensor) -> Tensor:
    """matrix[index][:, index] as a new float64 matrix, a few rows at a time."""
    out = torch.empty(len(index), len(index), dtype=torch.float64)
    for rows in row_panels(len(index)):
        out[rows] = matrix[index[rows]][:, index]
    return out


def quadratic_(gram: Tensor, weight: Tensor) -> Tensor:
    """Turn a float64 `gram` into Q = gram ∘ WWᵀ, in its upper triangle; W is [d, m]."""
    whole = weight.double()
    for rows in row_panels(len(gram)):
        right = slice(rows.start, None)
        gram[rows, right] *= whole[rows] @ whole[right].T
    return gram


def row_panels(count: int, times: int = 1) -> Iterator[slice]:
    """Slices of `times` SOLVED_AT_A_TIME rows that cover `count`."""
    size = times * SOLVED_AT_A_TIME
    return (slice(start, start + size) for start in range(0, count, size))


def diagonal_blocks(matrix: Tensor, block: int) -> Tensor:
    """The d/block square blocks on the diagonal of [d, d], as float64 [d/block, block, block]."""
    count = matrix.shape[0] // block
    index = torch.arange(count)
    return matrix.view(count, block, count, block)[index, :, index, :].double()


def row_products(weight: Tensor, block: int) -> Tensor:
    """W_B W_Bᵀ for each block of adjacent rows of W [d, m], as float64 [d/block, block, block]."""
    rows = weight.reshape(-1, block, weight.shape[1])
    size = max(1, SOLVED_AT_A_TIME // block)
    panels = (rows[start : start + size].double() for start in range(0, len(rows), size))
    return torch.cat([panel @ panel.mT for panel in panels])
