"""What the model card claims: held-out perplexity and accuracy on minimal pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from toolchain.calibrate.sources import encode
from toolchain.embedded.grammar import KINDS, AgreementItem, agreement_items
from toolchain.embedded.grammar import documents as stories
from toolchain.model.checkpoint import open_checkpoint
from toolchain.model.likelihood import Perplexity, document_nlls
from toolchain.progress import SILENT, Progress


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
    """Score a checkpoint, computed in float32, on the first evaluation stories.

    Args:
        model_dir: folder with weights and tokenizer.
        documents: how many evaluation stories count for the perplexity.
        items: how many minimal pairs, spread evenly over the kinds.
        progress: one step per batch.
    """
    checkpoint = open_checkpoint(model_dir)
    losses = partial(
        document_nlls,
        checkpoint.load(),
        context_length=checkpoint.spec.max_position_embeddings,
        bos_token_id=checkpoint.special_ids()[0],
        progress=progress,
    )
    tokenizer = checkpoint.tokenizer()
    perplexity = Perplexity.of(losses(encode(tokenizer, stories("evaluation", documents))))
    pairs = agreement_items(items)
    texts = [item.context + word for item in pairs for word in (item.right, item.wrong)]
    # The context is the same in both, so the difference of the sums is the continuation's.
    sums = [float(nats.sum()) for nats in losses(encode(tokenizer, texts))]
    return Scores(
        documents=perplexity.documents,
        tokens=perplexity.tokens,
        perplexity=perplexity.value,
        perplexity_se=perplexity.standard_error,
        accuracy=_accuracy(pairs, sums[::2], sums[1::2]),
    )


def _accuracy(
    items: Sequence[AgreementItem], right: Sequence[float], wrong: Sequence[float]
) -> dict[str, Accuracy]:
    correct, totals = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    for item, nats_right, nats_wrong in zip(items, right, wrong, strict=True):
        totals[item.kind] += 1
        correct[item.kind] += nats_right < nats_wrong
    return {kind: Accuracy(correct[kind], totals[kind]) for kind in KINDS}
