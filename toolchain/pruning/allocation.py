"""A width for every layer, from what the dense model says of each.

What one part alone costs the model says little about how damages add up, so the measured curves can
be weighed: attention against MLP, early layers against late ones, steep curves against flat ones.
Which weights are right is for drafts to say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from toolchain.pruning.allocate import (
    ATTENTION,
    Place,
    Pool,
    competing,
    counted,
    global_counts,
    shapes_of,
)
from toolchain.pruning.knapsack import knapsack
from toolchain.pruning.sensitivity import Curve, Sensitivity
from toolchain.pruning.stream import Method
from toolchain.pruning.structure import Structure, budget_of, structure_of, thinned
from toolchain.pruning.workbench import Workbench


@dataclass(frozen=True)
class Weights:
    """How measured losses are weighed against each other: loss ** power * exp(...)."""

    attention: float = 0.0
    """Log of the factor on attention."""
    depth: float = 0.0
    """Log of the factor on the last layer over that on the first."""
    power: float = 1.0

    def neighbours(self) -> list[Weights]:
        """One step away in each direction."""
        return [
            replace(self, attention=self.attention + 0.7),
            replace(self, attention=self.attention - 0.7),
            replace(self, depth=self.depth + 1),
            replace(self, depth=self.depth - 1),
            replace(self, power=self.power * 1.4),
            replace(self, power=self.power / 1.4),
        ]

    def weigh(self, curve: Curve, place: Place, count: int) -> Curve:
        """The weighed curve of a part of one of `count` layers."""
        log = self.depth * place[0] / max(count - 1, 1) + self.attention * (place[1] == ATTENTION)
        return [(units, max(loss, 0.0) ** self.power * math.exp(log)) for units, loss in curve]


class Allocator:
    """Spreads the budget over the layers of a structure."""

    def __init__(
        self, bench: Workbench, structure: Structure, method: Method, samples: int
    ) -> None:
        """`samples`: of the calibration text, for scores and curves."""
        self._bench = bench
        self._structure = structure
        settings = bench.settings
        self._thin = thinned(bench.source.spec, structure.layers)
        heavy = counted(self._thin, settings.first_recovery, settings.parts)
        budget = budget_of(bench.source.spec, settings)
        pools, self._movable = competing(heavy, budget, settings.round_to, settings.parts)
        layers = structure.layers
        self._pools: dict[Place, Pool] = {(layers[p], part): pools[p, part] for p, part in pools}
        self._sensitivity = Sensitivity(bench, method, samples)

    def by_scores(self) -> Structure:
        """One threshold for the scores of all units, standardised by layer and part."""
        scores = self._sensitivity.scores(self._pools)
        protect = self._bench.settings.protect
        return self._with(global_counts(scores, self._pools, self._movable, protect))

    def by_curves(self, weights: Weights) -> Structure:
        """The least sum of weighed losses."""
        count = self._bench.layer_count
        weighed = {p: weights.weigh(curve, p, count) for p, curve in self._curves.items()}
        return self._with(knapsack(weighed, self._pools, self._movable))

    @cached_property
    def _curves(self) -> dict[Place, Curve]:
        return self._sensitivity.curves(self._pools)

    def _with(self, counts: Mapping[Place, int]) -> Structure:
        layers = self._structure.layers
        places = {index: place for place, index in enumerate(layers)}
        shapes = shapes_of(self._thin, {(places[i], part): n for (i, part), n in counts.items()})
        bench = self._bench
        return structure_of(
            bench.source.spec, layers, shapes, bench.settings, self._structure.scales
        )
