"""G2: is the artifact, run by its own engine, at most a margin worse than the dense model?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from runtime_py.engines import Engine
from toolchain.calibrate.sources import pieces
from toolchain.progress import SILENT, Progress, track
from toolchain.statistics import MeanEstimate, cluster_mean
from toolchain.validation.logits import PairedScores
from toolchain.validation.noninferiority import POWER, NonInferiority, non_inferiority
from toolchain.validation.verdict import FAIL, PASS, Finding, GateResult, Measure, finite

TITLE = "non-inferiority"


def score_documents(
    model: nn.Module,
    engine: Engine,
    documents: Sequence[Sequence[int]],
    bos_token_id: int | None,
    progress: Progress = SILENT,
) -> list[PairedScores]:
    """Teacher-forced scores of both models on the same tokens, per document.

    A document longer than the context is cut into pieces, which stay in its cluster.

    Args:
        model: the dense transformers model, float32.
        engine: the artifact's own engine.
        documents: token ids, BOS first where the model has one.
        bos_token_id: that BOS.

    Returns:
        One entry per document, in order.
    """
    scores = []
    title = "Comparing the dense model and the bundle"
    for document in track(documents, progress, title, len(documents)):
        total = PairedScores()
        for piece in pieces(document, engine.context_length, bos_token_id):
            inputs, targets = piece[:-1], torch.tensor(piece[1:])
            engine.reset()
            artifact = torch.from_numpy(engine.prefill(inputs))
            with torch.inference_mode():
                dense = model(torch.tensor([inputs]), use_cache=False).logits[0]
                total.add(dense, artifact, targets)
        scores.append(total)
    return scores


def quality_gate(scores: Sequence[PairedScores], margin: float, alpha: float) -> GateResult:
    """Decide G2 from the scores of the documents.

    Args:
        scores: one entry per document (a cluster); at least two.
        margin: tolerated relative rise of perplexity.
        alpha: chance of passing an artifact that is exactly at the margin.
    """
    rule = (
        f"at {1 - alpha:.4g} confidence the artifact's perplexity is at most {1 + margin:.4g} "
        "times the dense model's: δ + t·SE <= ln(1 + margin), documents as clusters"
    )
    broken = [s for s in scores if not s.finite]
    if broken:
        sentence = f"{len(broken)} of {len(scores)} documents have a likelihood that is no number"
        return GateResult(
            "G2", TITLE, rule, FAIL, sentence, [Finding("finite likelihoods", False, sentence)]
        )
    counts = [s.tokens for s in scores]
    test = non_inferiority([s.artifact_nll - s.dense_nll for s in scores], counts, margin, alpha)
    sentence = _sentence(test, len(scores), sum(counts), alpha)
    return GateResult(
        "G2",
        TITLE,
        rule,
        test.outcome,
        sentence,
        [Finding("perplexity ratio", test.outcome == PASS, sentence)],
        _measures(scores, counts, test, alpha),
    )


def _sentence(test: NonInferiority, documents: int, tokens: int, alpha: float) -> str:
    ratio, limit = _exp(test.difference.mean), math.exp(test.limit)
    low, high = _exp(test.lower), _exp(test.upper)
    on = f"on {documents} documents ({tokens} tokens)"
    found = f"perplexity is {ratio:.4f} times the dense model's"
    sure = f"at {1 - alpha:.4g} confidence"
    if test.outcome == PASS:
        return f"{found}, at most {high:.4f} {sure}, within {limit:.4g}, {on}"
    if test.outcome == FAIL:
        return f"{found}, at least {low:.4f} {sure}, beyond {limit:.4g}, {on}"
    return (
        f"{found}, between {low:.4f} and {high:.4f}, which leaves {limit:.4g} open, {on}; "
        f"{_way_out(test)}"
    )


def _way_out(test: NonInferiority) -> str:
    if test.documents_needed is None:
        return (
            "the estimate is so near the margin that no number of documents is likely to settle it"
        )
    needed = f"about {test.documents_needed} documents would settle it with probability {POWER:.0%}"
    if test.leans_to_fail:
        return f"the estimate itself is beyond the margin: {needed}, and rather to a FAIL"
    return f"{needed}, if the estimate holds"


def _measures(
    scores: Sequence[PairedScores], counts: list[int], test: NonInferiority, alpha: float
) -> dict[str, Measure]:
    def mean(sums: list[float]) -> MeanEstimate:
        return cluster_mean(sums, counts)

    return {
        "documents": Measure(len(scores)),
        "tokens": Measure(sum(counts)),
        "delta_nats": _measure(test.difference, alpha),
        "perplexity_ratio": _exponential(test.difference, alpha),
        "perplexity_ratio_limit": Measure(math.exp(test.limit)),
        "documents_needed": Measure(test.documents_needed),
        "dense_perplexity": _exponential(mean([s.dense_nll for s in scores]), alpha),
        "artifact_perplexity": _exponential(mean([s.artifact_nll for s in scores]), alpha),
        "kl_nats": _measure(mean([s.kl for s in scores]), alpha),
        "top1_agreement": _measure(mean([s.agreements for s in scores]), alpha),
    }


def _measure(estimate: MeanEstimate, alpha: float) -> Measure:
    return Measure(
        estimate.mean, estimate.standard_error, estimate.bound(alpha), estimate.bound(1 - alpha)
    )


def _exponential(estimate: MeanEstimate, alpha: float) -> Measure:
    """exp of an estimate: its SE by the delta method, its bounds by transforming the bounds."""
    value = _exp(estimate.mean)
    return Measure(
        finite(value),
        finite(value * estimate.standard_error),
        finite(_exp(estimate.bound(alpha))),
        finite(_exp(estimate.bound(1 - alpha))),
    )


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf  # exp(710) overflows a double
