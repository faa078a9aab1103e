"""The statistics of the quality gate: is the artifact at most a margin worse than the dense model?

Torch-free: sums per document in, a decision out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.statistics import MeanEstimate, cluster_mean, t_quantile
from toolchain.validation.verdict import FAIL, INCONCLUSIVE, PASS

POWER = 0.95
"""Chance with which a test on the planned number of documents settles the question."""

MOST_DOCUMENTS = 10**9
"""Beyond this the number of documents needed is not worth naming."""


@dataclass(frozen=True)
class NonInferiority:
    """Outcome of the one-sided test, all in nats per token.

    `difference` is δ, the mean of NLL_artifact - NLL_dense, with its clustered standard error;
    `lower` and `upper` are its one-sided bounds at level 1 - alpha; `limit` is ln(1 + margin).
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

    With d_t = NLL_artifact - NLL_dense, S_i its sum over document i's n_i tokens and m documents:
    δ = ΣS_i/Σn_i and SE = sqrt(m/(m-1)·Σ(S_i - δ·n_i)²)/Σn_i. PASS if δ + t(1-α, m-1)·SE <=
    ln(1 + margin); FAIL if δ - t(1-α, m-1)·SE > ln(1 + margin); else INCONCLUSIVE.

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
    lower, upper = difference.bound(alpha), difference.bound(1 - alpha)
    outcome, needed = INCONCLUSIVE, None
    if upper <= limit:
        outcome = PASS
    elif lower > limit:
        outcome = FAIL
    else:
        gap = abs(limit - difference.mean)
        needed = documents_needed(gap, difference.standard_error, len(counts), alpha)
    return NonInferiority(difference, lower, upper, limit, outcome, needed)


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
