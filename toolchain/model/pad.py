"""Turn layers of different widths into layers of one width with zeros: the same function.

A zero neuron or query head adds nothing, since its column of the output projection is zero; so does
a zero KV group. Exact up to the order in which floating-point sums are taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from runtime_py.schema import LayerShape
from toolchain.errors import BadRequestError
from toolchain.model.compact import ATTENTION, PARTS, scatter
from toolchain.model.families import config_shape, with_shape
from toolchain.model.family import Family
from toolchain.model.portable import portable


def padded_shape(config: dict[str, Any], layers: Sequence[LayerShape]) -> LayerShape:
    """The least uniform shape that holds every layer: most groups, most heads in one, most neurons.

    Its query heads can be more than any layer's: where one layer has many groups and another many
    heads in a group, all get many of both. Where the family cannot be saved with that many heads,
    they are all those of `config`.

    Args:
        config: the base family's config.json, whose own widths no layer exceeds.
        layers: shapes in order.
    """
    groups = max(layer.num_key_value_heads for layer in layers)
    least = LayerShape(
        num_attention_heads=groups * max(map(heads_per_group, layers)),
        num_key_value_heads=groups,
        head_dim=layers[0].head_dim,
        intermediate_size=max(layer.intermediate_size for layer in layers),
    )
    try:
        padded_config(config, least)
    except BadRequestError:
        whole = config_shape(config)
        return replace(whole, intermediate_size=least.intermediate_size)
    return least


def padded_config(config: dict[str, Any], shape: LayerShape) -> dict[str, Any]:
    """The config.json of the padded model, a stock one.

    Args:
        config: the base family's config.json.
        shape: of every layer.

    Raises:
        BadRequestError: the family cannot be saved with that many heads.
    """
    return portable(
        with_shape(
            config,
            num_attention_heads=shape.num_attention_heads,
            num_key_value_heads=shape.num_key_value_heads,
            intermediate_size=shape.intermediate_size,
        )
    )


def heads_per_group(shape: LayerShape) -> int:
    """Query heads that read one key and value head."""
    return shape.num_attention_heads // shape.num_key_value_heads


def pad_layer(
    tensors: Mapping[str, Tensor], family: Family, shape: LayerShape, target: LayerShape
) -> dict[str, Tensor]:
    """A layer's tensors with zeros up to the widths of `target`, in the dtype they have.

    Groups that are missing come last, and heads that a group lacks at its end, so that each query
    head still reads its own key and value head.

    Args:
        tensors: by name within the layer, with the widths of `shape`.
        family: architecture knowledge.
        shape: the layer as it is.
        target: as `padded_shape` gives it, or wider.

    Raises:
        ValueError: `target` is narrower than the layer, its heads are of another width, or the
            family takes a norm over all heads and the layer lacks some.
    """
    wide_enough = (
        target.head_dim == shape.head_dim
        and target.num_key_value_heads >= shape.num_key_value_heads
        and heads_per_group(target) >= heads_per_group(shape)
        and target.intermediate_size >= shape.intermediate_size
    )
    if not wide_enough:
        raise ValueError(f"cannot pad a layer of {shape} to {target}")
    if family.norm_spans_heads and target.num_attention_heads != shape.num_attention_heads:
        raise ValueError(f"in {family.model_type} a norm over all heads would feel zero heads")
    out = dict(tensors)
    for part in PARTS:
        out = scatter(out, family, target, part, places(shape, target, part))
    return out


def places(shape: LayerShape, target: LayerShape, part: str) -> Tensor:
    """Where each query head or neuron of `shape` is among those of `target`, int64 increasing."""
    if part != ATTENTION:
        return torch.arange(shape.intermediate_size)
    heads = torch.arange(shape.num_attention_heads)
    group, within = heads // heads_per_group(shape), heads % heads_per_group(shape)
    return group * heads_per_group(target) + within
