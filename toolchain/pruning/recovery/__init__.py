"""Recovery methods, one per file: `recover(problem)`, a pure function.

A method fits the kept rows of an output projection to a target, from statistics alone; which
target is used, and whether the result is kept, is decided elsewhere, on held-out text.

A `recover` may also be a `SharedRecovery`, which fits all targets of a projection at once and does
what they share, such as a factorisation, only once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

TARGETS = ("own", "dense", "residual", "own+dense", "own+residual")
"""What a projection may be fitted to; see `toolchain.pruning.targets`."""


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


@dataclass(frozen=True)
class KeptRows:
    """What all targets of a projection have in common; K as in `Problem`."""

    gram: Callable[[], Tensor]
    """Makes X_KᵀX_K anew, float64 [k, k] on the CPU, for its caller to overwrite."""
    weight: Tensor
    """W_K, [k, m] on the CPU."""
    input_mean: Tensor
    """Mean of X_K over tokens, float64 [k]."""
    tokens: int
    has_bias: bool


@dataclass(frozen=True)
class Target:
    """A target T [N, m], as what is still missing."""

    rest: Tensor
    """X_Kᵀ(T - X_K W_K), [k, m] on the CPU, in the dtype of W_K."""
    mean: Tensor
    """Mean of T over tokens, float64 [m]."""

    def mixed_with(self, other: Target) -> Target:
        """The mean of both targets."""
        return Target((self.rest + other.rest) / 2, (self.mean + other.mean) / 2)


@runtime_checkable
class SharedRecovery(Protocol):
    """A recovery that solves for all targets of a projection together."""

    @property
    def tried(self) -> tuple[str, ...]:
        """The targets of `toolchain.pruning.targets` that are worth a solve and a judgement."""
        ...

    def __call__(self, problem: Problem) -> Recovered:
        """Fit one target."""
        ...

    def fit(
        self,
        kept: KeptRows,
        targets: Mapping[str, Target],
        mixtures: Mapping[str, tuple[str, str]],
    ) -> Iterator[tuple[str, Recovered]]:
        """The recovered projection for each target and each mean of two of them, by name.

        The targets are for this alone: their `rest` may be overwritten.
        """
        ...


def alone(recovery: SharedRecovery, problem: Problem) -> Recovered:
    """`fit` for a single target."""
    rest = problem.cross - problem.gram @ problem.weight
    kept = KeptRows(
        problem.gram.clone, problem.weight, problem.input_mean, problem.tokens, problem.has_bias
    )
    found = recovery.fit(kept, {"": Target(rest, problem.target_mean)}, {})
    return next(recovered for _, recovered in found)
