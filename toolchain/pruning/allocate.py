"""How much of every layer stays, within a budget that is never exceeded. Torch-free.

Uniform widths, or units of all layers and parts that compete (`global_counts`; measured
sensitivities go through `toolchain.pruning.knapsack`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from runtime_py.schema import LayerShape
from toolchain.errors import BadRequestError
from toolchain.model.families import bias_keys, check_heads, saved_model_type
from toolchain.model.spec import ModelSpec
from toolchain.pruning.budget import Budget

ATTENTION = "attention"
MLP = "mlp"

Place = tuple[int, str]
"""A layer's index and a part of it, ATTENTION or MLP."""


def counted(spec: ModelSpec, recovery: str, parts: str) -> ModelSpec:
    """`spec` as a budget has to count it: with the biases that `recovery` may add to `parts`.

    Raises:
        BadRequestError: the family cannot hold them.
    """
    return _biased(spec, parts != MLP, parts != ATTENTION) if recovery == "bias" else spec


def with_layers(
    spec: ModelSpec, layers: Sequence[LayerShape], recovery: str, *, uniform: bool = True
) -> ModelSpec:
    """`spec` with pruned `layers` in place of its own, as it will be saved.

    The recovery `bias` adds biases to the parts that lost something. A `uniform` result has to fit
    into a family's own config.

    Raises:
        BadRequestError: the family cannot hold the biases or the number of heads.
    """
    before, after = spec.layers, tuple(layers)
    for was, shape in zip(before, after, strict=True):
        check_heads(spec.family, was, shape, uniform=False)
    out = replace(spec, layers=after)
    if recovery == "bias":
        pairs = list(zip(before, after, strict=True))
        attention = any(a.num_attention_heads < b.num_attention_heads for b, a in pairs)
        mlp = any(a.intermediate_size < b.intermediate_size for b, a in pairs)
        out = _biased(out, attention, mlp)
    biased = out.output_bias or out.mlp_bias
    for heads in {shape.num_attention_heads for shape in after} if uniform else ():
        saved = saved_model_type(spec.family, spec.hidden_size, heads, biased)
        if saved != spec.model_type:
            out = replace(out, model_type=saved)
    return out


def _biased(spec: ModelSpec, attention: bool, mlp: bool) -> ModelSpec:
    family = spec.family
    keys = bias_keys(family, output=attention, mlp=mlp)
    return replace(
        spec,
        query_key_value_bias=spec.query_key_value_bias or family.query_key_value_bias in keys,
        output_bias=spec.output_bias or family.output_bias in keys,
        mlp_bias=spec.mlp_bias or family.mlp_bias in keys,
    )


# Uniform widths


def uniform_shapes(spec: ModelSpec, budget: Budget, round_to: int, parts: str) -> list[LayerShape]:
    """Every split of the budget between attention and MLP, the same in all layers.

    For each number of KV groups, and of query heads in each, the largest width within the budget;
    without shapes that another one contains. With `parts` "mlp" or "attention" the other part
    stays whole.

    Args:
        spec: the dense model, possibly with fewer layers.
        budget: what may stay over all layers of `spec`.
        round_to: a width is a multiple of this, or the dense one.
        parts: "all", "mlp" or "attention".

    Raises:
        BadRequestError: nothing fits, nothing must go, or the layers already differ.
    """
    dense = _dense_shape(spec, budget)
    found = [
        shape
        for heads in _splits(dense, parts)
        if (shape := _widest(spec, heads, budget.block_parameters, round_to, parts)) is not None
    ]
    if not found:
        raise budget.refused(spec, _smallest(spec, round_to, parts))
    return [shape for shape in found if not any(_contains(other, shape) for other in found)]


