"""Differences between two sets of logits, in bounded memory and double precision."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from torch import Tensor

ROWS = 64
"""Rows compared at a time: 64 x 150,000 doubles are 77 MB."""


@dataclass
class LogitDifference:
    """Running comparison of candidate logits with reference logits, position by position."""

    positions: int = 0
    elements: int = 0
    max_abs: float = 0.0
    sum_abs: float = 0.0
    signal: float = 0.0
    noise: float = 0.0
    kl: float = 0.0
    agreements: int = 0
    all_finite: bool = True

    def add(self, reference: Tensor, candidate: Tensor) -> None:
        """Take in more positions.

        Args:
            reference: logits [S, V].
            candidate: logits [S, V].
        """
        for start in range(0, reference.shape[0], ROWS):
            block = slice(start, start + ROWS)
            self._add_block(reference[block].double(), candidate[block].double())

    def merge(self, other: LogitDifference) -> None:
        """Take in all that `other` has seen."""
        for field in fields(self):
            ours, theirs = getattr(self, field.name), getattr(other, field.name)
            if field.name == "max_abs":
                self.max_abs = max(ours, theirs)
            elif field.name == "all_finite":
                self.all_finite = ours and theirs
            else:
                setattr(self, field.name, ours + theirs)

    def _add_block(self, reference: Tensor, candidate: Tensor) -> None:
        self.positions += reference.shape[0]
        self.elements += reference.numel()
        if not bool(candidate.isfinite().all()):
            self.all_finite = False
            return
        error = (candidate - reference).abs()
        self.max_abs = max(self.max_abs, float(error.max()))
        self.sum_abs += float(error.sum())
        self.signal += float(reference.square().sum())
        self.noise += float(error.square().sum())
        p, q = reference.log_softmax(-1), candidate.log_softmax(-1)
        self.kl += float(kl_divergence(p, q).sum())
        self.agreements += int((reference.argmax(-1) == candidate.argmax(-1)).sum())

    @property
    def mean_abs(self) -> float:
        """Mean |difference| over all positions and vocabulary entries."""
        return self.sum_abs / self.elements

    @property
    def mean_kl(self) -> float:
        """Mean KL(reference || candidate) in nats per position."""
        return self.kl / self.positions

    @property
    def top1(self) -> float:
        """Share of positions whose largest logit is at the same token."""
        return self.agreements / self.positions

    @property
    def sqnr_db(self) -> float:
        """10·log10(Σ reference² / Σ (candidate - reference)²); infinite for equal logits."""
        return 10 * math.log10(self.signal / self.noise) if self.noise else math.inf


def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) in nats from log-probabilities [S, V]; [S]."""
    return (p.exp() * (p - q)).sum(-1)
