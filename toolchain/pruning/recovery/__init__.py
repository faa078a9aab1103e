"""Recovery methods, one per file: `recover(problem)`, a pure function.

A method fits the kept rows of an output projection to a target, from statistics alone; which
target is used, and whether the result is kept, is decided elsewhere, on held-out text.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Problem:
    """What is left of a projection Y = XW (+ bias), and what it should produce.

    All tensors are float64 on the CPU. With K the kept columns of X [N, d] and T [N, m] the target
    without the projection's bias:
    """

    gram: Tensor
    """X_KᵀX_K, [k, k]."""
    cross: Tensor
    """X_KᵀT, [k, m]."""
    weight: Tensor
    """W_K, [k, m], the unrecovered rows of `linear.weight.T`."""
    input_mean: Tensor
    """Mean of X_K over tokens, [k]."""
    target_mean: Tensor
    """Mean of T over tokens, [m]."""
    tokens: int
    """N."""
    has_bias: bool
    """Whether the projection has a bias that a recovery may move at no cost."""


@dataclass(frozen=True)
class Recovered:
    """The new projection: `weight` [k, m], `bias` [m] to add to the old one (None: untouched)."""

    weight: Tensor
    bias: Tensor | None = None
    note: str = ""
    """Anything that did not go as asked, for the record."""
