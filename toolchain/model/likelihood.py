"""Log-likelihood of documents under a whole model, and perplexity with its standard error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.calibrate.sources import pieces
from toolchain.progress import SILENT, Progress, track
from toolchain.statistics import cluster_mean

BATCH_TOKENS = 4096

Likelihoods = list[np.ndarray[tuple[int], np.dtype[np.float64]]]


@dataclass(frozen=True)
class Perplexity:
    """exp(mean negative log-likelihood per predicted token), documents as clusters."""

    value: float
    standard_error: float
    """By the delta method: value * SE of the mean."""
    tokens: int
    documents: int

    @classmethod
    def of(cls, nlls: Sequence[np.ndarray[tuple[int], np.dtype[np.float64]]]) -> Perplexity:
        """From nats per predicted token, one array per document.

        Raises:
            ValueError: fewer than two documents with a predicted token.
        """
        kept = [n for n in nlls if len(n)]
        estimate = cluster_mean([math.fsum(n) for n in kept], [len(n) for n in kept])
        value = math.exp(estimate.mean)
        return cls(value, value * estimate.standard_error, sum(map(len, kept)), len(kept))


def padded_batches(
    sequences: Sequence[Sequence[int]], batch_tokens: int = BATCH_TOKENS, *, padded: bool = True
) -> list[tuple[list[int], Tensor, Tensor]]:
    """Right-padded batches of sequences of like length.

    Padding on the right never reaches an earlier position of a causal model.

    Args:
        sequences: token ids.
        batch_tokens: most ids in a batch, padding included (one sequence may exceed it).
        padded: False: only sequences of one length share a batch.

    Returns:
        (positions in `sequences`, token ids [b, t] int64 padded with 0, mask [b, t] bool), longest
        sequences first.
    """
    order = sorted(range(len(sequences)), key=lambda i: (-len(sequences[i]), i))
    batches = []
    while order:
        longest = len(sequences[order[0]])
        count = max(1, batch_tokens // max(longest, 1))
        if not padded:
            count = min(count, sum(len(sequences[index]) == longest for index in order))
        rows, order = order[:count], order[count:]
        ids = torch.zeros(len(rows), longest, dtype=torch.int64)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for row, index in enumerate(rows):
            length = len(sequences[index])
            ids[row, :length] = torch.tensor(sequences[index], dtype=torch.int64)
            mask[row, :length] = True
        batches.append((rows, ids, mask))
    return batches


def predicted(mask: Tensor) -> Tensor:
    """Which positions of [b, t] predict a real token: [b, t - 1]."""
    return mask[:, 1:]


def negative_log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """Nats of each target, float64 [n] on the CPU, from logits [n, vocabulary] and ids [n]."""
    return nn.functional.cross_entropy(logits.float(), targets, reduction="none").cpu().double()


@torch.inference_mode()
def document_nlls(
    model: nn.Module,
    documents: Sequence[Sequence[int]],
    *,
    context_length: int,
    bos_token_id: int | None,
    progress: Progress = SILENT,
) -> Likelihoods:
    """Nats per predicted token of each document.

    A document longer than the context is cut into `calibrate.sources.pieces`: with a BOS each of
    its tokens is predicted once, from what its piece has seen.

    Args:
        model: a transformers causal language model.
        documents: token ids, BOS first where the model has one.
        context_length: most ids in one piece, BOS included.
        bos_token_id: the id that opens each piece, if the model has one.
        progress: one step per batch.

    Returns:
        float64 arrays in the order of `documents`, each token's nats in its order.
    """
    owners: list[int] = []
    cut: list[list[int]] = []
    for index, document in enumerate(documents):
        for piece in pieces(document, context_length, bos_token_id):
            owners.append(index)
            cut.append(piece)
    found: list[Tensor] = [torch.empty(0)] * len(cut)
    device = next(model.parameters()).device
    batches = padded_batches(cut)
    for rows, ids, mask in track(batches, progress, "likelihood", len(batches)):
        logits = model(ids.to(device)).logits
        for row, index in enumerate(rows):
            count = int(mask[row].sum()) - 1
            targets = ids[row, 1 : count + 1].to(device)
            found[index] = negative_log_likelihood(logits[row, :count], targets)
    parts: list[list[Tensor]] = [[] for _ in documents]
    for owner, nats in zip(owners, found, strict=True):
        parts[owner].append(nats)
    return [torch.cat(p).numpy() for p in parts]
