"""Properties of the quality gate's statistics and of the verdict built on them."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from runtime_py.schema import dumps, loads
from toolchain.statistics import cluster_mean
from toolchain.validation.margins import parse_margins
from toolchain.validation.noninferiority import documents_needed, non_inferiority
from toolchain.validation.quality import quality_gate
from toolchain.validation.scores import PairedScores
from toolchain.validation.verdict import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    SKIPPED,
    GateResult,
    overall,
)

NO_DEADLINE = settings(deadline=None)
"""The first example imports scipy."""

DOCUMENT = st.tuples(st.floats(-50, 50), st.integers(1, 400))
DOCUMENTS = st.lists(DOCUMENT, min_size=2, max_size=40)
MARGIN = st.floats(1e-4, 2)
ALPHA = st.floats(1e-6, 0.4999)
OUTCOME = st.sampled_from([PASS, FAIL, INCONCLUSIVE, SKIPPED])


def split(documents: list[tuple[float, int]]) -> tuple[list[float], list[int]]:
    sums, counts = zip(*documents, strict=True)
    return list(sums), list(counts)


@NO_DEADLINE
@given(DOCUMENTS, MARGIN, MARGIN, ALPHA)
def test_tightening_the_margin_never_turns_hold_into_ship(
    documents: list[tuple[float, int]], one: float, other: float, alpha: float
) -> None:
    sums, counts = split(documents)
    tight, loose = sorted((one, other))
    if non_inferiority(sums, counts, tight, alpha).outcome == PASS:
        assert non_inferiority(sums, counts, loose, alpha).outcome == PASS
    if non_inferiority(sums, counts, loose, alpha).outcome == FAIL:
        assert non_inferiority(sums, counts, tight, alpha).outcome == FAIL


@NO_DEADLINE
@given(DOCUMENTS, MARGIN, ALPHA, ALPHA)
def test_tightening_alpha_never_turns_hold_into_ship(
    documents: list[tuple[float, int]], margin: float, one: float, other: float
) -> None:
    sums, counts = split(documents)
    tight, loose = sorted((one, other))
    if non_inferiority(sums, counts, margin, tight).outcome == PASS:
        assert non_inferiority(sums, counts, margin, loose).outcome == PASS


@NO_DEADLINE
@given(DOCUMENTS, MARGIN, ALPHA)
def test_the_difference_and_its_error_equal_brute_force(
    documents: list[tuple[float, int]], margin: float, alpha: float
) -> None:
    sums, counts = split(documents)
    test = non_inferiority(sums, counts, margin, alpha)
    n = sum(counts)
    delta = sum(sums) / n
    squares = 0.0
    for s, c in documents:
        squares += (s - delta * c) * (s - delta * c) / (1 - c / n)
    error = squares**0.5 / n
    assert test.difference.mean == pytest.approx(delta, rel=1e-9, abs=1e-9)
    assert test.difference.standard_error == pytest.approx(error, rel=1e-6, abs=1e-9)
    assert test.limit == pytest.approx(math.log(1 + margin))
    assert test.lower <= test.difference.mean <= test.upper


@NO_DEADLINE
@given(DOCUMENTS, st.integers(2, 9), MARGIN, ALPHA)
def test_longer_copies_of_every_document_change_nothing(
    documents: list[tuple[float, int]], times: int, margin: float, alpha: float
) -> None:
    """Tokens are no evidence of their own: k times the tokens at the same mean, the same bound."""
    sums, counts = split(documents)
    base = non_inferiority(sums, counts, margin, alpha)
    scaled = non_inferiority([s * times for s in sums], [c * times for c in counts], margin, alpha)
    assert scaled.upper == pytest.approx(base.upper, rel=1e-9, abs=1e-9)
    assert scaled.lower == pytest.approx(base.lower, rel=1e-9, abs=1e-9)


@NO_DEADLINE
@given(DOCUMENTS, MARGIN, ALPHA, st.floats(0, 1))
def test_a_worse_artifact_never_ships_where_a_better_one_holds(
    documents: list[tuple[float, int]], margin: float, alpha: float, worse: float
) -> None:
    """The same nats more on every token leaves the spread as it is and moves the bound."""
    sums, counts = split(documents)
    shifted = [s + worse * c for s, c in documents]
    better = non_inferiority(sums, counts, margin, alpha)
    assume(abs(better.upper - better.limit) > 1e-9)
    if better.outcome != PASS:
        assert non_inferiority(shifted, counts, margin, alpha).outcome != PASS


@NO_DEADLINE
@given(
    st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9), st.integers(1, 99)), min_size=2),
    MARGIN,
    ALPHA,
    st.randoms(use_true_random=False),
)
def test_the_order_of_documents_does_not_matter(
    nlls: list[tuple[float, float, int]], margin: float, alpha: float, order: random.Random
) -> None:
    scores = [PairedScores(n, d * n, a * n, abs(a - d), n // 2) for d, a, n in nlls]
    shuffled = list(scores)
    order.shuffle(shuffled)
    one, other = quality_gate(scores, margin, alpha), quality_gate(shuffled, margin, alpha)
    assert one == other


@settings(deadline=None, max_examples=30)
@given(
    gap_in_errors=st.floats(0.5, 10),
    side=st.sampled_from([1, -1]),
    alpha=st.sampled_from([0.01, 0.05, 0.1]),
    seed=st.integers(0, 9),
)
def test_documents_needed_of_even_documents_is_the_textbooks_number(
    gap_in_errors: float, side: int, alpha: float, seed: int
) -> None:
    """Equal lengths, normal, the spread known: (t + z)²·SE² <= gap² (Julious 2004)."""
    from scipy.stats import nct, t

    pilot = 20_000
    sums = np.random.default_rng(seed).standard_normal(pilot)
    gap = gap_in_errors / math.sqrt(100)
    needed = documents_needed(sums.tolist(), [1] * pilot, side * gap, alpha)
    assert needed is not None

    def power(count: float) -> float:
        away = gap * math.sqrt(count) / float(sums.std())
        return float(nct.sf(t.ppf(1 - alpha, count - 1), count - 1, away))

    assert power(1.1 * needed + 2) >= 0.95
    assert needed < 20 or power(needed / 1.12 - 1) <= 0.95


@NO_DEADLINE
@given(st.integers(1, 60), st.integers(20, 80))
def test_an_open_question_asks_for_more_documents_than_it_had(seed: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(10, 90, count)
    sums = lengths * generator.normal(math.log(1.1) * 0.9, 0.3, count)
    scores = [PairedScores(int(n), 0.0, s, 0.1, 1) for n, s in zip(lengths, sums, strict=True)]
    result = quality_gate(scores, 0.1, 0.05)
    assume(result.outcome == INCONCLUSIVE)
    needed = result.measures["documents_needed"].value
    assert needed is None or needed > count


@pytest.mark.parametrize("seed", range(4))
def test_the_clustered_error_agrees_with_the_bootstrap(seed: int) -> None:
    generator = np.random.default_rng(seed)
    m = 200
    counts = generator.integers(20, 400, m)
    sums = counts * generator.normal(0.05, 0.1, m) + np.sqrt(counts) * generator.normal(0, 1, m)
    draws = generator.integers(0, m, (4000, m))
    bootstrap = float(np.std(sums[draws].sum(1) / counts[draws].sum(1), ddof=1))
    clustered = cluster_mean(sums.tolist(), counts.tolist()).standard_error
    # The bootstrap's own relative error is about 1/sqrt(2·4000) = 1.1%, plus O(1/m) bias.
    assert clustered == pytest.approx(bootstrap, rel=0.05)


@NO_DEADLINE
@given(st.lists(OUTCOME, min_size=1, max_size=4))
def test_only_gates_that_all_pass_ship(outcomes: list[str]) -> None:
    gates = [GateResult("G", "gate", "rule", o, "sentence", []) for o in outcomes]
    verdict = overall(gates)
    assert (verdict == PASS) == all(o == PASS for o in outcomes)
    assert (verdict == FAIL) == (FAIL in outcomes)


@NO_DEADLINE
@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9), st.integers(1, 99)), min_size=2))
def test_a_gate_result_survives_json(nlls: list[tuple[float, float, int]]) -> None:
    scores = [PairedScores(n, d * n, a * n, abs(a - d), n // 2) for d, a, n in nlls]
    result = quality_gate(scores, 0.1, 0.05)
    assert loads(GateResult, dumps(result)) == result


@NO_DEADLINE
@given(st.floats(1e-6, 1e6))
def test_percent_and_share_are_the_same_margin(share: float) -> None:
    assert parse_margins([f"ppl={share!r}"]) == {"ppl": share}
    assert parse_margins([f"ppl={share * 100!r}%"])["ppl"] == pytest.approx(share)
