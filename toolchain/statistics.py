"""The two estimators that every interval of the project comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class MeanEstimate:
    """A mean with its standard error and the degrees of freedom of its t distribution."""

    mean: float
    standard_error: float
    degrees_of_freedom: float

    def bound(self, probability: float) -> float:
        """Quantile of the estimate: mean + t(probability, df) * SE."""
        return self.mean + t_quantile(probability, self.degrees_of_freedom) * self.standard_error

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Two-sided interval."""
        tail = (1 - confidence) / 2
        return self.bound(tail), self.bound(1 - tail)


def t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Quantile of Student's t."""
    from scipy.special import stdtrit  # scipy.stats gives the same bits 30 times slower

    return float(stdtrit(degrees_of_freedom, probability))


def sample_mean(values: Sequence[float]) -> MeanEstimate:
    """Mean of independent values (such as one mean per launch).

    Raises:
        ValueError: fewer than two values have no standard error.
    """
    count = len(values)
    if count < 2:
        raise ValueError(f"{count} value has no standard error")
    mean = math.fsum(values) / count
    variance = math.fsum((v - mean) ** 2 for v in values) / (count - 1)
    return MeanEstimate(mean, math.sqrt(variance / count), count - 1)


def cluster_mean(sums: Sequence[float], counts: Sequence[int]) -> MeanEstimate:
    """Ratio mean over clusters (documents), with a cluster-robust standard error.

    With S_i the sum over cluster i's n_i tokens, N = Σn_i and p_i = n_i/N: mean = ΣS_i/N and
    SE = sqrt(Σ(S_i - mean·n_i)²/(1 - p_i))/N, the bias-reduced estimator CR2 of Bell and McCaffrey
    (Survey Methodology 28:169, 2002) for a mean. The degrees of freedom are Satterthwaite's for
    that SE when Var(S_i) is proportional to n_i² (documents differ, tokens within one do not),
    which asks most of clusters of unequal size. Clusters of equal size: the usual SE, m - 1.

    Args:
        sums: S_i, any unit.
        counts: n_i > 0.

    Raises:
        ValueError: fewer than two clusters.
    """
    clusters = len(sums)
    if clusters < 2:
        raise ValueError(f"{clusters} cluster has no standard error")
    total = sum(counts)
    mean = math.fsum(sums) / total
    squares = math.fsum(
        (s - mean * n) ** 2 * (total / (total - n)) for s, n in zip(sums, counts, strict=True)
    )
    return MeanEstimate(mean, math.sqrt(squares) / total, _satterthwaite(counts))


@dataclass(frozen=True)
class Shape:
    """Standardised third and fourth moment of a distribution."""

    skewness: float
    kurtosis: float
    """3 for a normal distribution; more where few values are far away."""


def cluster_shape(sums: Sequence[float], counts: Sequence[int]) -> Shape:
    """Shape of the residuals S_i - mean·n_i of `cluster_mean`; a normal's where all are zero."""
    clusters = len(sums)
    mean = math.fsum(sums) / sum(counts)
    residuals = [s - mean * n for s, n in zip(sums, counts, strict=True)]
    largest = max(map(abs, residuals))
    if largest == 0:
        return Shape(0.0, 3.0)
    scaled = [r / largest for r in residuals]  # the cube of a small number may underflow
    variance, cubes, fourths = (math.fsum(r**k for r in scaled) / clusters for k in (2, 3, 4))
    skewness = clusters / (clusters - 1) * cubes / (variance * math.sqrt(variance))
    return Shape(skewness, fourths / variance**2)


def _satterthwaite(counts: Sequence[int]) -> float:
    """(E Q)²·2/Var Q of the quadratic form Q = Σ(S_i - p_i ΣS)²/(1 - p_i), S_i normal with v_i.

    Q's covariance matrix is M_ij = sqrt(w_i w_j)(v_i δ_ij - p_i v_j - p_j v_i + p_i p_j V) with
    w = 1/(1 - p), v = p², V = Σv; the result is tr(M)²/tr(M²), in O(m).
    """
    total = sum(counts)
    p = [n / total for n in counts]
    w = [total / (total - n) for n in counts]
    spread = math.fsum(x * x for x in p)
    wp2 = math.fsum(a * x**2 for a, x in zip(w, p, strict=True))
    wp3 = math.fsum(a * x**3 for a, x in zip(w, p, strict=True))
    wp4 = math.fsum(a * x**4 for a, x in zip(w, p, strict=True))
    # Every pair i, j of (p_i p_j² + p_j p_i² - p_i p_j V)², then the diagonal as it really is.
    pairs = 2 * wp2 * wp4 + (wp2 * spread) ** 2 + 2 * wp3**2 - 4 * wp2 * wp3 * spread
    crossed = math.fsum((a * x * x * (2 * x - spread)) ** 2 for a, x in zip(w, p, strict=True))
    diagonal = [a * x * x * (1 - 2 * x + spread) for a, x in zip(w, p, strict=True)]
    squares = pairs - crossed + math.fsum(d * d for d in diagonal)
    if squares <= 0:  # rounding, where one cluster is nearly everything
        return 1.0
    freedom: float = math.fsum(diagonal) ** 2 / squares
    return min(max(freedom, 1.0), len(counts) - 1.0)
