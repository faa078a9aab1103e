"""The statistics of the quality gate: is the artifact at most a margin worse than the dense model?

Torch-free: sums per document in, a decision out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from toolchain.statistics import MeanEstimate, Shape, cluster_mean, cluster_shape, t_quantile
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
    `cluster_mean`'s and g is the skewness in `cluster_shape`. The bounds are δ ± t·SE, widened on
    the side of the longer tail by (1 + 2t²)/6·|g|/sqrt(m)·SE: where few documents bear most of the
    damage, a sample that misses them looks good and sure of it (Johnson, JASA 73:536, 1978; the
    allowance is only ever added, never taken). PASS if the upper bound <= ln(1 + margin); FAIL if
    the lower one exceeds it; else INCONCLUSIVE.

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
    shape = cluster_shape(differences, counts)
    lower, upper = bounds(difference, shape.skewness, len(counts), alpha)
    outcome, needed = INCONCLUSIVE, None
    if upper <= limit:
        outcome = PASS
    elif lower > limit:
        outcome = FAIL
    else:
        needed = documents_needed(limit - difference.mean, difference, shape, len(counts), alpha)
    return NonInferiority(difference, lower, upper, limit, outcome, needed)


def bounds(
    estimate: MeanEstimate, skewness: float, clusters: int, alpha: float
) -> tuple[float, float]:
    """One-sided bounds at level 1 - alpha each, as `non_inferiority` describes them."""
    t = t_quantile(1 - alpha, estimate.degrees_of_freedom)
    allowance = _allowance(t, skewness, clusters)
    reach = estimate.standard_error
    lower = estimate.mean - reach * (t + max(0.0, -allowance))
    return lower, estimate.mean + reach * (t + max(0.0, allowance))


def _allowance(t: float, skewness: float, clusters: int) -> float:
    """Johnson's term for a skewed mean, in standard errors."""
    return (1 + 2 * t * t) / 6 * skewness / math.sqrt(clusters)


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
    gap: float, pilot: MeanEstimate, shape: Shape, documents: int, alpha: float
) -> int | None:
    """Smallest m for which this test settles the question with probability POWER.

    The usual sample size of a one-sided non-inferiority test asks for (t + z)·SE(m) <= |gap|,
    with t = t(1-α, m-1), z = z(POWER) and SE(m) = SE·sqrt(documents/m) (Julious, Statistics in
    Medicine 23:1921, 2004). To t comes the allowance a that the bounds have. z grows by the root
    of 1 + t·g/sqrt(m) + (κ-1)/4·(t²/m + (t + z)²/documents): the bound's own standard error is an
    estimate, high where the mean is high if g > 0, and so is the one that is planned with (the
    delta method on mean + (t + a)·SE).

    Args:
        gap: limit - δ in nats per token; the sign says on which side of the limit δ is.
        pilot: δ and its SE on `documents` documents.
        shape: of those documents' residuals, with skewness g and kurtosis κ.
        documents: how many documents the pilot comes from.
        alpha: one-sided level of the test.

    Returns:
        At least 2; None where the gap is so small that more than MOST_DOCUMENTS would be needed.
    """
    z = NormalDist().inv_cdf(POWER)
    towards_limit = max(0.0, shape.skewness if gap > 0 else -shape.skewness)
    fourth = (shape.kurtosis - 1) / 4

    def settles(count: int) -> bool:
        t = t_quantile(1 - alpha, count - 1)
        unsure = fourth * (t * t / count + (t + z) ** 2 / documents)
        spread = math.sqrt(1 + t * towards_limit / math.sqrt(count) + unsure)
        reach = t + _allowance(t, towards_limit, count) + z * spread
        return reach * pilot.standard_error * math.sqrt(documents / count) <= abs(gap)

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
