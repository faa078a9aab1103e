"""What the model card claims: held-out perplexity and accuracy on minimal pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.embedded.grammar import KINDS, AgreementItem, agreement_items, documents
from toolchain.progress import SILENT, Progress, track

IGNORED = -100
BATCH = 32


@dataclass(frozen=True)
class Accuracy:
    """Minimal pairs of one kind: how many were right; chance is one half."""

    correct: int
    total: int


@dataclass(frozen=True)
class Scores:
    """Scores of a checkpoint on the evaluation stories."""

    documents: int
    tokens: int
    perplexity: float
    """exp of the mean loss per token; BOS first, one story per document, no EOS."""
    perplexity_se: float
    """Standard error of `perplexity`, clustered by document."""
    accuracy: dict[str, Accuracy]
    """By kind of minimal pair: agreement, pronoun, counting, recall."""


def score(model_dir: Path, documents: int, items: int, progress: Progress = SILENT) -> Scores:
    """Score a checkpoint, loaded as float32, on the first evaluation stories.

    Args:
        model_dir: folder with weights and tokenizer.
        documents: how many evaluation stories count for the perplexity.
        items: how many minimal pairs, spread evenly over the kinds.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    losses, counts = _document_losses(model, tokenizer, documents, progress)
    perplexity, standard_error = clustered_perplexity(losses, counts)
    return Scores(
        documents=documents,
        tokens=int(sum(counts)),
        perplexity=perplexity,
        perplexity_se=standard_error,
        accuracy=_accuracy(model, tokenizer, agreement_items(items), progress),
    )


def clustered_perplexity(losses: Sequence[float], counts: Sequence[int]) -> tuple[float, float]:
    """Perplexity and its standard error when the tokens of a document depend on each other.

    The mean loss is a ratio m = sum(s_d) / sum(n_d); its variance by linearisation is
    D / (D - 1) * sum((s_d - m n_d)^2) / (sum n_d)^2 (Cochran, Sampling Techniques, 1977, ch. 6),
    and the error of exp(m) follows by the delta method.

    Args:
        losses: summed loss s_d of each document, in nats.
        counts: scored tokens n_d of each document.
    """
    clusters, total = len(losses), sum(counts)
    mean = sum(losses) / total
    squares = sum((s - mean * n) ** 2 for s, n in zip(losses, counts, strict=True))
    deviation = math.sqrt(clusters / (clusters - 1) * squares) / total
    return math.exp(mean), math.exp(mean) * deviation


def pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Right-pad token rows.

    Returns:
        Input ids (batch, length) int64, and targets of that shape: the next token, or IGNORED.
    """
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    targets = torch.full((len(rows), width), IGNORED)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        targets[index, : len(row) - 1] = torch.tensor(row[1:])
    return ids, targets


def token_losses(model: nn.Module, rows: Sequence[Sequence[int]]) -> Tensor:
    """Loss of every token after the first, in nats: (batch, length), zero where padded.

    Padding stands on the right, so the causal mask already keeps it from the tokens scored.
    """
    ids, targets = pad(rows)
    logits = model(input_ids=ids, use_cache=False).logits.float()
    flat = nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return flat.view_as(targets)


@torch.no_grad()
def _document_losses(
    model: nn.Module, tokenizer: Any, count: int, progress: Progress
) -> tuple[list[float], list[int]]:
    rows: list[list[int]] = tokenizer(documents("evaluation", count))["input_ids"]
    starts = range(0, count, BATCH)
    losses: list[float] = []
    for start in track(starts, progress, "held-out perplexity", len(starts)):
        batch = token_losses(model, rows[start : start + BATCH])
        losses += batch.double().sum(dim=1).tolist()
    return losses, [len(row) - 1 for row in rows]


@torch.no_grad()
def _accuracy(
    model: nn.Module, tokenizer: Any, items: Sequence[AgreementItem], progress: Progress
) -> dict[str, Accuracy]:
    correct = dict.fromkeys(KINDS, 0)
    starts = range(0, len(items), BATCH // 2)
    for start in track(starts, progress, "minimal pairs", len(starts)):
        batch = items[start : start + BATCH // 2]
        texts = [item.context + word for item in batch for word in (item.right, item.wrong)]
        # The context is the same in both, so the difference of the sums is the continuation's.
        sums = token_losses(model, tokenizer(texts)["input_ids"]).double().sum(dim=1)
        right, wrong = sums.view(-1, 2).unbind(dim=1)
        for item, better in zip(batch, (right < wrong).tolist(), strict=True):
            correct[item.kind] += better
    totals = {kind: sum(item.kind == kind for item in items) for kind in KINDS}
    return {kind: Accuracy(correct[kind], totals[kind]) for kind in KINDS}
