"""Streaming statistics of the input of an output projection: everything scores and refits need.

Accumulation is float32 on the device of the activations, with reduced-precision matrix products
off; solving happens in float64 on the CPU, by whoever solves, so that no second set of the largest
matrices is kept. Sums are mergeable, so neither the split into batches nor their order matters
beyond rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, fields

import torch
from torch import Tensor

GRAM_PANEL = 1024
"""Rows of XᵀX that are summed at a time: what lies below the diagonal is mirrored, not computed."""


@contextmanager
def exact_matmul() -> Iterator[None]:
    """Full float32 matrix products (TF32 off) within the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@dataclass
class ProjectionStatistics:
    """Sums over N tokens for a projection Y = XW with X [N, d] and Y [N, m].

    X comes from the pruned prefix. T [N, m] is the same projection's output in the dense model,
    and D [N, m] how far the dense residual stream is ahead of the pruned one where the block
    begins (dense - pruned). Biases of the projection are left out of T.
    """

    gram: Tensor
    """S = XᵀX, [d, d]."""
    input_sum: Tensor
    """Sum of X over tokens, [d]."""
    target_cross: Tensor
    """XᵀT, [d, m]."""
    target_sum: Tensor
    """Sum of T, [m]."""
    drift_cross: Tensor
    """XᵀD, [d, m]."""
    drift_sum: Tensor
    """Sum of D, [m]."""
    tokens: int = 0

    @classmethod
    def zeros(
        cls, width: int, outputs: int, device: torch.device | str = "cpu"
    ) -> ProjectionStatistics:
        """Empty sums for d = `width` and m = `outputs`, float32 on `device`."""

        def empty(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float32, device=device)

        return cls(
            gram=empty(width, width),
            input_sum=empty(width),
            target_cross=empty(width, outputs),
            target_sum=empty(outputs),
            drift_cross=empty(width, outputs),
            drift_sum=empty(outputs),
        )

    def update_(self, inputs: Tensor, target: Tensor, drift: Tensor, mask: Tensor) -> None:
        """Add a batch.

        Args:
            inputs: X, [..., d].
            target: T, [..., m].
            drift: D, [..., m].
            mask: bool [...]; False marks padding, which is left out.
        """
        x, t, d = (v[mask].float() for v in (inputs, target, drift))
        with exact_matmul():
            add_gram_(self.gram, x)
            self.target_cross.addmm_(x.T, t)
            self.drift_cross.addmm_(x.T, d)
        self.input_sum += x.sum(0)
        self.target_sum += t.sum(0)
        self.drift_sum += d.sum(0)
        self.tokens += int(mask.sum())

    def merge(self, other: ProjectionStatistics) -> ProjectionStatistics:
        """Statistics of both token sets together."""
        return ProjectionStatistics(
            *(getattr(self, f.name) + getattr(other, f.name) for f in fields(self))
        )

    def on_cpu(self) -> ProjectionStatistics:
        """The same sums on the CPU."""
        return self._with(lambda tensor: tensor.cpu())

    def in_float64(self) -> ProjectionStatistics:
        """The same sums in float64 on the CPU: twice the memory, for small projections."""
        return self._with(lambda tensor: tensor.cpu().double())

    def _with(self, change: Callable[[Tensor], Tensor]) -> ProjectionStatistics:
        out = copy(self)
        for field in fields(self):
            if field.name != "tokens":
                setattr(out, field.name, change(getattr(self, field.name)))
        return out

    @property
    def variance(self) -> Tensor:
        """Population variance of each column of X, float64 [d].

        From the sums of the whole set: E[x²] - E[x]². (FLAP's running update overwrites the mean
        that it still needs, and so drifts with the number of batches.)
        """
        mean = self.input_sum.double() / self.tokens
        return (self.gram.diagonal().double() / self.tokens - mean**2).clamp_min(0)


def add_gram_(gram: Tensor, x: Tensor) -> None:
    """gram += xᵀx for x [n, d], with no second [d, d] matrix and little more than half the work."""
    size = len(gram)
    for start in range(0, size, GRAM_PANEL):
        stop = min(start + GRAM_PANEL, size)
        gram[start:stop, start:].addmm_(x[:, start:stop].T, x[:, start:])
        gram[stop:, start:stop] = gram[start:stop, stop:].T
