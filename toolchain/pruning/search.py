"""What `auto` means: drafts of the whole model, compared on held-out text.

A draft prunes every layer towards one target, unjudged, from part of the calibration text: a
fraction of the work of a full run. The search goes one question after the other (the split between
attention and MLP, layers, widths, importance, recovery) and keeps an answer only if it lowers
held-out KL. Part of the text can mislead: the best drafts and the answer that needs no search are
drafted once more from all of it, and the least held-out KL of these is the choice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from runtime_py.schema import LayerShape
from toolchain import registry
from toolchain.errors import BadRequestError
from toolchain.pruning.allocate import counted, uniform_shapes
from toolchain.pruning.allocation import Allocator, Weights
from toolchain.pruning.drop import Dropped, LayerStage
from toolchain.pruning.effort import DRAFT_SAMPLES, affordable_drafts, finalists
from toolchain.pruning.gradients import DenseModel, GradientPass, GradientStore, collect_gradients
from toolchain.pruning.stream import Method, Pruner
from toolchain.pruning.structure import (
    Structure,
    budget_of,
    default_structure,
    fewest_dropped,
    structure_of,
    thinned,
)
from toolchain.pruning.workbench import Workbench
from toolchain.store import write_json

OTHER_IMPORTANCES = ("condition", "fisher", "greedy")
OTHER_RECOVERIES = ("least_squares", "low_rank", "mask_tuning")
UNIFORM, GLOBAL, KL = "uniform", "global", "kl"


@dataclass(frozen=True)
class Choice:
    """One answer to everything that may be `auto`."""

    structure: Structure
    importance: str
    recovery: str
    allocation: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "importance": self.importance,
            "recovery": self.recovery,
            "allocation": self.allocation,
            **self.structure.to_json(),
        }


@dataclass(frozen=True)
class Draft:
    """A choice and what its draft came to."""

    choice: Choice
    held_out_kl: float
    samples: int
    """How many calibration samples it was made from."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {"samples": self.samples, "held_out_kl": self.held_out_kl}
        return {**self.choice.to_json(), **values}


