"""Budgets, and that cutting, masking and keeping everything agree."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from runtime_py.schema import LayerShape
from toolchain.errors import BadRequestError
from toolchain.model.compact import ATTENTION, MLP, PARTS, cut, expand, scatter, unit_count
from toolchain.model.families import FAMILIES
from toolchain.model.spec import ModelSpec
from toolchain.pruning.structure import planned_structure
from toolchain.recipe import PruneSettings

shapes = st.builds(
    lambda groups, per_group, head_dim, width: LayerShape(
        groups * per_group, groups, head_dim, width
    ),
    st.integers(1, 12),
    st.integers(1, 4),
    st.sampled_from([4, 8, 64]),
    st.integers(8, 700),
)


def spec_of(shape: LayerShape, model_type: str = "mistral") -> ModelSpec:
    biased = model_type == "qwen2"
    return ModelSpec(
        name="tiny",
        model_type=model_type,
        hidden_size=64,
        vocab_size=100,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        query_key_value_bias=biased,
        output_bias=False,
        mlp_bias=False,
        dtype="float32",
        layers=(shape,) * 2,
    )


def allocate(spec: ModelSpec, **values: object) -> ModelSpec | None:
    """The pruned spec, or None where the request is refused."""
    try:
        return planned_structure(spec, PruneSettings.model_validate(values)).spec
    except BadRequestError:
        return None


@settings(deadline=None, max_examples=200)
@given(
    shapes,
    st.floats(0.01, 0.95),
    st.sampled_from([1, 4, 32]),
    st.sampled_from(["mistral", "qwen2"]),
)
def test_at_least_the_ratio_goes(
    shape: LayerShape, ratio: float, round_to: int, model_type: str
) -> None:
    spec = spec_of(shape, model_type)
    after = allocate(spec, ratio=ratio, round_to=round_to)
    assume(after is not None)
    assert after is not None
    new = after.layers[0]
    assert after.block_parameters <= (1 - ratio) * spec.block_parameters + 1e-6
    assert new.num_key_value_heads <= shape.num_key_value_heads
    assert new.intermediate_size % round_to == 0 or new.intermediate_size == shape.intermediate_size


@given(shapes, st.floats(0.01, 0.95))
def test_a_part_alone_leaves_the_other_alone(shape: LayerShape, ratio: float) -> None:
    mlp = allocate(spec_of(shape), ratio=ratio, parts="mlp", round_to=1)
    if mlp is not None:
        assert mlp.layers[0].num_attention_heads == shape.num_attention_heads
        width = mlp.layers[0].intermediate_size
        assert 0 <= (1 - ratio) * shape.intermediate_size - width <= 1
    attention = allocate(spec_of(shape), ratio=ratio, parts="attention")
    if attention is not None:
        assert attention.layers[0].intermediate_size == shape.intermediate_size
        assert attention.layers[0].num_attention_heads < shape.num_attention_heads


def layer_tensors(shape: LayerShape, hidden: int = 6) -> dict[str, torch.Tensor]:
    """Random tensors of one layer, with a bias on everything."""
    family = FAMILIES["llama"]
    queries = shape.num_attention_heads * shape.head_dim
    keys = shape.num_key_value_heads * shape.head_dim
    out = {"input_layernorm.weight": torch.randn(hidden)}
    for name, rows, columns in (
        (family.query, queries, hidden),
        (family.key, keys, hidden),
        (family.value, keys, hidden),
        (family.output, hidden, queries),
        (family.gate, shape.intermediate_size, hidden),
        (family.up, shape.intermediate_size, hidden),
        (family.down, hidden, shape.intermediate_size),
    ):
        out[f"{name}.weight"] = torch.randn(rows, columns)
        out[f"{name}.bias"] = torch.randn(rows)
    return out


small = st.builds(
    lambda groups, per_group, head_dim, width: LayerShape(
        groups * per_group, groups, head_dim, width
    ),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 9),
)


@settings(deadline=None, max_examples=60)
@given(small)
def test_keeping_everything_is_bitwise_neutral(shape: LayerShape) -> None:
    tensors = layer_tensors(shape)
    for part in PARTS:
        units = torch.arange(unit_count(shape, part))
        for change in (cut, scatter):
            same = change(tensors, FAMILIES["llama"], shape, part, units)
            assert set(same) == set(tensors)
            assert all(torch.equal(same[name], tensors[name]) for name in tensors)


def drawn_units(shape: LayerShape, part: str, data: st.DataObject) -> torch.Tensor:
    """Neurons, or query heads: as many in each of some KV groups."""
    if part == MLP:
        chosen = data.draw(st.sets(st.integers(0, shape.intermediate_size - 1), min_size=1))
        return torch.tensor(sorted(chosen))
    per_group = shape.num_attention_heads // shape.num_key_value_heads
    groups = data.draw(st.sets(st.integers(0, shape.num_key_value_heads - 1), min_size=1))
    count = data.draw(st.integers(1, per_group))
    heads = [
        group * per_group + head
        for group in sorted(groups)
        for head in sorted(data.draw(st.permutations(range(per_group)))[:count])
    ]
    return torch.tensor(heads)


@settings(deadline=None, max_examples=60)
@given(small, st.data())
def test_scattering_puts_back_what_was_cut(shape: LayerShape, data: st.DataObject) -> None:
    tensors = layer_tensors(shape)
    for part in PARTS:
        units = drawn_units(shape, part, data)
        narrow = cut(tensors, FAMILIES["llama"], shape, part, units)
        wide = scatter(narrow, FAMILIES["llama"], shape, part, units)
        again = cut(wide, FAMILIES["llama"], shape, part, units)
        for name, tensor in tensors.items():
            assert wide[name].shape == tensor.shape
            assert torch.equal(again[name], narrow[name])
            kept = wide[name] == tensor
            assert bool((kept | (wide[name] == 0)).all())
            removed = tensor.numel() - narrow[name].numel()
            assert int((~kept).sum()) <= removed


def test_a_kv_group_is_its_key_its_value_and_its_queries() -> None:
    shape = LayerShape(6, 3, 2, 5)
    tensors = layer_tensors(shape)
    family = FAMILIES["llama"]
    narrow = cut(tensors, family, shape, ATTENTION, torch.tensor([0, 1, 4, 5]))
    rows = {"query": [0, 1, 2, 3, 8, 9, 10, 11], "key": [0, 1, 4, 5], "value": [0, 1, 4, 5]}
    for role, indices in rows.items():
        name = getattr(family, role)
        assert torch.equal(narrow[f"{name}.weight"], tensors[f"{name}.weight"][indices])
        assert torch.equal(narrow[f"{name}.bias"], tensors[f"{name}.bias"][indices])
    output = tensors[f"{family.output}.weight"][:, rows["query"]]
    assert torch.equal(narrow[f"{family.output}.weight"], output)
    assert torch.equal(narrow[f"{family.output}.bias"], tensors[f"{family.output}.bias"])
    assert torch.equal(narrow[f"{family.gate}.weight"], tensors[f"{family.gate}.weight"])
    mlp = cut(tensors, family, shape, MLP, torch.tensor([1, 4]))
    assert torch.equal(mlp[f"{family.down}.weight"], tensors[f"{family.down}.weight"][:, [1, 4]])
    assert torch.equal(mlp[f"{family.up}.bias"], tensors[f"{family.up}.bias"][[1, 4]])


def test_units_expand_to_their_rows() -> None:
    assert expand(torch.tensor([0, 3]), 3).tolist() == [0, 1, 2, 9, 10, 11]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"ratio": 0.97, "round_to": 32},
            r"cannot be pruned by ratio 0.97; use --ratio 0.7777 or less",
        ),
        ({"ratio": 0.8, "parts": "mlp"}, "cannot be pruned by ratio 0.8; use --ratio 0.75 or less"),
        ({"ratio": 0.1, "parts": "mlp", "round_to": 128}, "no step is small enough; use a smaller"),
        ({"ratio": 0.3, "recovery": "bias"}, "a mistral cannot hold"),
    ],
)
def test_refusals_say_why(values: dict[str, object], message: str) -> None:
    spec = spec_of(LayerShape(8, 4, 8, 128))
    with pytest.raises(BadRequestError, match=message):
        planned_structure(spec, PruneSettings.model_validate(values))


def test_a_llama_says_what_it_will_be_saved_as() -> None:
    spec = spec_of(LayerShape(8, 4, 8, 128), "llama")
    wanted = PruneSettings(ratio=0.3, recovery="bias")
    with pytest.raises(BadRequestError, match="6 heads do not divide hidden_size 64"):
        planned_structure(spec, wanted)
    plain = planned_structure(spec, wanted.model_copy(update={"recovery": "none"})).spec
    assert plain.model_type == "mistral"
    biased = planned_structure(spec, wanted.model_copy(update={"parts": "mlp"})).spec
    assert (biased.model_type, biased.mlp_bias, biased.output_bias) == ("llama", True, False)
