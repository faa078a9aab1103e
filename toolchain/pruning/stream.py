"""One pass over the layers of a model: prune and recover each, with one in memory at a time.

Per layer: statistics at o_proj, prune, recover, run again; statistics at down_proj, prune, recover,
run again. Inputs always come from the pruned prefix, targets from the dense model, whose stream
also runs through the layers that are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from toolchain import registry
from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.model.block import Block
from toolchain.model.compact import (
    ATTENTION,
    MLP,
    PARTS,
    Kept,
    cut,
    expand,
    read_projection,
    unit_count,
    unit_width,
)
from toolchain.progress import Progress
from toolchain.pruning.device import return_freed_memory
from toolchain.pruning.flow import DENSE, PRUNED, Batch, advance_, pass_through_
from toolchain.pruning.gradients import GradientStore
from toolchain.pruning.judge import judged_part
from toolchain.pruning.layers import FinishedLayer, LayerStore, with_zero_biases
from toolchain.pruning.step import (
    NONE,
    Decision,
    Recover,
    as_stored,
    candidates,
    choose_units,
    collect_,
)
from toolchain.pruning.structure import Structure
from toolchain.pruning.workbench import Tensors, Workbench

REPAIRING = ("least_squares", "low_rank", "mask_tuning")
"""Recoveries that can also make a projection that keeps all its inputs repair earlier layers."""


@dataclass(frozen=True)
class Method:
    """How units are scored and what is left is recovered; gradients where a score needs them."""

    importance: str
    recovery: str
    gradients: GradientStore | None = None

    def score(
        self, place: tuple[int, str], statistics: ProjectionStatistics, weight: Tensor, block: int
    ) -> Tensor:
        """Importance at (layer of the dense model, part); see `toolchain.pruning.importance`."""
        function = registry.resolve("importance", self.importance)
        extra = () if self.gradients is None else (self.gradients[place],)
        scores: Tensor = function(statistics, weight, block, *extra)
        return scores

    @property
    def recover(self) -> Recover:
        """See `toolchain.pruning.recovery`."""
        return registry.resolve("recovery", self.recovery)


class Pruner:
    """The loop over the layers; holds the activations between them.

    With a store every step tries all targets and is judged on held-out text, and finished layers
    are kept, and replayed where they are there already. Without one it is a draft: one target, no
    judge, nothing kept but the last hidden states.
    """

    def __init__(
        self,
        bench: Workbench,
        structure: Structure,
        method: Method,
        finished: LayerStore | None = None,
        samples: int | None = None,
    ) -> None:
        """`samples`: how many of the calibration samples to use; None: all."""
        self._bench = bench
        self._structure = structure
        self._method = method
        self._finished = finished
        self._judge = bench.judge(structure)
        training = bench.samples.training[:samples]
        self._calibration = bench.batches(training, [DENSE, PRUNED])
        self._held_out = bench.batches(bench.samples.held_out, [PRUNED], "held-out")

    def run(self, progress: Progress, description: str) -> list[FinishedLayer]:
        """Prune every layer that stays, or replay it where it is finished.

        Returns:
            What was kept and decided; the tensors are in the store alone.
        """
        bench, places = self._bench, {i: p for p, i in enumerate(self._structure.layers)}
        done = sum(self._finished.has(i) for i in places) if self._finished else 0
        if done:
            progress.note(f"going on after {done} finished layers")
        layers = []
        with progress.task(description, bench.layer_count) as task:
            for index in range(bench.layer_count):
                if index in places:
                    layer = self._layer(places[index], index)
                    layers.append(replace(layer, tensors={}))  # never the whole model in memory
                    del layer
                else:
                    bench.through_(self._calibration, DENSE, bench.dense_layer(index))
                task.advance()
        return layers

    def divergence(self) -> float:
        """Held-out KL of the pruned model, once `run` is through."""
        ends = [{PRUNED: batch.hidden[PRUNED]} for batch in self._held_out]
        count = len(self._structure.layers)
        return self._judge.divergences(self._held_out, ends, count)[PRUNED]

    def _layer(self, place: int, index: int) -> FinishedLayer:
        if self._finished is not None and self._finished.has(index):
            layer = self._finished.load(index)
            self._bench.through_(self._calibration, DENSE, self._bench.dense_layer(index))
            pruned = self._module(index, layer.tensors)
            self._bench.through_([*self._calibration, *self._held_out], PRUNED, pruned)
            return layer
        layer = self._prune_layer(place, index)
        if self._finished is not None:
            self._finished.save(index, layer)
        return layer

    def _prune_layer(self, place: int, index: int) -> FinishedLayer:
        # Zero biases from the start: a resumed run computes with the very same operations.
        tensors = self._bench.scaled_tensors(self._structure, place)
        tensors = with_zero_biases(tensors, self._structure.spec)
        kept = {}
        decisions = []
        for block in self._bench.blocks:
            tensors, units, decision = self._step(_Step(place, index, block), tensors)
            kept[block.part] = units
            decisions.append(decision)
            pruned = {PRUNED: self._module(index, tensors)}
            advance_([*self._calibration, *self._held_out], block, pruned, self._bench.device)
            del pruned  # a layer in float32 that nobody needs while the next projection is solved
        return FinishedLayer(tensors, Kept(*(kept[part] for part in PARTS)), decisions)

    def _whole(self, step: _Step) -> nn.Module:
        """The layer before pruning, its branches scaled."""
        if self._structure.scales[step.place] == 1:
            return self._bench.dense_layer(step.index)
        return self._module(step.index, self._bench.scaled_tensors(self._structure, step.place))

    def _module(self, index: int, tensors: Tensors) -> nn.Module:
        return self._bench.source.layer_from(index, tensors, self._bench.device)

    def _step(self, step: _Step, tensors: Tensors) -> tuple[Tensors, Tensor, Decision]:
        """Prune and recover one block: the layer's new tensors, the kept units, the record.

        The dense stream is past the block afterwards.
        """
        part, bench = step.block.part, self._bench
        family = bench.source.family
        shape, after = bench.source.spec.layers[step.index], self._structure.spec.layers[step.place]
        before, count = unit_count(shape, part), unit_count(after, part)
        scale = self._structure.scales[step.place]
        dense = bench.dense_layer(step.index)
        if count == before and not self._repairs(step):
            advance_(self._calibration, step.block, {DENSE: dense}, bench.device)
            note = "every unit stays; nothing to recover"
            decision = Decision(step.index, part, count, before, NONE, notes=[note])
            return tensors, torch.arange(before), decision
        statistics = collect_(step.block, dense, self._calibration, bench.device, scale)
        del dense
        return_freed_memory()
        weight = read_projection(tensors, family, part).float()
        score = partial(self._method.score, (step.index, part), statistics, weight)
        units = choose_units(score, shape, after, part)
        columns = expand(units, unit_width(shape, part))
        narrow = cut(tensors, family, shape, part, units)
        has_bias = f"{step.block.projection_name}.bias" in tensors
        only = None if self._finished else self._draft_target
        found = candidates(self._method.recover, statistics, weight, columns, has_bias, only)
        del statistics, weight, score  # `candidates` drops them as soon as it can
        results, notes = as_stored(narrow, step.block, found)
        divergences = {} if only else self._compare(step, columns, results)
        chosen = min(divergences, key=divergences.__getitem__) if divergences else list(results)[-1]
        decision = Decision(step.index, part, count, before, chosen, divergences, notes)
        return results[chosen], units, decision

    def _repairs(self, step: _Step) -> bool:
        """Whether a projection that loses nothing is refitted to what earlier layers lost."""
        if self._method.recovery not in REPAIRING:
            return False
        dense, after = self._bench.source.spec.layers, self._structure.spec.layers
        before = [dense[index] for index in self._structure.layers[: step.place]]
        attention = unit_count(after[step.place], ATTENTION) < unit_count(
            dense[step.index], ATTENTION
        )
        return (
            step.place != step.index
            or before != list(after[: step.place])
            or (step.block.part == MLP and attention)
        )

    @property
    def _draft_target(self) -> str:
        return "own+residual" if self._bench.source.family.targets_stream else "own+dense"

    def _compare(
        self, step: _Step, columns: Tensor, results: Mapping[str, Tensors]
    ) -> dict[str, float]:
        """Held-out KL of each candidate, with the rest of the model still dense."""
        held_out = judged_part(self._held_out, self._bench.step_tokens)
        ends = self._after_layer(step, held_out, columns, results)
        return self._judge.divergences(held_out, ends, step.place + 1)

    def _after_layer(
        self,
        step: _Step,
        held_out: Sequence[Batch],
        columns: Tensor,
        results: Mapping[str, Tensors],
    ) -> list[dict[str, Tensor]]:
        """Hidden states after the step's layer, its other block being dense, by candidate."""
        bench, block = self._bench, step.block
        rows, whole = columns.to(bench.device), self._whole(step)
        ends: list[dict[str, Tensor]] = []
        for batch in held_out:
            hidden = batch.hidden[PRUNED].to(bench.device)
            inputs = block.inputs(whole, hidden)[..., rows]
            ends.append(
                {
                    name: block.join(whole, hidden, block.project(inputs, tensors)).cpu()
                    for name, tensors in results.items()
                }
            )
        pass_through_(ends, bench.later_blocks(block), whole, bench.device)
        return ends


@dataclass(frozen=True)
class _Step:
    """One block of one layer that is being pruned."""

    place: int
    """Of the layer in the structure."""
    index: int
    """Of the layer in the dense model."""
    block: Block