class Search:
    """Answers what the settings leave open; drafts that are done are kept in the work directory."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._settings = bench.settings
        self._spec = bench.source.spec
        self._file = bench.work / "drafts.json"
        self._known: dict[str, float] = _read(self._file)
        self._gradients: GradientStore | None = None
        self._drafts = affordable_drafts(self._spec, self._settings, bench.device)
        self._samples = len(bench.samples.training)
        self._few = min(DRAFT_SAMPLES, self._samples)
        self.tried: dict[str, Draft] = {}
        """Every draft, by the JSON of its choice and samples, in the order in which it was made."""

    @cached_property
    def _stage(self) -> LayerStage:
        return LayerStage(self._bench)

    def best(self) -> Choice:
        """The choice to prune with."""
        settings = self._settings
        structure = self._default(fewest_dropped(self._spec, settings))
        first = Choice(structure, settings.matched_importance, settings.first_recovery, UNIFORM)
        choice = self._with_best_split(first)
        if settings.layers == "auto" and self._drafts:
            choice = self._with_fewer_layers(choice)
        if settings.layout == "adaptive":
            choice = self._allocated(choice)
        whole = thinned(self._spec, choice.structure.layers).layers
        if settings.importance == "auto" and choice.structure.spec.layers != whole:
            gradients = registry.GRADIENT_IMPORTANCE if not self._spec.family.causal else ()
            names = [name for name in OTHER_IMPORTANCES if name not in gradients]
            others = [replace(choice, importance=name) for name in names]
            choice = self._best_of([choice, *others])
        if settings.recovery == "auto":
            others = [replace(choice, recovery=name) for name in OTHER_RECOVERIES]
            choice = self._best_of([choice, *others])
        return self._final(choice, first)

    def method(self, choice: Choice) -> Method:
        """The method of `choice`, with gradients where its importance needs them."""
        needs = choice.importance in registry.GRADIENT_IMPORTANCE
        return Method(choice.importance, choice.recovery, self._taken() if needs else None)

    def _best_of(self, choices: Sequence[Choice]) -> Choice:
        """The least held-out KL; the first of equals. No more drafts than the settings allow."""
        different = list(dict.fromkeys(choices))
        if len(different) == 1:
            return different[0]
        left = max(self._drafts - len(self.tried), 0)
        new = [choice for choice in different if _key(choice, self._few) not in self.tried][left:]
        affordable = [choice for choice in different if choice not in new]
        return min(affordable, key=self._draft) if len(affordable) > 1 else different[0]

    def _final(self, choice: Choice, first: Choice) -> Choice:
        """The best of the search's answer, the answer without one and the next best drafts."""
        count = finalists(self._drafts)
        if self._samples == self._few or count < 2 or not self.tried:
            return choice
        ranked = sorted(self.tried.values(), key=lambda draft: draft.held_out_kl)
        candidates = dict.fromkeys([choice, first, *(draft.choice for draft in ranked)])
        return min(list(candidates)[:count], key=lambda one: self._draft(one, self._samples))

    def _with_fewer_layers(self, choice: Choice) -> Choice:
        """One layer less as long as that helps and what is left is still above the budget."""
        limit = budget_of(self._spec, self._settings).block_parameters
        while thinned(self._spec, choice.structure.layers).block_parameters > limit:
            dropped = self._bench.layer_count - len(choice.structure.layers) + 1
            try:
                fewer = replace(choice, structure=self._default(dropped))
            except BadRequestError:
                break
            better = self._best_of([choice, self._with_best_split(fewer)])
            if better == choice:
                break
            choice = better
        return choice

    def _with_best_split(self, choice: Choice) -> Choice:
        """Walk through the splits of the budget between attention and MLP while that helps."""
        settings, kept = self._settings, choice.structure.layers
        budget, thin = budget_of(self._spec, settings), thinned(self._spec, kept)
        fixed = settings.allocation != "auto" or settings.parts != "all"
        if fixed or budget.block_parameters >= thin.block_parameters:
            return choice
        heavy = counted(thin, settings.first_recovery, settings.parts)
        shapes = uniform_shapes(heavy, budget, settings.round_to, settings.parts)
        while True:
            here = choice.structure.spec.layers[0]
            near = [
                replace(choice, structure=structure)
                for shape in _neighbours(here, shapes)
                if (structure := self._possible(choice.structure, shape)) is not None
            ]
            better = self._best_of([choice, *near])
            if better == choice:
                return choice
            choice = better

    def _possible(self, structure: Structure, shape: LayerShape) -> Structure | None:
        """`structure` with that shape in every layer, where the family can hold it."""
        shapes = (shape,) * len(structure.layers)
        try:
            return structure_of(
                self._spec, structure.layers, shapes, self._settings, structure.scales
            )
        except BadRequestError:
            return None

    def _allocated(self, choice: Choice) -> Choice:
        """A width for every layer: by the allocation asked for, or the best of them."""
        asked = self._settings.allocation
        thin = thinned(self._spec, choice.structure.layers)
        limit = budget_of(self._spec, self._settings).block_parameters
        undecidable = asked == "auto" and not self._drafts
        if asked == UNIFORM or undecidable or limit >= thin.block_parameters:
            return choice
        allocator = Allocator(self._bench, choice.structure, self.method(choice), DRAFT_SAMPLES)
        if asked == GLOBAL:
            return replace(choice, structure=allocator.by_scores(), allocation=GLOBAL)
        weights = Weights()
        measured = replace(choice, structure=allocator.by_curves(weights), allocation=KL)
        if asked == KL:
            return measured
        scored = replace(choice, structure=allocator.by_scores(), allocation=GLOBAL)
        best = self._best_of([choice, scored, measured])
        while True:
            near = {
                replace(measured, structure=allocator.by_curves(other)): other
                for other in weights.neighbours()
            }
            better = self._best_of([measured, *near])
            if better == measured:
                return self._best_of([best, measured])
            measured, weights = better, near[better]

    def _default(self, dropped: int) -> Structure:
        """The structure that needs no search with that many layers less.

        Raises:
            BadRequestError: no such structure; the first and the last layer stay.
        """
        kept = tuple(range(self._bench.layer_count))
        if not dropped:
            return default_structure(self._spec, kept, self._settings)
        stage: Dropped = self._stage.dropped(dropped)
        return default_structure(self._spec, stage.kept, self._settings, stage.scales)

    def _draft(self, choice: Choice, samples: int | None = None) -> float:
        """Held-out KL of a draft of `choice`; `samples`: from more than the usual few."""
        samples = samples or self._few
        key = _key(choice, samples)
        if key not in self.tried:
            if key not in self._known:
                self._known[key] = self._drafted(choice, samples)
                write_json(self._file, self._known)
            self.tried[key] = Draft(choice, self._known[key], samples)
        return self.tried[key].held_out_kl

    def _drafted(self, choice: Choice, samples: int) -> float:
        method = self.method(choice)
        pruner = Pruner(self._bench, choice.structure, method, samples=samples)
        pruner.run(self._bench.progress, f"draft {len(self.tried) + 1}")
        return pruner.divergence()

    def _taken(self) -> GradientStore:
        """Gradients of the dense model, taken once."""
        if self._gradients is None:
            bench = self._bench
            self._gradients = GradientStore(bench.work / "gradients")
            decoder = bench.decoder(bench.layer_count)
            model = DenseModel(decoder, bench.dense_layer, bench.source.family, self._spec.layers)
            samples = bench.samples.training[:DRAFT_SAMPLES]
            how = GradientPass()
            collect_gradients(model, samples, self._gradients, how, bench.progress)
        return self._gradients


def _neighbours(shape: LayerShape, shapes: Sequence[LayerShape]) -> list[LayerShape]:
    """The shapes with a step of KV groups, or of query heads in each, more or less.

    A step is one, or an eighth where there are many.
    """

    def heads(of: LayerShape) -> tuple[int, int]:
        return of.num_key_value_heads, of.num_attention_heads // of.num_key_value_heads

    groups, per_group = heads(shape)
    steps = [max(1, max(heads(other)[axis] for other in shapes) // 8) for axis in (0, 1)]
    near = {(groups + sign * steps[0], per_group) for sign in (-1, 1)}
    near |= {(groups, per_group + sign * steps[1]) for sign in (-1, 1)}
    return [other for other in shapes if heads(other) in near]


def _key(choice: Choice, samples: int) -> str:
    return json.dumps({**choice.to_json(), "samples": samples}, sort_keys=True)


def _read(file: Path) -> dict[str, float]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
