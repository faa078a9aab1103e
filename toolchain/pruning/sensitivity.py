"""What each part of each layer of the dense model says of itself, for allocation across layers.

One pass over the dense layers gives the scores of all units, or measures for each layer and part
how the whole model suffers when that part alone loses more and more of its units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial

from torch import Tensor

from runtime_py.schema import LayerShape
from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.model.block import Block
from toolchain.model.compact import ATTENTION, cut, expand, read_projection, unit_width
from toolchain.pruning.allocate import Place, Pool
from toolchain.pruning.flow import DENSE, PRUNED, advance_, pass_through_
from toolchain.pruning.judge import judged_part
from toolchain.pruning.step import NONE, as_stored, candidates, choose_units, collect_
from toolchain.pruning.stream import Method
from toolchain.pruning.workbench import Tensors, Workbench

Curve = list[tuple[int, float]]
"""(units kept, loss) of one part of one layer."""

LEVELS = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
"""Shares of its units that a part loses when its sensitivity is measured."""


@dataclass(frozen=True)
class _Part:
    """One part of one dense layer, and its statistics."""

    place: Place
    block: Block
    tensors: Tensors
    shape: LayerShape
    statistics: ProjectionStatistics
    weight: Tensor


class Sensitivity:
    """Passes over the dense model of `bench`."""

    def __init__(self, bench: Workbench, method: Method, samples: int) -> None:
        self._bench = bench
        self._method = method
        self._samples = samples

    def scores(self, pools: Mapping[Place, Pool]) -> dict[Place, list[float]]:
        """Importance of every KV group and neuron in `pools`."""
        found = {}
        for part in self._parts(pools, "scoring layers"):
            groups = part.shape.num_attention_heads // part.shape.num_key_value_heads
            width = groups * part.shape.head_dim if part.place[1] == ATTENTION else 1
            score = self._method.score(part.place, part.statistics, part.weight, width)
            found[part.place] = score.tolist()
        return found

    def curves(self, pools: Mapping[Place, Pool]) -> dict[Place, Curve]:
        """(units kept, held-out KL) of each pool, everything else being dense."""
        found = {}
        for part in self._parts(pools, "measuring sensitivities"):
            pool = pools[part.place]
            counts = sorted({_stepped(pool, level) for level in LEVELS} - {pool.most})
            divergences = self._divergences(part, counts)
            found[part.place] = [*zip(counts, divergences, strict=True), (pool.most, 0.0)]
        return found

    def _parts(self, pools: Mapping[Place, Pool], description: str) -> Iterator[_Part]:
        bench = self._bench
        training = bench.samples.training[: self._samples]
        self._calibration = bench.batches(training, [DENSE, PRUNED], "sensitivity")
        held_out = bench.batches(bench.samples.held_out, [DENSE], "sensitivity-held-out")
        self._held_out = judged_part(held_out, bench.step_tokens)
        with bench.progress.task(description, bench.layer_count) as task:
            for index in range(bench.layer_count):
                layer = bench.dense_layer(index)
                tensors = bench.source.layer_tensors(index)
                for block in bench.blocks:
                    place = (index, block.part)
                    if place in pools:
                        statistics = collect_(block, layer, self._calibration, bench.device)
                        weight = read_projection(tensors, bench.source.family, block.part).float()
                        shape = bench.source.spec.layers[index]
                        yield _Part(place, block, tensors, shape, statistics, weight)
                    else:
                        advance_(self._calibration, block, {DENSE: layer}, bench.device)
                    advance_(self._held_out, block, {DENSE: layer}, bench.device)
                    for batch in self._calibration:
                        batch.hidden[PRUNED] = batch.hidden[DENSE]
                task.advance()

    def _divergences(self, part: _Part, counts: list[int]) -> list[float]:
        bench, (index, name) = self._bench, part.place
        family = bench.source.family
        layer = bench.dense_layer(index)
        score = cache(partial(self._method.score, part.place, part.statistics, part.weight))
        projections: dict[int, tuple[Tensor, Tensors]] = {}
        for count in counts:
            after = _with_units(part.shape, name, count)
            units = choose_units(score, part.shape, after, name)
            columns = expand(units, unit_width(part.shape, name))
            narrow = cut(part.tensors, family, part.shape, name, units)
            has_bias = f"{part.block.projection_name}.bias" in part.tensors
            recover = self._method.recover
            found = candidates(recover, part.statistics, part.weight, columns, has_bias, "own")
            stored, _ = as_stored(narrow, part.block, found)
            tensors = stored.get("own", stored[NONE])
            own = {n: t for n, t in tensors.items() if n.startswith(part.block.projection_name)}
            projections[count] = columns.to(bench.device), own
        ends: list[dict[str, Tensor]] = []
        for batch in self._held_out:
            hidden = batch.hidden[DENSE].to(bench.device)
            inputs = part.block.inputs(layer, hidden)
            ends.append({})
            for count, (columns, own) in projections.items():
                output = part.block.project(inputs[..., columns], own)
                ends[-1][str(count)] = part.block.join(layer, hidden, output).cpu()
        pass_through_(ends, bench.later_blocks(part.block), layer, bench.device)
        found_kl = bench.dense_judge.divergences(self._held_out, ends, index + 1)
        return [found_kl[str(count)] for count in counts]


def _stepped(pool: Pool, share: float) -> int:
    """Units left of `pool` after about `share` of them went, within its bounds and steps."""
    left = round(pool.most * (1 - share) / pool.step) * pool.step
    return min(max(left, pool.least), pool.most)


def _with_units(shape: LayerShape, part: str, count: int) -> LayerShape:
    if part != ATTENTION:
        return replace(shape, intermediate_size=count)
    heads = shape.num_attention_heads // shape.num_key_value_heads * count
    return replace(shape, num_attention_heads=heads, num_key_value_heads=count)
