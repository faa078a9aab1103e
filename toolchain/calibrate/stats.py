"""Streaming statistics of the input of an output projection: everything scores and refits need.

Accumulation is float32 on the device of the activations, with reduced-precision matrix products
off; solving happens in float64 on the CPU (`in_float64`). Sums are mergeable, so neither the split
into batches nor their order matters beyond rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


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
            self.gram += x.T @ x
            self.target_cross += x.T @ t
            self.drift_cross += x.T @ d
        self.input_sum += x.sum(0)
        self.target_sum += t.sum(0)
        self.drift_sum += d.sum(0)
        self.tokens += int(mask.sum())

    def merge(self, other: ProjectionStatistics) -> ProjectionStatistics:
        """Statistics of both token sets together."""
        return ProjectionStatistics(
            *(getattr(self, f.name) + getattr(other, f.name) for f in fields(self))
        )

    def in_float64(self) -> ProjectionStatistics:
        """The same sums in float64 on the CPU, ready for solving."""
        names = [field.name for field in fields(self) if field.name != "tokens"]
        return replace(self, **{name: getattr(self, name).cpu().double() for name in names})

    @property
    def centred_gram(self) -> Tensor:
        """(X - mean)ᵀ(X - mean), [d, d]."""
        return self.gram - torch.outer(self.input_sum, self.input_sum) / self.tokens

    @property
    def variance(self) -> Tensor:
        """Population variance of each column of X, [d].

        From the sums of the whole set: E[x²] - E[x]². (FLAP's running update overwrites the mean
        that it still needs, and so drifts with the number of batches.)
        """
        mean = self.input_sum / self.tokens
        return (self.gram.diagonal() / self.tokens - mean**2).clamp_min(0)
