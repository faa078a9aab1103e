"""The statistics of a paired task: dense model and artifact answer the same items.

Torch-free: four counts in, a decision out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from toolchain.validation.evidence import PairedCounts
from toolchain.validation.noninferiority import POWER
from toolchain.validation.verdict import FAIL, INCONCLUSIVE, PASS

MOST_ITEMS = 10**9
"""Beyond this the number of items needed is not worth naming."""

_TOLERANCE = 1e-12


@dataclass(frozen=True)
class PairedTest:
    """Outcome of the one-sided test of Δ > -margin.

    `lower` and `upper` are Tango's one-sided bounds of Δ at level 1 - alpha.
    """

    counts: PairedCounts
    lower: float
    upper: float
    margin: float
    outcome: str
    items_needed: int | None
    """Items that would settle an INCONCLUSIVE with probability POWER if Δ and the share of items
    answered differently stay as they are; None where settled, or where no number would do."""

    @property
    def leans_to_fail(self) -> bool:
        """The estimate itself is beyond the margin: more items would rather confirm a FAIL."""
        return self.counts.difference <= -self.margin


def paired_test(counts: PairedCounts, margin: float, alpha: float) -> PairedTest:
    """PASS if Tango's lower bound of Δ > -margin, FAIL if the upper one < -margin.

    Args:
        counts: of at least one item.
        margin: tolerated loss of accuracy as a share of all items, in (0, 1); 0.05 is five points.
        alpha: chance of passing an artifact that is exactly at the margin, in (0, 0.5).
    """
    lower = tango_bound(counts.gained, counts.lost, counts.items, alpha)
    # Exchanging the models turns Δ into -Δ, and the lower bound into the upper one.
    upper = -tango_bound(counts.lost, counts.gained, counts.items, alpha)
    outcome, needed = INCONCLUSIVE, None
    if lower > -margin:
        outcome = PASS
    elif upper < -margin:
        outcome = FAIL
    else:
        needed = items_needed(counts, margin, alpha)
    return PairedTest(counts, lower, upper, margin, outcome, needed)


def tango_score(gained: int, lost: int, items: int, delta: float) -> float:
    """The score statistic of H0: Δ = delta, standard normal under H0.

    T = (b - c - nΔ)/sqrt(n(2q + Δ(1 - Δ))) with b = gained, c = lost and q the constrained
    maximum-likelihood estimate of the probability of `lost`: q = (sqrt(B² - 8nC) - B)/(4n),
    B = -b - c + (2n - b + c)Δ, C = -cΔ(1 - Δ). Tango, Statistics in Medicine 17:891 (1998).

    Args:
        gained: items that the artifact alone has right.
        lost: items that the dense model alone has right.
        items: all items.
        delta: in (-1, 1).
    """
    variance = items * _variance(gained / items, lost / items, delta)
    excess = gained - lost - items * delta
    if variance <= 0:
        return math.copysign(math.inf, excess) if excess else 0.0
    return excess / math.sqrt(variance)


def _variance(gained: float, lost: float, delta: float) -> float:
    """2q + Δ(1 - Δ) of `tango_score`, from shares of the items instead of counts."""
    linear = -gained - lost + (2 - gained + lost) * delta
    constant = -lost * delta * (1 - delta)
    root = math.sqrt(max(linear * linear - 8 * constant, 0.0))
    # The two forms of the root are equal; each cancels where the other does not.
    q = (root - linear) / 4 if linear <= 0 else -2 * constant / (root + linear)
    return 2 * q + delta * (1 - delta)


def tango_bound(gained: int, lost: int, items: int, alpha: float) -> float:
    """Lower one-sided bound of Δ at level 1 - alpha: the Δ whose score is the normal quantile."""
    quantile = NormalDist().inv_cdf(1 - alpha)
    low, high = -1.0, (gained - lost) / items
    while high - low > _TOLERANCE:
        middle = (low + high) / 2
        if tango_score(gained, lost, items, middle) > quantile:
            low = middle
        else:
            high = middle
    return low


def items_needed(counts: PairedCounts, margin: float, alpha: float) -> int | None:
    """`planned_items` from what was seen, and more than there are.

    The share of items answered differently is taken one item larger than seen, so that no
    disagreement at all does not promise that there is none.
    """
    changed = min((counts.gained + counts.lost + 1) / counts.items, 1.0)
    planned = planned_items(changed, counts.difference, margin, alpha)
    return None if planned is None else max(counts.items + 1, planned)


def planned_items(changed: float, difference: float, margin: float, alpha: float) -> int | None:
    """Smallest n with z(1-α)·sqrt(v0/n) + z(POWER)·sqrt((ψ - Δ²)/n) <= |Δ + margin|.

    v0 is the variance of the score at the margin, from the constrained estimate there (Nam,
    Biometrics 53:1422, 1997).

    Args:
        changed: ψ, the share of items that exactly one of the two models has right.
        difference: Δ.
        margin: tolerated loss.
        alpha: one-sided level of the test.

    Returns:
        None where Δ is so near the margin that more than MOST_ITEMS would be needed.
    """
    gap = abs(difference + margin)
    normal = NormalDist()
    null = _variance((changed + difference) / 2, (changed - difference) / 2, -margin)
    reach = normal.inv_cdf(1 - alpha) * math.sqrt(null)
    reach += normal.inv_cdf(POWER) * math.sqrt(max(changed - difference**2, 0.0))
    if reach > gap * math.sqrt(MOST_ITEMS):
        return None
    return max(1, math.ceil((reach / gap) ** 2))