def uniform_shape(spec: ModelSpec, budget: Budget, round_to: int, parts: str) -> LayerShape:
    """The split that is used where none is searched for.

    Of G KV groups, floor(G times the share of `spec` that must go) go whole, the MLP loses the
    rest; more of attention goes only where the MLP cannot lose enough. The parameters that stay
    never grow when the budget shrinks, for which rounding may cost a step of the width. Arguments
    as for `uniform_shapes`.

    Raises:
        BadRequestError: as for `uniform_shapes`.
    """
    dense = _dense_shape(spec, budget)
    groups, total = dense.num_key_value_heads, spec.block_parameters
    limit = budget.block_parameters
    removed = min(groups * (total - limit) // total, groups) if parts == "all" else 0
    ceiling = total
    for fewer in range(removed):
        # The least budget that takes `fewer` groups; what it comes to bounds all smaller ones.
        least = min(total * (groups - fewer - 1) // groups + 1, ceiling)
        above = _first_fit(spec, least, round_to, parts, fewer)
        if above is None:
            break
        ceiling = _block_parameters(spec, above)
    shape = _first_fit(spec, min(limit, ceiling), round_to, parts, removed)
    if shape is None:
        raise budget.refused(spec, _smallest(spec, round_to, parts))
    return shape


def _dense_shape(spec: ModelSpec, budget: Budget) -> LayerShape:
    shape = spec.layers[0]
    if any(other != shape for other in spec.layers):
        raise BadRequestError(
            f"the layers of {spec.name} have different widths", "prune the dense model instead"
        )
    if budget.block_parameters >= spec.block_parameters:
        raise BadRequestError(
            f"nothing has to go for {spec.name} to be pruned {budget.asked}: it has "
            f"{spec.parameters:,} parameters",
            "ask for less",
        )
    return shape


def _with_heads(shape: LayerShape, groups: int, per_group: int) -> LayerShape:
    return replace(shape, num_attention_heads=groups * per_group, num_key_value_heads=groups)


def _splits(dense: LayerShape, parts: str) -> Iterator[LayerShape]:
    groups = dense.num_key_value_heads
    per_group = dense.num_attention_heads // groups
    for count in range(groups, 0, -1) if parts != MLP else (groups,):
        for heads in range(per_group, 0, -1) if parts != MLP else (per_group,):
            yield _with_heads(dense, count, heads)


def _first_fit(
    spec: ModelSpec, limit: int, round_to: int, parts: str, removed: int
) -> LayerShape | None:
    """The widest shape for the fewest whole groups gone, `removed` or more, that fit at all."""
    dense = spec.layers[0]
    groups = dense.num_key_value_heads
    per_group = dense.num_attention_heads // groups
    ladder = [_with_heads(dense, count, per_group) for count in range(groups - removed, 0, -1)]
    ladder += [_with_heads(dense, 1, heads) for heads in range(per_group - 1, 0, -1)]
    for shape in ladder if parts != MLP else [dense]:
        found = _widest(spec, shape, limit, round_to, parts)
        if found is not None:
            return found
    return None


def _widest(
    spec: ModelSpec, shape: LayerShape, limit: int, round_to: int, parts: str
) -> LayerShape | None:
    """`shape` with the largest width for which all layers stay within `limit`."""
    width = shape.intermediate_size
    bare, one = (replace(shape, intermediate_size=size) for size in (0, 1))
    per_neuron = spec.mlp_parameters(one) - spec.mlp_parameters(bare)
    left = limit // len(spec.layers) - spec.attention_parameters(shape) - spec.mlp_parameters(bare)
    fitting = left // per_neuron
    if fitting >= width:
        return shape
    fitting = fitting // round_to * round_to
    return replace(shape, intermediate_size=fitting) if fitting > 0 and parts != ATTENTION else None


def _contains(one: LayerShape, other: LayerShape) -> bool:
    def sizes(shape: LayerShape) -> tuple[int, int, int]:
        groups = shape.num_key_value_heads
        return groups, shape.num_attention_heads // groups, shape.intermediate_size

    return one != other and all(a >= b for a, b in zip(sizes(one), sizes(other), strict=True))


def _block_parameters(spec: ModelSpec, shape: LayerShape) -> int:
    return replace(spec, layers=(shape,) * len(spec.layers)).block_parameters


def _smallest(spec: ModelSpec, round_to: int, parts: str) -> ModelSpec:
    shape = spec.layers[0]
    if parts != ATTENTION:
        shape = replace(shape, intermediate_size=_least_width(shape, round_to))
    if parts != MLP:
        shape = _with_heads(shape, 1, 1)
    return replace(spec, layers=(shape,) * len(spec.layers))


def _least_width(shape: LayerShape, round_to: int) -> int:
    return min(round_to, shape.intermediate_size)


# Units of all layers that compete


@dataclass(frozen=True)
class Pool:
    """The units of one part of one layer that compete for a budget."""

    cost: int
    """Parameters of one unit."""
    least: int
    """Fewest units that stay."""
    most: int
    """Units of the dense layer."""
    step: int = 1
    """What a number of units is a multiple of, unless it is `most`."""


def competing(
    spec: ModelSpec, budget: Budget, round_to: int, parts: str
) -> tuple[dict[Place, Pool], int]:
    """What may be removed and what it costs: neurons, and KV groups with their queries.

    Returns:
        The pools, and the parameters that may stay in them: the budget without what always stays.
    """
    pools = {}
    for index, shape in enumerate(spec.layers):
        groups, width = shape.num_key_value_heads, shape.intermediate_size
        one = _with_heads(shape, 1, shape.num_attention_heads // groups)
        none = replace(shape, num_attention_heads=0, num_key_value_heads=0, intermediate_size=0)
        if parts != MLP:
            cost = spec.attention_parameters(one) - spec.attention_parameters(none)
            pools[index, ATTENTION] = Pool(cost, 1, groups)
        if parts != ATTENTION:
            one = replace(shape, intermediate_size=1)
            cost = spec.mlp_parameters(one) - spec.mlp_parameters(none)
            pools[index, MLP] = Pool(cost, _least_width(shape, round_to), width, round_to)
    movable = sum(pool.cost * pool.most for pool in pools.values())
    return pools, budget.block_parameters - (spec.block_parameters - movable)


def shapes_of(spec: ModelSpec, counts: Mapping[Place, int]) -> list[LayerShape]:
    """The layers of `spec` with the numbers of KV groups and neurons in `counts`."""
    shapes = []
    for index, shape in enumerate(spec.layers):
        groups = counts.get((index, ATTENTION), shape.num_key_value_heads)
        per_group = shape.num_attention_heads // shape.num_key_value_heads
        width = counts.get((index, MLP), shape.intermediate_size)
        shapes.append(replace(_with_heads(shape, groups, per_group), intermediate_size=width))
    return shapes


def global_counts(
    scores: Mapping[Place, Sequence[float]],
    pools: Mapping[Place, Pool],
    budget: int,
    protected_share: float | None = 0.5,
) -> dict[Place, int]:
    """How many units stay where, if all compete by standardised score with one threshold (FLAP).

    Scores of a pool are standardised (An et al. 2023, arXiv 2312.11983, section 4.2), and steps of
    units go by increasing mean until the rest fits. The order does not depend on the budget, so a
    smaller one never leaves more anywhere. The first and the last layer wait: a step of theirs goes
    only once the share it would take of its part is within `protected_share` of the share that has
    gone overall, or no other step is left.

    Args:
        scores: importance of every unit, the larger the more worth keeping.
        pools: what each place has and needs; the same keys.
        budget: parameters that may stay, summed over `pools`.
        protected_share: how much of the overall ratio the first and last layer lose at most while
            the others can pay; None: they are like any other.

    Raises:
        BadRequestError: the least of all pools is above the budget.
    """
    check_budget(pools, budget)
    kept = {place: pool.most for place, pool in pools.items()}
    steps = {place: _steps(scores[place], pool) for place, pool in pools.items()}
    whole = left = sum(pool.cost * pool.most for pool in pools.values())
    ends = {min(pools)[0], max(pools)[0]} if protected_share is not None else set()
    heap = [(steps[place][0][0], place) for place in sorted(pools) if steps[place]]
    heapq.heapify(heap)
    waiting: list[tuple[float, Place]] = []
    while left > budget:
        if not heap:
            heap, waiting, ends = waiting, [], set()
            heapq.heapify(heap)
        value, place = heapq.heappop(heap)
        pool, after = pools[place], steps[place][0][1]
        share = (pool.most - after) / pool.most
        if place[0] in ends and share > (protected_share or 0) * (whole - left) / whole:
            waiting.append((value, place))
            continue
        left -= pool.cost * (kept[place] - after)
        kept[place] = after
        del steps[place][0]
        for item in [*waiting, *((value, place) for value, _ in steps[place][:1])]:
            heapq.heappush(heap, item)
        waiting = []
    return kept


def check_budget(pools: Mapping[Place, Pool], budget: int) -> None:
    """Refuse a budget that even the least of every pool exceeds.

    Raises:
        BadRequestError: naming that least.
    """
    least = sum(pool.cost * pool.least for pool in pools.values())
    if least > budget:
        raise BadRequestError(
            f"{max(budget, 0):,} parameters of neurons and heads cannot hold the least of each "
            f"layer, {least:,}",
            "use a smaller --ratio or --round-to",
        )


def _steps(scores: Sequence[float], pool: Pool) -> list[tuple[float, int]]:
    """(mean standardised score of what goes, units left) of each step, the worst first."""
    import numpy as np

    values = np.sort(np.asarray(scores, dtype=np.float64))
    spread = float(values.std())
    values = (values - values.mean()) / (spread or 1.0)
    top = (pool.most - 1) // pool.step * pool.step
    counts = [pool.most, *range(top, pool.least - 1, -pool.step)]
    return [
        (float(values[pool.most - before : pool.most - after].mean()), after)
        for before, after in pairwise(counts)
    ]
