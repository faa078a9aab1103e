"""How far a model is from the dense one, by its final hidden states: what that means by its kind.

A decoder is measured by KL(dense ‖ model) in nats per predicted token. An encoder predicts nothing
that all its users share; what they share are the embeddings that it gives a text. Theirs is the
mean over texts of 1 - cos(dense, model), of embeddings averaged over the text's tokens as
sentence-transformers do: what retrieval and clustering see of an encoder. The error of single
hidden states would count what that average forgets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from toolchain.model.head_loss import HeadLoss
from toolchain.model.likelihood import Perplexity, predicted
from toolchain.model.outer import Entrance, Outer
from toolchain.pruning.flow import Batch


class Ruler(Protocol):
    """Measures final hidden states, before any final norm."""

    def divergences(
        self,
        batches: Sequence[Batch],
        reference: Sequence[Tensor],
        candidates: Sequence[Mapping[str, Tensor]],
    ) -> dict[str, float]:
        """How far each candidate is from the reference.

        Args:
            batches: the text.
            reference: per batch, the dense model's [b, t, hidden_size].
            candidates: per batch, others like it by name.
        """
        ...

    def perplexity(self, batches: Sequence[Batch], ends: Sequence[Tensor]) -> Perplexity | None:
        """Of the model whose final hidden states are `ends`; an encoder has none."""
        ...


@dataclass(frozen=True)
class LogitRuler:
    """A decoder's."""

    outer: Outer

    def divergences(
        self,
        batches: Sequence[Batch],
        reference: Sequence[Tensor],
        candidates: Sequence[Mapping[str, Tensor]],
    ) -> dict[str, float]:
        """KL(dense ‖ candidate), nats per predicted token."""
        wanted = [predicted(batch.mask) for batch in batches]
        found = self.outer.divergences(
            _rows(reference, wanted),
            {name: _rows([end[name] for end in candidates], wanted) for name in candidates[0]},
        )
        return {name: float(values.mean()) for name, values in found.items()}

    def perplexity(self, batches: Sequence[Batch], ends: Sequence[Tensor]) -> Perplexity:
        """Of the text, samples as clusters."""
        wanted = [predicted(batch.mask) for batch in batches]
        targets = [b.token_ids[:, 1:][w] for b, w in zip(batches, wanted, strict=True)]
        nlls = self.outer.negative_log_likelihood(_rows(ends, wanted), torch.cat(targets))
        ends_of_rows = torch.cat([mask.sum(1) for mask in wanted]).cumsum(0)
        return Perplexity.of(np.split(nlls.numpy(), ends_of_rows[:-1].numpy()))


class EmbeddingRuler:
    """An encoder's."""

    def divergences(
        self,
        batches: Sequence[Batch],
        reference: Sequence[Tensor],
        candidates: Sequence[Mapping[str, Tensor]],
    ) -> dict[str, float]:
        """Mean over texts of 1 - cos(dense, candidate), of their embeddings."""
        masks = [batch.mask for batch in batches]
        dense = _embeddings(reference, masks)
        return {
            name: float(cosine_distances(dense, _embeddings(ends, masks)).mean())
            for name in candidates[0]
            for ends in [[end[name] for end in candidates]]
        }

    def perplexity(self, batches: Sequence[Batch], ends: Sequence[Tensor]) -> None:
        """An encoder has none."""
        del batches, ends


def ruler_for(outer: Entrance) -> Ruler:
    """The ruler for the model that `outer` is the outer part of."""
    return LogitRuler(outer) if isinstance(outer, Outer) else EmbeddingRuler()


def mean_pooled(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean of the hidden states [b, t, h] over real tokens, bool [b, t]: [b, h] in their dtype."""
    weights = mask.to(hidden).unsqueeze(-1)
    return (hidden * weights).sum(1) / weights.sum(1)


def cosine_distances(one: Tensor, other: Tensor) -> Tensor:
    """1 - cos of each pair of rows of two [n, h]: [n].

    As half the squared distance of unit vectors, which keeps its digits where it is small.
    """
    units = [torch.nn.functional.normalize(rows, dim=-1) for rows in (one, other)]
    return (units[0] - units[1]).square().sum(-1) / 2


def embedding_loss(hidden: Tensor, teacher: Tensor, mask: Tensor) -> HeadLoss:
    """1 - cos(teacher, model) of the embeddings, summed over texts, and its gradient.

    Args:
        hidden: final hidden states, [b, t, hidden_size].
        teacher: the teacher's, like it.
        mask: bool [b, t], False at padding.
    """
    leaf = hidden.detach().requires_grad_()
    real = mask.to(hidden.device)
    with torch.enable_grad():
        dense = mean_pooled(teacher.to(hidden.device), real)
        loss = cosine_distances(dense, mean_pooled(leaf, real)).sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
    return HeadLoss(float(loss.detach()), gradient)


def _embeddings(hidden: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    """Embeddings of all texts, float64 [n, h]."""
    return torch.cat([mean_pooled(h.double(), m) for h, m in zip(hidden, masks, strict=True)])


def _rows(hidden: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """The hidden states that predict a token, [n, hidden_size], of batches [b, t, hidden_size]."""
    return torch.cat([h[:, :-1][w] for h, w in zip(hidden, wanted, strict=True)])
