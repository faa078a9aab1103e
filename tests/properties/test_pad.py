"""Padding with zeros: the same function for any widths, and nothing lost."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from adaptive_checkpoint import kept_heads
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_checkpoint import VARIANTS, write_checkpoint
from torch import Tensor, nn

from runtime_py.schema import LayerShape
from toolchain.model import families
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.model.compact import ATTENTION, MLP, cut
from toolchain.model.pad import pad_layer, padded_config, padded_shape, places

IDS = torch.tensor([[0, 5, 9, 33, 12, 60, 7, 7, 20], [0, 14, 3, 3, 41, 8, 11, 30, 4]])

Layers = list[dict[str, Tensor]]


@cache
def dense(variant: str) -> Checkpoint:
    """A dense checkpoint of `variant`, made once."""
    return open_checkpoint(write_checkpoint(Path(mkdtemp()) / variant, variant))


Widths = list[tuple[tuple[int, ...], int, tuple[int, ...]]]
"""Of each layer: KV groups, query heads in each, and neurons that stay."""


def some(limit: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Increasing integers below `limit`, at least one."""
    return st.sets(st.integers(0, limit - 1), min_size=1).map(lambda found: tuple(sorted(found)))


VARIANT = st.sampled_from(sorted(VARIANTS))
WIDTHS = st.lists(st.tuples(some(4), st.integers(1, 2), some(40)), min_size=3, max_size=3)


def narrowed(checkpoint: Checkpoint, widths: Widths) -> tuple[Layers, list[LayerShape]]:
    """A checkpoint's layers, each cut to widths of its own, and their shapes."""
    family = checkpoint.family
    layers, shapes = [], []
    for index, (groups, per_group, neurons) in enumerate(widths):
        shape = checkpoint.spec.layers[index]
        heads = kept_heads(checkpoint, groups, per_group)
        tensors = cut(checkpoint.layer_tensors(index), family, shape, ATTENTION, heads)
        tensors = cut(tensors, family, shape, MLP, torch.tensor(neurons))
        layers.append(tensors)
        shapes.append(shape_of(checkpoint, tensors))
    return layers, shapes


def shape_of(checkpoint: Checkpoint, tensors: dict[str, Tensor]) -> LayerShape:
    """The shape that a layer's tensors have."""
    sizes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    head_dim = families.head_dim(checkpoint.config)
    return families.layer_shape(checkpoint.family, sizes.__getitem__, head_dim)


@cache
def outer(variant: str) -> nn.Module:
    """The model of `variant` without layers, in float64: in float32 a norm after a branch can make
    much of rounding alone."""
    return dense(variant).outer().double()


def logits(variant: str, layers: Layers) -> Tensor:
    """Logits of the model with these layers."""
    model, checkpoint = outer(variant), dense(variant)
    modules = [checkpoint.layer_from(i, tensors).double() for i, tensors in enumerate(layers)]
    families.set_decoder_layers_(model, nn.ModuleList(modules))
    with torch.inference_mode():
        return model(IDS).logits


@settings(deadline=None, max_examples=40)
@given(VARIANT, WIDTHS, st.integers(0, 9))
def test_a_padded_model_is_the_same_function(variant: str, widths: Widths, extra: int) -> None:
    checkpoint = dense(variant)
    family = checkpoint.family
    layers, shapes = narrowed(checkpoint, widths)
    least = padded_shape(checkpoint.config, shapes)
    target = replace(least, intermediate_size=least.intermediate_size + extra)
    config = padded_config(checkpoint.config, target)
    assert families.config_shape(config) == target
    padded = [pad_layer(t, family, s, target) for t, s in zip(layers, shapes, strict=True)]
    for wide, tensors, shape in zip(padded, layers, shapes, strict=True):
        assert shape_of(checkpoint, wide) == target
        back = cut(wide, family, target, ATTENTION, places(shape, target, ATTENTION))
        back = cut(back, family, target, MLP, places(shape, target, MLP))
        assert back.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert torch.equal(back[name], tensor), name
            assert wide[name].count_nonzero() == tensor.count_nonzero(), name
    ours, theirs = logits(variant, padded), logits(variant, layers)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


@settings(deadline=None, max_examples=20)
@given(VARIANT, WIDTHS)
def test_padding_to_its_own_shape_changes_no_bit(variant: str, widths: Widths) -> None:
    checkpoint = dense(variant)
    for tensors, shape in zip(*narrowed(checkpoint, widths), strict=True):
        same = pad_layer(tensors, checkpoint.family, shape, shape)
        assert all(torch.equal(same[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    "target",
    [
        LayerShape(6, 3, 6, 40),
        LayerShape(4, 4, 6, 40),
        LayerShape(8, 4, 8, 40),
        LayerShape(8, 4, 6, 39),
    ],
)
def test_a_target_too_narrow_is_refused(target: LayerShape) -> None:
    checkpoint = dense("llama-tied")
    with pytest.raises(ValueError, match="cannot pad"):
        pad_layer(checkpoint.layer_tensors(0), checkpoint.family, checkpoint.spec.layers[0], target)


def test_zero_heads_are_refused_where_a_norm_would_feel_them() -> None:
    checkpoint = dense("olmo2")
    shape = checkpoint.spec.layers[0]
    target = LayerShape(
        2 * shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim, 40
    )
    with pytest.raises(ValueError, match="norm over all heads"):
        pad_layer(checkpoint.layer_tensors(0), checkpoint.family, shape, target)
