"""The statistics of the quality gate: is the artifact at most a margin worse than the dense model?

Torch-free: sums per document in, a decision out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from toolchain.statistics import MeanEstimate, cluster_mean, cluster_shape, t_quantile
from toolchain.validation.verdict import FAIL, INCONCLUSIVE, PASS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POWER = 0.95
"""Chance with which a test on the planned number of documents settles the question."""

MOST_DOCUMENTS = 10**9
"""Beyond this the number of documents needed is not worth naming."""

BOOTSTRAP_DRAWS, BOOTSTRAP_SEED = 1999, 20250221

PLANNING_ROUNDS, MOST_DRAWN = 6, 400
"""How often the number of documents is corrected, and how many are drawn at most."""
MOST_DRAWN_AT_ONCE = 1 << 22
"""Documents of all draws that are in memory together."""


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
    skewness = cluster_shape(differences, counts).skewness
    lower, upper = bounds(difference, skewness, len(counts), alpha)
    outcome = INCONCLUSIVE
    if upper <= limit:
        outcome = PASS
    elif lower > limit:
        outcome = FAIL
    return NonInferiority(difference, lower, upper, limit, outcome)


def bounds(
    estimate: MeanEstimate, skewness: float, clusters: int, alpha: float
) -> tuple[float, float]:
    """One-sided bounds at level 1 - alpha each, as `non_inferiority` describes them."""
    t = t_quantile(1 - alpha, estimate.degrees_of_freedom)
    allowance = _johnson(t, clusters) * skewness
    reach = estimate.standard_error
    lower = estimate.mean - reach * (t + max(0.0, -allowance))
    return lower, estimate.mean + reach * (t + max(0.0, allowance))


def _johnson(t: float, clusters: int) -> float:
    """What to add to t for each unit of skewness."""
    return (1 + 2 * t * t) / 6 / math.sqrt(clusters)


def bootstrap_bounds(
    differences: Sequence[float], counts: Sequence[int], alpha: float
) -> tuple[float, float]:
    """The same bounds by drawing documents with replacement: a cross-check without a formula.

    Percentiles of the studentised difference (Efron and Tibshirani, An Introduction to the
    Bootstrap, ch. 12.5), from BOOTSTRAP_DRAWS draws with a fixed seed.
    """
    import numpy as np

    estimate = cluster_mean(differences, counts)
    drawn = _draw(differences, counts, len(counts))
    kept = drawn.errors > 0  # a draw of one document alone has no spread
    if not kept.any():
        return estimate.mean, estimate.mean
    studentised = (drawn.means[kept] - estimate.mean) / drawn.errors[kept]
    low, high = np.quantile(studentised, [alpha, 1 - alpha])
    reach = estimate.standard_error
    return estimate.mean - float(high) * reach, estimate.mean - float(low) * reach


def documents_needed(
    differences: Sequence[float], counts: Sequence[int], gap: float, alpha: float
) -> int | None:
    """Smallest m for which `non_inferiority` settles the question with probability POWER.

    Found by drawing documents from those at hand, so that unequal lengths and damage count as they
    are: the POWER quantile of the bound of so many documents lies as far from δ as the limit does.
    From the number that is drawn it is scaled by 1/sqrt(m). The spread between documents is itself
    an estimate, with a relative error of sqrt((κ - 1)/4n) for n residuals of kurtosis κ; that is
    added to the scatter of the bound.

    Args:
        differences: S_i in nats, of the documents at hand.
        counts: n_i > 0.
        gap: ln(1 + margin) - δ in nats per token, below 0 where a FAIL is to be expected.
        alpha: one-sided level of the test.

    Returns:
        At least 2; None where the gap is so small that more than MOST_DOCUMENTS would be needed.
    """
    pilot, shape = cluster_mean(differences, counts), cluster_shape(differences, counts)
    # With δ at 0 and the limit above it, whichever side it is on.
    side = 1.0 if gap > 0 else -1.0
    beyond = [side * (s - pilot.mean * n) for s, n in zip(differences, counts, strict=True)]
    documents = len(counts)
    z = NormalDist().inv_cdf(POWER)
    unsure = z * math.sqrt((shape.kurtosis - 1) / 4 / documents)
    needed = documents
    for _ in range(PLANNING_ROUNDS):
        size = min(needed, MOST_DRAWN)
        freedom = max(1.0, pilot.degrees_of_freedom * (size - 1) / (documents - 1))
        middle, high = _draw(beyond, counts, size).bound(t_quantile(1 - alpha, freedom))
        # Documents that are drawn again and again vary too little, by (n - 1)/n.
        middle, high = (x * math.sqrt(documents / (documents - 1)) for x in (middle, high))
        reach = middle + math.hypot(high - middle, unsure * high)
        if reach * math.sqrt(size / MOST_DOCUMENTS) >= abs(gap):
            return None
        needed = max(2, math.ceil(size * (reach / gap) ** 2))
        if min(needed, MOST_DRAWN) == size:
            break  # the same draw would say the same
    return needed


@dataclass(frozen=True)
class _Drawn:
    """What BOOTSTRAP_DRAWS draws of `size` documents came to."""

    size: int
    means: NDArray[np.float64]
    errors: NDArray[np.float64]
    """Standard errors, as `cluster_mean`'s."""
    skewness: NDArray[np.float64]

    def bound(self, t: float) -> tuple[float, float]:
        """Mean and POWER quantile of the upper bound with that quantile of Student's t."""
        import numpy as np

        allowance = np.maximum(0.0, _johnson(t, self.size) * self.skewness)
        bounds = self.means + (t + allowance) * self.errors
        return float(bounds.mean()), float(np.quantile(bounds, POWER))


def _draw(differences: Sequence[float], counts: Sequence[int], size: int) -> _Drawn:
    """Draw `size` documents with replacement, again and again, with a fixed seed."""
    import numpy as np

    # In a fixed order, because the draws are fixed too.
    sums, lengths = np.array(sorted(zip(differences, counts, strict=True)), float).T
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    found = []
    at_a_time = max(1, MOST_DRAWN_AT_ONCE // size)
    for start in range(0, BOOTSTRAP_DRAWS, at_a_time):
        shape = (min(at_a_time, BOOTSTRAP_DRAWS - start), size)
        draws = generator.integers(0, len(sums), shape)
        found.append(_estimates(sums[draws], lengths[draws]))
    means, errors, skewness = np.concatenate(found, axis=1)
    return _Drawn(size, means, errors, skewness)


def _estimates(sums: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean, standard error and skewness of each row of documents: [3, rows]."""
    import numpy as np

    size = sums.shape[1]
    totals = lengths.sum(1)
    means = sums.sum(1) / totals
    residuals = sums - means[:, None] * lengths
    errors = np.sqrt((residuals**2 / (1 - lengths / totals[:, None])).sum(1)) / totals
    largest = np.abs(residuals).max(1, keepdims=True)
    scaled = residuals / np.where(largest > 0, largest, 1.0)  # the cube of a small number is zero
    variances = np.where(largest[:, 0] > 0, (scaled**2).mean(1), 1.0)
    cubes = (scaled**3).mean(1)
    return np.stack([means, errors, size / (size - 1) * cubes / variances**1.5])
