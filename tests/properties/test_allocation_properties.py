"""Allocation: no budget is ever exceeded, none is wasted, and less never leaves more."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from runtime_py.schema import LayerShape
from toolchain.errors import BadRequestError
from toolchain.exporting.formats import artifact_bytes, weight_format
from toolchain.model.spec import ModelSpec
from toolchain.pruning.allocate import (
    Pool,
    competing,
    counted,
    global_counts,
    shapes_of,
    uniform_shape,
    uniform_shapes,
    with_layers,
)
from toolchain.pruning.budget import Budget
from toolchain.recipe import QUANTIZATIONS, ExportSettings

EXPORTS = [
    ExportSettings(backend=backend, quant=quant, context=16)
    for backend, quants in QUANTIZATIONS.items()
    for quant in quants
]


def pruned(spec: ModelSpec, budget: Budget, round_to: int, parts: str) -> ModelSpec:
    shape = uniform_shape(spec, budget, round_to, parts)
    return replace(spec, layers=(shape,) * len(spec.layers))


PARTS = st.sampled_from(["all", "mlp", "attention"])
ROUND = st.sampled_from([1, 4, 32])

specs = st.builds(
    lambda groups, per_group, head_dim, width, layers, family, hidden, tied: ModelSpec(
        name="tiny",
        model_type=family,
        hidden_size=hidden,
        vocab_size=100,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
        query_key_value_bias=family == "qwen2",
        output_bias=False,
        mlp_bias=False,
        dtype="float32",
        layers=(LayerShape(groups * per_group, groups, head_dim, width),) * layers,
    ),
    st.integers(1, 5),
    st.integers(1, 3),
    st.sampled_from([4, 8, 64]),
    st.integers(8, 150),
    st.integers(1, 4),
    st.sampled_from(["mistral", "qwen2", "qwen3"]),
    st.sampled_from([24, 64]),
    st.booleans(),
)


@st.composite
def budgets(draw: st.DrawFn, spec: ModelSpec, parts: str) -> Budget:
    """A budget of any kind, many of them within reach."""
    kind = draw(st.sampled_from(["ratio", "params", "bytes"]))
    share = draw(st.floats(0.02, 0.98))
    if kind == "ratio":
        return Budget.from_ratio(spec, share, parts)
    if kind == "params":
        return Budget.from_parameters(spec, int(share * spec.parameters))
    export = draw(st.sampled_from(EXPORTS))
    size = int(share * artifact_bytes(spec, export))
    return Budget.from_bytes(spec, size, export, draw(ROUND))


@settings(deadline=None, max_examples=150)
@given(specs, st.floats(0.01, 0.99), PARTS)
def test_a_ratio_is_exact(spec: ModelSpec, ratio: float, parts: str) -> None:
    counted = {
        "all": spec.block_parameters,
        "mlp": sum(map(spec.mlp_parameters, spec.layers)),
        "attention": sum(map(spec.attention_parameters, spec.layers)),
    }[parts]
    budget = Budget.from_ratio(spec, ratio, parts)
    gone = spec.block_parameters - budget.block_parameters
    assert gone >= Fraction(str(ratio)) * counted > gone - 1


@settings(deadline=None, max_examples=150)
@given(specs, st.floats(0.02, 0.98), ROUND, PARTS)
def test_parameters_and_bytes_are_never_exceeded(
    spec: ModelSpec, share: float, round_to: int, parts: str
) -> None:
    count = int(share * spec.parameters)
    for export in EXPORTS:
        size = int(share * artifact_bytes(spec, export))
        budget = Budget.from_bytes(spec, size, export, round_to)
        try:
            after = pruned(spec, budget, round_to, parts)
        except BadRequestError:
            continue
        assert artifact_bytes(after, export) <= size
    try:
        after = pruned(spec, Budget.from_parameters(spec, count), round_to, parts)
    except BadRequestError:
        return
    assert after.parameters <= count


@settings(deadline=None, max_examples=100)
@given(specs, st.floats(0.05, 0.9), st.sampled_from(EXPORTS))
def test_bytes_are_not_wasted(spec: ModelSpec, share: float, export: ExportSettings) -> None:
    spec = replace(spec, model_type="mistral", query_key_value_bias=False, hidden_size=64)
    shape = replace(spec.layers[0], head_dim=64, intermediate_size=256)
    spec = replace(spec, layers=(shape,) * len(spec.layers))
    size = int(share * artifact_bytes(spec, export))
    budget = Budget.from_bytes(spec, size, export, 32)
    try:
        shape = uniform_shape(spec, budget, 32, "mlp")
    except BadRequestError:
        return
    wider = replace(shape, intermediate_size=shape.intermediate_size + 32)
    more = replace(spec, layers=(wider,) * len(spec.layers))
    # A row has one scale however short it is; the budget counts them in proportion, and one more.
    columns = 2 * spec.hidden_size + shape.num_attention_heads * shape.head_dim + 256
    reserved = weight_format(export).scale_bits * columns * len(spec.layers) // 8
    assert artifact_bytes(more, export) > size - reserved


def total(spec: ModelSpec, shape: LayerShape) -> int:
    return replace(spec, layers=(shape,) * len(spec.layers)).block_parameters


@settings(deadline=None, max_examples=150)
@given(st.data(), specs, ROUND, PARTS)
def test_every_split_is_as_wide_as_the_budget_allows(
    data: st.DataObject, spec: ModelSpec, round_to: int, parts: str
) -> None:
    budget = data.draw(budgets(spec, parts))
    try:
        found = uniform_shapes(spec, budget, round_to, parts)
    except BadRequestError:
        found = []
    dense = spec.layers[0]
    groups = dense.num_key_value_heads
    heads = [(groups, dense.num_attention_heads // groups)]
    if parts != "mlp":
        heads = list(itertools.product(range(1, groups + 1), range(1, heads[0][1] + 1)))
    widths = {dense.intermediate_size}
    if parts != "attention":
        widths |= set(range(round_to, dense.intermediate_size, round_to))
    everything = [
        LayerShape(count * each, count, dense.head_dim, width)
        for count, each in heads
        for width in widths
    ]
    fitting = [s for s in everything if total(spec, s) <= budget.block_parameters]
    if budget.block_parameters >= spec.block_parameters:
        assert not found
        return

    def sizes(s: LayerShape) -> tuple[int, int, int]:
        kv = s.num_key_value_heads
        return kv, s.num_attention_heads // kv, s.intermediate_size

    maximal = {
        s
        for s in fitting
        if not any(o != s and all(map(int.__ge__, sizes(o), sizes(s))) for o in fitting)
    }
    assert set(found) == maximal
    assert len(found) == len(maximal)


@settings(deadline=None, max_examples=150)
@given(st.data(), specs, ROUND, PARTS)
def test_the_default_split_is_never_above_its_budget_and_monotone(
    data: st.DataObject, spec: ModelSpec, round_to: int, parts: str
) -> None:
    one, other = (data.draw(budgets(spec, parts)) for _ in range(2))
    less, more = sorted((one, other), key=lambda b: b.block_parameters)
    found = []
    for budget in (less, more):
        try:
            shape = uniform_shape(spec, budget, round_to, parts)
        except BadRequestError:
            break
        found.append(total(spec, shape))
        assert found[-1] <= budget.block_parameters
        width = shape.intermediate_size
        assert width % round_to == 0 or width == spec.layers[0].intermediate_size
    if len(found) == 2:
        assert found[0] <= found[1]
    elif not found and more.block_parameters < spec.block_parameters:
        # What is refused has no split at all.
        with pytest.raises(BadRequestError):
            uniform_shapes(spec, less, round_to, parts)


@settings(deadline=None, max_examples=150)
@given(specs, st.floats(0.02, 0.6), st.sampled_from([1, 4]))
def test_whole_groups_go_first(spec: ModelSpec, ratio: float, round_to: int) -> None:
    budget = Budget.from_ratio(spec, ratio, "all")
    try:
        shape = uniform_shape(spec, budget, round_to, "all")
    except BadRequestError:
        return
    dense = spec.layers[0]
    groups = dense.num_key_value_heads
    per_group = dense.num_attention_heads // groups
    gone = spec.block_parameters - budget.block_parameters
    stay = groups - groups * gone // spec.block_parameters
    assert shape.num_key_value_heads <= stay
    if shape.num_attention_heads != stay * per_group:  # only where the MLP cannot lose enough
        heads = replace(dense, num_attention_heads=stay * per_group, num_key_value_heads=stay)
        least = replace(heads, intermediate_size=min(round_to, dense.intermediate_size))
        step = total(spec, replace(dense, intermediate_size=round_to))
        step -= total(spec, replace(dense, intermediate_size=0))
        assert total(spec, least) > budget.block_parameters - groups * step


@st.composite
def contests(
    draw: st.DrawFn,
) -> tuple[dict[tuple[int, str], Pool], dict[tuple[int, str], list[float]]]:
    """Pools of a few layers, and scores of their units."""
    pools = {}
    scores = {}
    for layer in range(draw(st.integers(1, 6))):
        for part, step in (("attention", 1), ("mlp", draw(st.sampled_from([1, 3])))):
            most = draw(st.integers(1, 9))
            least = draw(st.integers(1, most))
            least = min(least if part == "attention" else -(-least // step) * step, most)
            pools[layer, part] = Pool(draw(st.integers(1, 50)), least, most, step)
            scores[layer, part] = draw(st.lists(st.floats(0, 100), min_size=most, max_size=most))
    return pools, scores


@settings(deadline=None, max_examples=150)
@given(contests(), st.floats(0, 1), st.floats(0, 1), st.sampled_from([None, 0.0, 0.5, 1.0]))
def test_competing_units_stay_within_the_budget_and_are_monotone(
    contest: tuple[dict[tuple[int, str], Pool], dict[tuple[int, str], list[float]]],
    one: float,
    other: float,
    protected_share: float | None,
) -> None:
    pools, scores = contest
    whole = sum(p.cost * p.most for p in pools.values())
    least = sum(p.cost * p.least for p in pools.values())
    low, high = sorted(int(least + share * (whole - least)) for share in (one, other))
    fewer, more = (global_counts(scores, pools, b, protected_share) for b in (low, high))
    for counts, budget in ((fewer, low), (more, high)):
        assert sum(pools[k].cost * n for k, n in counts.items()) <= budget
        for place, count in counts.items():
            pool = pools[place]
            assert pool.least <= count <= pool.most
            assert count == pool.most or count % pool.step == 0
    assert all(fewer[place] <= more[place] for place in pools)
    with pytest.raises(BadRequestError, match="cannot hold the least"):
        global_counts(scores, pools, least - 1)


@settings(deadline=None, max_examples=150)
@given(contests(), st.floats(0.1, 1))
def test_the_ends_lose_half_the_share_while_the_others_can_pay(
    contest: tuple[dict[tuple[int, str], Pool], dict[tuple[int, str], list[float]]], share: float
) -> None:
    pools, scores = contest
    ends = {0, max(pools)[0]}
    whole = sum(p.cost * p.most for p in pools.values())
    least = sum(p.cost * p.least for p in pools.values())
    budget = int(least + share * (whole - least))
    counts = global_counts(scores, pools, budget)
    ratio = 1 - sum(pools[k].cost * n for k, n in counts.items()) / whole
    beyond = [
        place
        for place, pool in pools.items()
        if place[0] in ends and 1 - counts[place] / pool.most > 0.5 * ratio + 1e-9
    ]
    inner = [place for place in pools if place[0] not in ends]
    if beyond:
        assert all(counts[p] - pools[p].step < pools[p].least for p in inner)


def test_one_threshold_takes_the_least_standardised_scores() -> None:
    """Brute force: with steps of one unit of equal cost, the lowest z-scores of all are gone."""
    scores = {
        (i, "mlp"): [float((7 * i + 3 * j) % 11) ** (i + 1) for j in range(8)] for i in range(3)
    }
    pools = {place: Pool(1, 1, 8) for place in scores}
    z = {}
    for place, values in scores.items():
        mean = sum(values) / 8
        spread = (sum((v - mean) ** 2 for v in values) / 8) ** 0.5
        z[place] = sorted((v - mean) / spread for v in values)
    for budget in range(12, 25):
        counts = global_counts(scores, pools, budget, None)
        gone = [v for place in z for v in z[place][: 8 - counts[place]]]
        stay = [v for place in z for v in z[place][8 - counts[place] :]]
        assert len(stay) == budget
        assert not gone or max(gone) <= min(stay) + 1e-12


@settings(deadline=None, max_examples=100)
@given(specs, st.floats(0.05, 0.9), ROUND, PARTS, st.integers(0, 9))
def test_competing_costs_add_up_to_the_model(
    spec: ModelSpec, ratio: float, round_to: int, parts: str, seed: int
) -> None:
    budget = Budget.from_ratio(spec, ratio, parts)
    pools, movable = competing(spec, budget, round_to, parts)
    scores = {
        k: [((seed + 5 * k[0] + j) * 37 % 101) / 7 for j in range(p.most)] for k, p in pools.items()
    }
    assume(movable >= sum(p.cost * p.least for p in pools.values()))
    counts = global_counts(scores, pools, movable)
    after = replace(spec, layers=tuple(shapes_of(spec, counts)))
    spent = sum(pools[place].cost * count for place, count in counts.items())
    assert after.block_parameters - spent == budget.block_parameters - movable
    assert after.block_parameters <= budget.block_parameters


@settings(deadline=None, max_examples=60)
@given(st.data(), specs, ROUND, PARTS)
def test_biases_that_a_recovery_adds_are_within_the_budget(
    data: st.DataObject, spec: ModelSpec, round_to: int, parts: str
) -> None:
    heads = 2 ** spec.layers[0].num_key_value_heads.bit_length() // 2  # divide hidden_size
    shape = replace(spec.layers[0], num_attention_heads=heads, num_key_value_heads=heads)
    spec = replace(
        spec,
        model_type="llama",
        hidden_size=64,
        query_key_value_bias=False,
        layers=(shape,) * len(spec.layers),
    )
    heavy = counted(spec, "bias", parts)
    budget = Budget.from_parameters(spec, int(data.draw(st.floats(0.2, 0.95)) * spec.parameters))
    try:
        shape = uniform_shape(heavy, budget, round_to, parts)
        after = with_layers(spec, (shape,) * len(spec.layers), "bias")
    except BadRequestError:
        return
    assert after.output_bias or after.mlp_bias
    assert after.block_parameters <= budget.block_parameters
