"""G2: is the artifact, run by its own engine, at most a margin worse than the dense model?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from runtime_py.engines import Engine
from toolchain.calibrate.sources import pieces
from toolchain.progress import SILENT, Progress, track
from toolchain.statistics import MeanEstimate, cluster_mean
from toolchain.validation.evidence import DocumentScore
from toolchain.validation.noninferiority import (
    POWER,
    NonInferiority,
    bootstrap_bounds,
    documents_needed,
    non_inferiority,
)
from toolchain.validation.scores import PairedScores
from toolchain.validation.scoring import CHUNK
from toolchain.validation.verdict import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    Finding,
    GateResult,
    Measure,
    finite,
)

TITLE = "non-inferiority"


@dataclass
class TextScores:
    """Both models on the held-out text: one entry per document, and the seconds each model took."""

    documents: list[PairedScores] = field(default_factory=list)
    dense_seconds: float = 0.0
    artifact_seconds: float = 0.0


def score_documents(
    dense: Callable[[list[int]], Tensor],
    engine: Engine,
    documents: Sequence[Sequence[int]],
    bos_token_id: int | None,
    progress: Progress = SILENT,
) -> TextScores:
    """Teacher-forced scores of both models on the same tokens, per document.

    A document longer than the context is cut into pieces, which stay in its cluster. The engine
    takes CHUNK tokens at a time, each call after the last one's cache.

    Args:
        dense: the dense model: token ids to logits [S, V].
        engine: the artifact's own engine.
        documents: token ids, BOS first where the model has one.
        bos_token_id: that BOS.
        progress: where to report.
    """
    found = TextScores()
    title = "Comparing the dense model and the bundle"
    for document in track(documents, progress, title, len(documents)):
        total = PairedScores()
        for piece in pieces(document, engine.context_length, bos_token_id):
            inputs, targets = piece[:-1], torch.tensor(piece[1:])
            started = time.perf_counter()
            logits = dense(inputs)
            found.dense_seconds += time.perf_counter() - started
            engine.reset()
            for start in range(0, len(inputs), CHUNK):
                block = slice(start, start + CHUNK)
                started = time.perf_counter()
                artifact = torch.from_numpy(engine.prefill(inputs[block]))
                found.artifact_seconds += time.perf_counter() - started
                total.add(logits[block], artifact, targets[block])
        found.documents.append(total)
    return found


def quality_gate(scores: Sequence[PairedScores], margin: float, alpha: float) -> GateResult:
    """Decide G2 from the scores of the documents.

    Args:
        scores: one entry per document (a cluster); at least two.
        margin: tolerated relative rise of perplexity.
        alpha: chance of passing an artifact that is exactly at the margin.
    """
    rule = (
        f"at {1 - alpha:.4g} confidence the artifact's perplexity is at most {1 + margin:.4g} "
        "times the dense model's: upper bound of δ <= ln(1 + margin), documents as clusters"
    )
    broken = [s for s in scores if not s.finite]
    if broken:
        sentence = f"{len(broken)} of {len(scores)} documents have a likelihood that is no number"
        return GateResult(
            "G2", TITLE, rule, FAIL, sentence, [Finding("finite likelihoods", False, sentence)]
        )
    counts = [s.tokens for s in scores]
    differences = [s.artifact_nll - s.dense_nll for s in scores]
    test = non_inferiority(differences, counts, margin, alpha)
    needed = _needed(test, differences, counts, alpha)
    sentence = _sentence(test, needed, len(scores), sum(counts), alpha)
    return GateResult(
        "G2",
        TITLE,
        rule,
        test.outcome,
        sentence,
        [Finding("perplexity ratio", test.outcome == PASS, sentence)],
        {
            "documents_needed": Measure(needed),
            "perplexity_ratio_bootstrap": _bootstrapped(test, differences, counts, alpha),
            **_measures(scores, counts, test, alpha),
        },
    )


def _needed(
    test: NonInferiority, differences: Sequence[float], counts: Sequence[int], alpha: float
) -> int | None:
    """Documents that would settle an open question; None where it is settled or none would do."""
    if test.outcome != INCONCLUSIVE:
        return None
    gap = test.limit - test.difference.mean
    found = documents_needed(differences, counts, gap, alpha)
    return None if found is None else max(found, len(counts) + 1)  # these did not do


def _bootstrapped(
    test: NonInferiority, differences: Sequence[float], counts: Sequence[int], alpha: float
) -> Measure:
    """The ratio of perplexities with the bounds of `bootstrap_bounds`."""
    low, high = bootstrap_bounds(differences, counts, alpha)
    return Measure(finite(_exp(test.difference.mean)), None, finite(_exp(low)), finite(_exp(high)))


def _sentence(
    test: NonInferiority, needed: int | None, documents: int, tokens: int, alpha: float
) -> str:
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
        f"{_way_out(test, needed)}"
    )


def _way_out(test: NonInferiority, needed: int | None) -> str:
    if needed is None:
        return (
            "the estimate is so near the margin that no number of documents is likely to settle it"
        )
    settles = f"about {needed} documents would settle it with probability {POWER:.0%}"
    if test.leans_to_fail:
        return f"the estimate itself is beyond the margin: {settles}, and rather to a FAIL"
    return f"{settles}, if the estimate holds"


def recorded(scores: Sequence[PairedScores]) -> list[DocumentScore]:
    """What decides, as the verdict keeps it."""
    return [DocumentScore(s.tokens, s.dense_nll, s.artifact_nll) for s in scores]


def _measures(
    scores: Sequence[PairedScores], counts: list[int], test: NonInferiority, alpha: float
) -> dict[str, Measure]:
    def mean(sums: Sequence[float]) -> MeanEstimate:
        return cluster_mean(sums, counts)

    delta = Measure(test.difference.mean, test.difference.standard_error, test.lower, test.upper)
    ratio = _exp(test.difference.mean)
    return {
        "documents": Measure(len(scores)),
        "tokens": Measure(sum(counts)),
        "delta_nats": delta,
        "perplexity_ratio": Measure(
            finite(ratio),
            finite(ratio * test.difference.standard_error),
            finite(_exp(test.lower)),
            finite(_exp(test.upper)),
        ),
        "perplexity_ratio_limit": Measure(math.exp(test.limit)),
        "dense_perplexity": _exponential(mean([s.dense_nll for s in scores]), alpha),
        "artifact_perplexity": _exponential(mean([s.artifact_nll for s in scores]), alpha),
        "kl_nats": _measure(mean([s.kl for s in scores]), alpha),
        "kl_nats_p99": Measure(_percentile([kl for s in scores for kl in s.token_kl], 99)),
        "top1_agreement": _measure(mean([s.agreements for s in scores]), alpha),
        "flips_lost": _measure(mean([s.lost for s in scores]), alpha),
        "flips_gained": _measure(mean([s.gained for s in scores]), alpha),
    }


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return finite(float(np.percentile(values, percent))) if values else None


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
