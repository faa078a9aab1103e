"""Spend a budget where measured losses say it matters: a multiple-choice knapsack.

For every place (a layer's attention or MLP) a curve says what keeping so many units loses. One
point of each curve is taken; their costs stay within the budget, and the sum of losses is least.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from toolchain.errors import BadRequestError
from toolchain.pruning.allocate import Place, Pool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Curve = Sequence[tuple[int, float]]
"""(units kept, loss) in any order."""

CELLS = 1 << 16
"""Budgets that the dynamic programme tells apart."""


def knapsack(
    curves: Mapping[Place, Curve], pools: Mapping[Place, Pool], budget: int
) -> dict[Place, int]:
    """Units to keep in each place: the least total loss within the budget.

    A dynamic programme over budgets, exact where the differences of all costs have a common
    divisor of which the largest total holds at most `CELLS`. Else costs count in cells, rounded up,
    and the answer is the better one of that and of water-filling, which is exact at the vertices of
    the curves' convex hulls. A larger budget never loses more.

    Args:
        curves: at least one point each.
        pools: what a unit costs in each place; the same keys.
        budget: parameters that may stay, summed over `pools`.

    Raises:
        BadRequestError: the least points of all curves are above the budget.
    """
    points = {
        place: _useful([(units * pools[place].cost, loss, units) for units, loss in curve])
        for place, curve in sorted(curves.items())
    }
    least = sum(choices[0][0] for choices in points.values())
    if least > budget:
        raise BadRequestError(
            f"{max(budget, 0):,} parameters of neurons and heads cannot hold the least of each "
            f"layer, {least:,}",
            "use a smaller --ratio or --round-to",
        )
    cell, exact = _cell(points)
    answers = [_programmed(points, (budget - least) // cell, cell)]
    if not exact:
        answers.append(_filled(points, budget - least))
    best = min(answers, key=lambda picks: sum(points[p][i][1] for p, i in picks.items()))
    return {place: points[place][index][2] for place, index in best.items()}


_Point = tuple[int, float, int]
"""Cost, loss, units."""


def _useful(points: list[_Point]) -> list[_Point]:
    """Points that lose less than every cheaper one, by increasing cost."""
    found: list[_Point] = []
    for point in sorted(points):
        if not found or point[1] < found[-1][1]:
            found.append(point)
    return found


def _hull(points: list[_Point]) -> list[int]:
    """Indices of the vertices of the lower convex hull."""
    kept: list[int] = []
    for index, (cost, loss, _) in enumerate(points):
        while len(kept) > 1:
            (first, high, _), (middle, low, _) = points[kept[-2]], points[kept[-1]]
            if (high - low) * (cost - middle) > (low - loss) * (middle - first):
                break
            kept.pop()
        kept.append(index)
    return kept


def _filled(points: Mapping[Place, list[_Point]], room: int) -> dict[Place, int]:
    """Water-filling: steps along the hulls by decreasing gain per parameter, while they fit.

    Optimal for what it spends (Everett 1963), and off by less than that step's gain otherwise.
    """
    steps = []
    for place, choices in points.items():
        hull = _hull(choices)
        for before, after in pairwise(hull):
            cost = choices[after][0] - choices[before][0]
            gain = choices[before][1] - choices[after][1]
            steps.append((-gain / cost, place, cost, after))
    picks = dict.fromkeys(points, 0)
    for _, place, cost, after in sorted(steps):
        room -= cost
        if room < 0:
            break
        picks[place] = after
    return picks


def _cell(points: Mapping[Place, list[_Point]]) -> tuple[int, bool]:
    """The unit in which costs are counted, and whether all costs are multiples of it."""
    extras = [cost - choices[0][0] for choices in points.values() for cost, _, _ in choices]
    whole = sum(choices[-1][0] - choices[0][0] for choices in points.values())
    divisor = math.gcd(*extras) or 1
    return (divisor, True) if whole // divisor <= CELLS else (-(-whole // CELLS), False)


def _programmed(points: Mapping[Place, list[_Point]], room: int, cell: int) -> dict[Place, int]:
    """The dynamic programme with `room` cells above the least point of every curve."""
    import numpy as np

    whole = sum(-(-(choices[-1][0] - choices[0][0]) // cell) for choices in points.values())
    room = min(room, whole)
    best = np.zeros(room + 1)
    taken: dict[Place, NDArray[np.int16]] = {}
    for place, choices in points.items():
        losses = best + choices[0][1]
        picks = np.zeros(room + 1, dtype=np.int16)
        for index, (cost, loss, _) in enumerate(choices[1:], start=1):
            size = -(-(cost - choices[0][0]) // cell)
            if size > room:
                break
            better = best[: room + 1 - size] + loss < losses[size:]
            losses[size:][better] = (best[: room + 1 - size] + loss)[better]
            picks[size:][better] = index
        best = losses
        taken[place] = picks
    answer = {}
    for place in reversed(list(points)):
        index = int(taken[place][room])
        answer[place] = index
        room -= -(-(points[place][index][0] - points[place][0][0]) // cell)
    return answer
