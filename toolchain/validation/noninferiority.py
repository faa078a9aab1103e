"""The statistics of the quality gate: is the artifact at most a margin worse than the dense model?

Torch-free: sums per document in, a decision out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.statistics import MeanEstimate, cluster_mean, cluster_skewness, t_quantile
from toolchain.validation.verdict import FAIL, INCONCLUSIVE, PASS

POWER = 0.95
"""Chance with which a test on the planned number of documents settles the question."""

MOST_DOCUMENTS = 10**9
"""Beyond this the number of documents needed is not worth naming."""

BOOTSTRAP_DRAWS, BOOTSTRAP_SEED = 1999, 20250221


@dataclass(frozen=True)
class NonInferiority:
    """Outcome of the one-sided test, all in nats per token.

    `difference` is δ, the mean of NLL_artifact - NLL_dense, with its clustered standard error;
    `lower` and `upper` are its one-sided bounds at level 1 - alpha, with an allowance for documents
    that are damaged unequally; `limit` is ln(1 + margin).
    """

    difference: MeanEstimate
    lower: float
    upper: float
    limit: float
    outcome: str
    documents_needed: int | None
    """Documents that would settle an INCONCLUSIVE with probability POWER if δ and the spread
    between documents stay as they are; None where the outcome is settled or no number would do."""

    @property
    def leans_to_fail(self) -> bool:
        """The estimate itself is beyond the margin: more documents would rather confirm a FAIL."""
        return self.difference.mean >= self.limit


def non_inferiority(
    differences: Sequence[float], counts: Sequence[int], margin: float, alpha: float
) -> NonInferiority:
    """Test a ratio of perplexities against 1 + margin, with documents as clusters.

    With d_t = NLL_artifact - NLL_dense and S_i its sum over document i's n_i tokens, δ and SE are
    `cluster_mean`'s and g is `cluster_skewness`. The bounds are δ ± t·SE, widened on the side of
    the longer tail by (1 + 2t²)/6·|g|/sqrt(m)·SE: where few documents bear most of the damage, a
    sample that misses them looks good and sure of it (Johnson, JASA 73:536, 1978; the allowance is
    only ever added, never taken). PASS if the upper bound <= ln(1 + margin); FAIL if the lower one
    exceeds it; else INCONCLUSIVE.

    Args:
        differences: S_i in nats, finite.
        counts: n_i > 0.
        margin: tolerated relative rise of perplexity, > 0; 0.1 is ten per cent.
        alpha: chance of passing an artifact that is exactly at the margin, in (0, 0.5).

    Raises:
        ValueError: fewer than two documents.
    """
    difference = cluster_mean(differences, counts)
    limit = math.log1p(margin)
    lower, upper = bounds(difference, cluster_skewness(differences, counts), len(counts), alpha)
    outcome, needed = INCONCLUSIVE, None
    if upper <= limit:
        outcome = PASS
    elif lower > limit:
        outcome = FAIL
    else:
        gap = abs(limit - difference.mean)
        needed = documents_needed(gap, difference.standard_error, len(counts), alpha)
    return NonInferiority(difference, lower, upper, limit, outcome, needed)


def bounds(
    estimate: MeanEstimate, skewness: float, clusters: int, alpha: float
) -> tuple[float, float]:
    """One-sided bounds at level 1 - alpha each, as `non_inferiority` describes them."""
    t = t_quantile(1 - alpha, estimate.degrees_of_freedom)
    allowance = (1 + 2 * t * t) / 6 * skewness / math.sqrt(clusters)
    reach = estimate.standard_error
    lower = estimate.mean - reach * (t + max(0.0, -allowance))
    return lower, estimate.mean + reach * (t + max(0.0, allowance))


def bootstrap_bounds(
    differences: Sequence[float], counts: Sequence[int], alpha: float
) -> tuple[float, float]:
    """The same bounds by drawing documents with replacement: a cross-check without a formula.

    Percentiles of the studentised difference (Efron and Tibshirani, An Introduction to the
    Bootstrap, ch. 12.5), from BOOTSTRAP_DRAWS draws with a fixed seed.
    """
    import numpy as np

    # In a fixed order, because the draws are fixed too.
    sums, sizes = np.array(sorted(zip(differences, counts, strict=True)), float).T
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    draws = generator.integers(0, len(sums), (BOOTSTRAP_DRAWS, len(sums)))
    drawn, lengths = sums[draws], sizes[draws]
    totals = lengths.sum(1)
    means = drawn.sum(1) / totals
    residuals = drawn - means[:, None] * lengths
    squares = residuals**2 / (1 - lengths / totals[:, None])
    errors = np.sqrt(squares.sum(1)) / totals
    estimate = cluster_mean(differences, counts)
    kept = errors > 0  # a draw of one document alone has no spread
    if not kept.any():
        return estimate.mean, estimate.mean
    studentised = (means[kept] - estimate.mean) / errors[kept]
    low, high = np.quantile(studentised, [alpha, 1 - alpha])
    reach = estimate.standard_error
    return estimate.mean - float(high) * reach, estimate.mean - float(low) * reach


def documents_needed(
    gap: float, standard_error: float, documents: int, alpha: float, power: float = POWER
) -> int | None:
    """Smallest m with (t(1-α, m-1) + t(power, m-1))·SE(m) <= gap; SE(m) = SE·sqrt(documents/m).

    The usual sample size of a one-sided non-inferiority test (Julious, Statistics in Medicine
    23:1921, 2004), with SE scaled from a first look at the same kind of text.

    Args:
        gap: |limit - δ| in nats per token.
        standard_error: SE of δ on `documents` documents.
        documents: how many documents that SE comes from.
        alpha: one-sided level of the test.
        power: chance of a settled outcome at that m.

    Returns:
        At least 2; None where the gap is so small that more than MOST_DOCUMENTS would be needed.
    """

    def settles(count: int) -> bool:
        quantiles = t_quantile(1 - alpha, count - 1) + t_quantile(power, count - 1)
        return quantiles * standard_error * math.sqrt(documents / count) <= gap

    high = 2
    while not settles(high):
        high *= 2
        if high > MOST_DOCUMENTS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settles(middle) else (middle, high)
    return high
