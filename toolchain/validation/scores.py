"""Teacher-forced scores of two models on the same tokens, document by document."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from toolchain.validation.logits import ROWS, kl_divergence


@dataclass
class PairedScores:
    """Sums over the scored tokens of one document (a cluster), in nats."""

    tokens: int = 0
    dense_nll: float = 0.0
    artifact_nll: float = 0.0
    kl: float = 0.0
    agreements: int = 0
    """Tokens where both find the same one likeliest."""
    lost: int = 0
    """Tokens that the dense model alone would have written."""
    gained: int = 0
    """Tokens that the artifact alone would have written."""
    token_kl: list[float] = field(default_factory=list)
    """KL(dense || artifact) at each token."""

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
        kl = kl_divergence(p, q)
        self.kl += float(kl.sum())
        self.token_kl += kl.tolist()
        ours, theirs = artifact.argmax(-1), dense.argmax(-1)
        self.agreements += int((ours == theirs).sum())
        self.lost += int(((theirs == targets) & (ours != targets)).sum())
        self.gained += int(((theirs != targets) & (ours == targets)).sum())
