"""Differences between two sets of logits, in bounded memory and double precision."""

from __future__ import annotations

import math
from dataclasses import dataclass

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


@dataclass
class PairedScores:
    """Sums over the scored tokens of one document (a cluster), in nats."""

    tokens: int = 0
    dense_nll: float = 0.0
    artifact_nll: float = 0.0
    kl: float = 0.0
    agreements: int = 0

    @property
    def finite(self) -> bool:
        """Whether every sum is a number."""
        return all(map(math.isfinite, (self.dense_nll, self.artifact_nll, self.kl)))

    def add(self, dense: Tensor, artifact: Tensor, targets: Tensor) -> None:
        """Score `targets` under both models, teacher-forced.

        Args:
            dense: logits [S, V] of the dense model.
            artifact: logits [S, V] of the artifact at the same positions.
            targets: the tokens that follow, int64 [S].
        """
        for start in range(0, targets.shape[0], ROWS):
            block = slice(start, start + ROWS)
            self._add_block(dense[block].double(), artifact[block].double(), targets[block])

    def _add_block(self, dense: Tensor, artifact: Tensor, targets: Tensor) -> None:
        self.tokens += targets.shape[0]
        p, q = dense.log_softmax(-1), artifact.log_softmax(-1)
        self.dense_nll -= float(p.gather(-1, targets[:, None]).sum())
        self.artifact_nll -= float(q.gather(-1, targets[:, None]).sum())
        self.kl += float(kl_divergence(p, q).sum())
        self.agreements += int((dense.argmax(-1) == artifact.argmax(-1)).sum())


def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) in nats from log-probabilities [S, V]; [S]."""
    return (p.exp() * (p - q)).sum(-1)
