"""Tango's bound against brute force, and what a paired test may never do."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from toolchain.validation.evidence import PairedCounts
from toolchain.validation.paired import items_needed, paired_test, tango_bound, tango_score
from toolchain.validation.verdict import FAIL, INCONCLUSIVE, PASS

NO_DEADLINE = settings(deadline=None)


@st.composite
def counted(draw: st.DrawFn) -> PairedCounts:
    lost, gained, both, neither = (draw(st.integers(0, 60)) for _ in range(4))
    assume(lost + gained + both + neither > 0)
    return PairedCounts(lost + gained + both + neither, both + lost, both + gained, lost, gained)


def constrained_likelihood(counts: PairedCounts, delta: float, lost: float) -> float:
    cells = (
        (counts.gained, lost + delta),
        (counts.lost, lost),
        (counts.items - counts.gained - counts.lost, 1 - 2 * lost - delta),
    )
    return math.fsum(n * math.log(p) for n, p in cells if n)


def brute_force_score(counts: PairedCounts, delta: float) -> float:
    """The score statistic with the nuisance parameter found by ternary search."""
    low, high = max(0.0, -delta), (1 - delta) / 2
    low, high = low + 1e-13, high - 1e-13
    for _ in range(200):
        one, other = low + (high - low) / 3, high - (high - low) / 3
        if constrained_likelihood(counts, delta, one) < constrained_likelihood(
            counts, delta, other
        ):
            low = one
        else:
            high = other
    variance = counts.items * (low + high + delta * (1 - delta))
    return (counts.gained - counts.lost - counts.items * delta) / math.sqrt(variance)


@NO_DEADLINE
@given(counted(), st.floats(-0.9, 0.9).filter(lambda d: abs(d) > 1e-3))
def test_the_score_is_the_one_of_the_constrained_maximum(
    counts: PairedCounts, delta: float
) -> None:
    found = tango_score(counts.gained, counts.lost, counts.items, delta)
    assert found == pytest.approx(brute_force_score(counts, delta), rel=1e-4, abs=1e-4)


@NO_DEADLINE
@given(counted(), st.floats(0.001, 0.49))
def test_the_bound_is_where_the_score_is_the_quantile(counts: PairedCounts, alpha: float) -> None:
    from statistics import NormalDist

    bound = tango_bound(counts.gained, counts.lost, counts.items, alpha)
    assert -1 <= bound <= counts.difference
    quantile = NormalDist().inv_cdf(1 - alpha)
    if bound > -1 + 1e-9:
        below = tango_score(counts.gained, counts.lost, counts.items, bound - 1e-9)
        above = tango_score(counts.gained, counts.lost, counts.items, bound + 1e-9)
        assert above <= quantile + 1e-6
        assert below >= quantile - 1e-6 or bound <= -1 + 1e-6


@NO_DEADLINE
@given(counted(), st.floats(0.001, 0.9), st.floats(0.001, 0.9), st.floats(0.001, 0.49))
def test_tightening_the_margin_never_turns_hold_into_ship(
    counts: PairedCounts, one: float, other: float, alpha: float
) -> None:
    tight, loose = sorted((one, other))
    if paired_test(counts, tight, alpha).outcome == PASS:
        assert paired_test(counts, loose, alpha).outcome == PASS
    if paired_test(counts, loose, alpha).outcome == FAIL:
        assert paired_test(counts, tight, alpha).outcome == FAIL


@NO_DEADLINE
@given(counted(), st.floats(0.001, 0.9), st.floats(0.001, 0.49), st.floats(0.001, 0.49))
def test_tightening_alpha_never_turns_hold_into_ship(
    counts: PairedCounts, margin: float, one: float, other: float
) -> None:
    tight, loose = sorted((one, other))
    if paired_test(counts, margin, tight).outcome == PASS:
        assert paired_test(counts, margin, loose).outcome == PASS


@NO_DEADLINE
@given(counted(), st.floats(0.001, 0.9), st.floats(0.001, 0.49))
def test_one_more_lost_item_never_helps(counts: PairedCounts, margin: float, alpha: float) -> None:
    assume(counts.artifact_right - counts.gained > 0)
    worse = PairedCounts(
        counts.items,
        counts.dense_right,
        counts.artifact_right - 1,
        counts.lost + 1,
        counts.gained,
    )
    if paired_test(worse, margin, alpha).outcome == PASS:
        assert paired_test(counts, margin, alpha).outcome == PASS


@pytest.mark.parametrize(
    ("items", "lost_share", "gained_share"), [(60, 0.08, 0.03), (200, 0.06, 0.01), (400, 0.15, 0.1)]
)
def test_at_the_margin_a_bundle_ships_about_as_often_as_alpha_says(
    items: int, lost_share: float, gained_share: float
) -> None:
    """Every outcome of (lost, gained) with its multinomial probability: no simulation."""
    alpha, margin = 0.05, lost_share - gained_share
    other = 1 - lost_share - gained_share
    ships = 0.0
    for lost in range(items // 2):
        for gained in range(items // 2):
            rest = items - lost - gained
            logarithm = (
                math.lgamma(items + 1)
                - math.lgamma(lost + 1)
                - math.lgamma(gained + 1)
                - math.lgamma(rest + 1)
                + lost * math.log(lost_share)
                + gained * math.log(gained_share)
                + rest * math.log(other)
            )
            probability = math.exp(logarithm)
            # PASS needs a score above the quantile at -margin; the bound is monotone in it.
            if probability > 1e-9 and tango_score(gained, lost, items, -margin) > 1.6449:
                ships += probability
    assert ships <= alpha * 1.2
    assert ships >= alpha * 0.5


@NO_DEADLINE
@given(counted(), st.floats(0.005, 0.5))
def test_the_items_needed_are_more_than_there_are(counts: PairedCounts, margin: float) -> None:
    test = paired_test(counts, margin, 0.05)
    assert (test.items_needed is None) or test.outcome == INCONCLUSIVE
    if test.items_needed is not None:
        assert test.items_needed > counts.items
    if abs(counts.difference + margin) < 1e-9:
        assert items_needed(counts, margin, 0.05) is None


def test_the_items_asked_for_settle_it() -> None:
    counts = PairedCounts(100, 60, 58, 5, 3)
    test = paired_test(counts, 0.05, 0.05)
    assert test.outcome == INCONCLUSIVE
    assert test.items_needed is not None
    factor = test.items_needed / 100
    more = PairedCounts(
        test.items_needed,
        round(60 * factor),
        round(60 * factor) + round(3 * factor) - round(5 * factor),
        round(5 * factor),
        round(3 * factor),
    )
    assert paired_test(more, 0.05, 0.05).outcome == PASS
