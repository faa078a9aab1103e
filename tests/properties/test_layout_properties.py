"""Cutting and scattering in every family's layout: fused tensors, Conv1D, MLPs without a gate."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_py.schema import LayerShape
from toolchain.model.compact import (
    ATTENTION,
    MLP,
    PARTS,
    cut,
    expand,
    groups_of,
    read_projection,
    scale_branches,
    scatter,
    unit_count,
    write_projection,
)
from toolchain.model.families import FAMILIES, layer_shape
from toolchain.model.family import Family

HIDDEN = 6
families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)

small = st.builds(
    lambda groups, per_group, head_dim, width: LayerShape(
        groups * per_group, groups, head_dim, width
    ),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 9),
)


def layer_tensors(family: Family, shape: LayerShape) -> dict[str, torch.Tensor]:
    """Random tensors of one layer as the family stores them, with a bias on everything."""
    queries = shape.num_attention_heads * shape.head_dim
    keys = shape.num_key_value_heads * shape.head_dim
    rows: dict[str, int] = {}
    for name, size in (
        (family.query, queries),
        (family.key, keys),
        (family.value, keys),
        (family.up, shape.intermediate_size),
        (family.gate, shape.intermediate_size),
    ):
        if name is not None:
            rows[name] = rows.get(name, 0) + size
    sizes = {name: (size, HIDDEN) for name, size in rows.items()}
    sizes |= {family.output: (HIDDEN, queries), family.down: (HIDDEN, shape.intermediate_size)}
    out = {f"{norm}.weight": torch.randn(HIDDEN) for norm in family.layer_norms}
    for name, size in sizes.items():
        out[f"{name}.weight"] = torch.randn(size[::-1] if family.transposed else size)
        out[f"{name}.bias"] = torch.randn(size[0])
    return out


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


def outputs_of(family: Family, tensors: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """What a projection gives for each input of an identity matrix, plus its bias: [h, rows]."""
    weight = tensors[f"{name}.weight"]
    return (weight if family.transposed else weight.T) + tensors[f"{name}.bias"]


@families
@settings(deadline=None, max_examples=20)
@given(small)
def test_keeping_everything_is_bitwise_neutral(family: Family, shape: LayerShape) -> None:
    tensors = layer_tensors(family, shape)
    for part in PARTS:
        units = torch.arange(unit_count(shape, part))
        for change in (cut, scatter):
            same = change(tensors, family, shape, part, units)
            assert set(same) == set(tensors)
            assert all(torch.equal(same[name], tensors[name]) for name in tensors)


@families
@settings(deadline=None, max_examples=20)
@given(small, st.data())
def test_scattering_puts_back_what_was_cut(
    family: Family, shape: LayerShape, data: st.DataObject
) -> None:
    tensors = layer_tensors(family, shape)
    for part in PARTS:
        units = drawn_units(shape, part, data)
        narrow = cut(tensors, family, shape, part, units)
        wide = scatter(narrow, family, shape, part, units)
        again = cut(wide, family, shape, part, units)
        for name, tensor in tensors.items():
            assert wide[name].shape == tensor.shape
            assert torch.equal(again[name], narrow[name])
            kept = wide[name] == tensor
            assert bool((kept | (wide[name] == 0)).all())
            assert int((~kept).sum()) <= tensor.numel() - narrow[name].numel()


@families
@settings(deadline=None, max_examples=30)
@given(small, st.data())
def test_a_cut_layer_has_the_outputs_of_what_stays(
    family: Family, shape: LayerShape, data: st.DataObject
) -> None:
    """Query, key, value, gate and up of the kept units, wherever they are stored."""
    tensors = layer_tensors(family, shape)
    heads, neurons = (drawn_units(shape, part, data) for part in PARTS)
    narrow = cut(tensors, family, shape, ATTENTION, heads)
    narrow = cut(narrow, family, shape, MLP, neurons)
    width, groups = shape.head_dim, groups_of(heads, shape)
    after = layer_shape(family, lambda name: list(narrow[name].shape), width)
    assert after == LayerShape(len(heads), len(groups), width, len(neurons))
    roles = [
        (family.query, shape.num_attention_heads * width, expand(heads, width)),
        (family.key, shape.num_key_value_heads * width, expand(groups, width)),
        (family.value, shape.num_key_value_heads * width, expand(groups, width)),
        (family.gate, shape.intermediate_size, neurons),
        (family.up, shape.intermediate_size, neurons),
    ]
    before_at: dict[str, int] = {}
    after_at: dict[str, int] = {}
    for name, size, kept in roles:
        if name is None:
            continue
        wide = outputs_of(family, tensors, name)
        slim = outputs_of(family, narrow, name)
        first, now = before_at.get(name, 0), after_at.get(name, 0)
        assert torch.equal(slim[:, now : now + len(kept)], wide[:, first + kept])
        before_at[name], after_at[name] = first + size, now + len(kept)
    for part, kept in ((ATTENTION, expand(heads, width)), (MLP, neurons)):
        assert torch.equal(
            read_projection(narrow, family, part), read_projection(tensors, family, part)[kept]
        )


@families
def test_a_written_projection_is_read_back(family: Family) -> None:
    shape = LayerShape(4, 2, 3, 8)
    tensors = layer_tensors(family, shape)
    for part in PARTS:
        weight = torch.randn_like(read_projection(tensors, family, part))
        out = write_projection(tensors, family, part, weight.double(), torch.ones(HIDDEN).double())
        assert torch.equal(read_projection(out, family, part), weight)
        changed = {name for name in tensors if not torch.equal(out[name], tensors[name])}
        output = family.output if part == ATTENTION else family.down
        assert changed == {f"{output}.weight", f"{output}.bias"}
        assert all(tensor.is_contiguous() for tensor in out.values())
        assert {tensor.dtype for tensor in out.values()} == {torch.float32}


@families
def test_branches_scaled_by_one_are_the_same(family: Family) -> None:
    tensors = layer_tensors(family, LayerShape(4, 2, 3, 8))
    half = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    for stored in (tensors, half):
        same = scale_branches(stored, family, 1.0)
        assert all(torch.equal(same[name], stored[name]) for name in stored)
