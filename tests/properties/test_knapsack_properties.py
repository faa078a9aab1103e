"""The knapsack against brute force: within the budget, least loss, monotone."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.errors import BadRequestError
from toolchain.pruning import knapsack as module
from toolchain.pruning.allocate import Pool
from toolchain.pruning.knapsack import knapsack

Place = tuple[int, str]
Curves = dict[Place, list[tuple[int, float]]]
Pools = dict[Place, Pool]


@st.composite
def problems(draw: st.DrawFn) -> tuple[Curves, Pools]:
    """Up to four short curves; most fall with the units kept, none needs to."""
    curves: Curves = {}
    pools: Pools = {}
    for layer in range(draw(st.integers(1, 4))):
        units = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True))
        losses = draw(st.lists(st.integers(0, 30), min_size=len(units), max_size=len(units)))
        if draw(st.booleans()):
            units, losses = sorted(units), sorted(losses, reverse=True)
        curves[layer, "mlp"] = [(u, x / 4) for u, x in zip(units, losses, strict=True)]
        pools[layer, "mlp"] = Pool(draw(st.integers(1, 20)), min(units), max(units))
    return curves, pools


def loss(curves: Curves, counts: dict[Place, int]) -> float:
    return sum(dict(curves[place])[count] for place, count in counts.items())


def spent(pools: Pools, counts: dict[Place, int]) -> int:
    return sum(pools[place].cost * count for place, count in counts.items())


def brute_force(curves: Curves, pools: Pools, budget: int) -> float | None:
    """The least loss within the budget, over every choice."""
    found = [
        loss(curves, counts)
        for choice in itertools.product(*curves.values())
        if spent(pools, counts := dict(zip(curves, (u for u, _ in choice), strict=True))) <= budget
    ]
    return min(found, default=None)


@settings(deadline=None, max_examples=300)
@given(problems(), st.integers(0, 500))
def test_the_least_loss_within_the_budget(problem: tuple[Curves, Pools], budget: int) -> None:
    curves, pools = problem
    least = brute_force(curves, pools, budget)
    if least is None:
        with pytest.raises(BadRequestError, match="cannot hold the least"):
            knapsack(curves, pools, budget)
        return
    counts = knapsack(curves, pools, budget)
    assert spent(pools, counts) <= budget
    assert loss(curves, counts) == least


@settings(deadline=None, max_examples=300)
@given(problems(), st.integers(0, 500), st.integers(0, 500), st.integers(1, 40))
def test_coarse_cells_stay_within_the_budget_and_are_monotone(
    problem: tuple[Curves, Pools], one: int, other: int, cells: int
) -> None:
    curves, pools = problem
    smallest = sum(pools[p].cost * min(u for u, _ in curve) for p, curve in curves.items())
    low, high = sorted((smallest + one, smallest + other))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CELLS", cells)
        found = [knapsack(curves, pools, budget) for budget in (low, high)]
    losses = [loss(curves, counts) for counts in found]
    assert spent(pools, found[0]) <= low
    assert spent(pools, found[1]) <= high
    assert losses[1] <= losses[0]
    # Within the integrality gap: one step of one hull.
    for counts, budget in zip(found, (low, high), strict=True):
        best = brute_force(curves, pools, budget)
        steps = [max(x for _, x in c) - min(x for _, x in c) for c in curves.values()]
        assert best is not None
        assert best <= loss(curves, counts) <= best + max(steps) + 1e-9


def test_a_model_sized_problem_is_near_its_relaxation() -> None:
    """32 layers with biases, whose costs share no divisor: cells are coarse, and hardly matter."""
    curves: Curves = {}
    pools: Pools = {}
    for layer in range(32):
        weight = 1 + (layer * 7 % 5)
        curves[layer, "attention"] = [(k, weight * (8 - k) ** 2 / 10) for k in range(2, 9)]
        pools[layer, "attention"] = Pool(2 * 2048 * 64 * 5 + 64 * 6 + 1, 2, 8)
        curves[layer, "mlp"] = [(k, weight * (1 - k / 8192) ** 1.5) for k in range(4096, 8193, 256)]
        pools[layer, "mlp"] = Pool(3 * 2048 + 1, 4096, 8192, 256)
    whole = sum(pools[p].cost * curve[-1][0] for p, curve in curves.items())
    budget = int(0.8 * whole)
    counts = knapsack(curves, pools, budget)
    assert budget - pools[0, "mlp"].cost * 512 < spent(pools, counts) <= budget
    # One step of the cheapest kind up or down changes the loss by no more than this.
    for extra in (1, -1):
        moved = knapsack(curves, pools, budget + extra * pools[0, "mlp"].cost * 256)
        assert abs(loss(curves, moved) - loss(curves, counts)) < 0.2
    # Layers that weigh more keep more.
    assert counts[2, "mlp"] >= counts[0, "mlp"]
