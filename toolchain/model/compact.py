"""Cut a layer's tensors down to kept neurons and KV groups, put them back, and save the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from runtime_py.schema import LayerShape
from toolchain.model.family import Family

ATTENTION = "attention"
MLP = "mlp"
PARTS = (ATTENTION, MLP)
"""The prunable parts of a decoder layer, in the order in which they compute."""


@dataclass(frozen=True)
class Kept:
    """What stays of a layer: int64 indices in increasing order."""

    heads: Tensor
    """Query heads: the same number in every KV group that stays. A key and value head stays while
    a query head reads it."""
    neurons: Tensor
    """MLP neurons."""


def unit_width(shape: LayerShape, part: str) -> int:
    """Adjacent columns of the part's output projection that belong to one query head or neuron."""
    return 1 if part == MLP else shape.head_dim


def unit_count(shape: LayerShape, part: str) -> int:
    """Query heads or neurons of a layer."""
    return shape.num_attention_heads if part == ATTENTION else shape.intermediate_size


def projection_name(family: Family, part: str) -> str:
    """The part's output projection, by name within a layer."""
    return family.output if part == ATTENTION else family.down


def oriented(family: Family, weight: Tensor) -> Tensor:
    """A stored weight as [outputs, inputs], or the reverse: a view."""
    return weight.T if family.transposed else weight


def read_projection(tensors: Mapping[str, Tensor], family: Family, part: str) -> Tensor:
    """W [d, m] of the part's output projection, as stored: a view.

    Args:
        tensors: a layer's, by name within the layer.
        family: architecture knowledge.
        part: ATTENTION or MLP.
    """
    return oriented(family, tensors[f"{projection_name(family, part)}.weight"]).T


def write_projection(
    tensors: Mapping[str, Tensor],
    family: Family,
    part: str,
    weight: Tensor,
    bias: Tensor | None = None,
) -> dict[str, Tensor]:
    """The layer's tensors with another output projection, in the dtype of the old one.

    Args:
        tensors: a layer's, by name within the layer.
        family: architecture knowledge.
        part: ATTENTION or MLP.
        weight: W, [d, m] of any float dtype.
        bias: [m]; None leaves the bias, or its absence, as it is.
    """
    name = projection_name(family, part)
    dtype = tensors[f"{name}.weight"].dtype
    out = {**tensors, f"{name}.weight": oriented(family, weight.T).to(dtype).contiguous()}
    if bias is not None:
        out[f"{name}.bias"] = bias.to(dtype)
    return out


def scale_branches(
    tensors: Mapping[str, Tensor], family: Family, factor: float
) -> dict[str, Tensor]:
    """The layer's tensors with both branches adding `factor` times what they added.

    Output projections and their biases are scaled, or, where a norm follows them, the weights of
    that norm. Computed in float64, in the stored dtype.
    """
    out = dict(tensors)
    posts = (family.attention_post_norm, family.mlp_post_norm)
    for part, post in zip(PARTS, posts, strict=True):
        owner = projection_name(family, part) if post is None else post
        offset = 0.0 if post is None else family.norm_offset
        for name in (f"{owner}.weight", f"{owner}.bias"):
            if name in out:
                scaled = (out[name].double() + offset) * factor - offset
                out[name] = scaled.to(out[name].dtype)
    return out


def groups_of(heads: Tensor, shape: LayerShape) -> Tensor:
    """KV groups that the given query heads of a layer of `shape` read, in increasing order."""
    per_group = shape.num_attention_heads // shape.num_key_value_heads
    groups: Tensor = torch.unique(heads // per_group)
    return groups


def expand(units: Tensor, width: int) -> Tensor:
    """Indices of all rows of the given units of `width` adjacent rows each."""
    return (units.unsqueeze(1) * width + torch.arange(width)).flatten()


def slices(
    family: Family, shape: LayerShape, part: str, units: Tensor
) -> list[tuple[str, int, int, Tensor]]:
    """What `units` of `part` own: (tensor within the layer, dimension, its full size, indices)."""
    if part == MLP:
        full, kept = shape.intermediate_size, units
        rows = [(name, full, kept) for name in (family.gate, family.up) if name is not None]
    else:
        width = shape.head_dim
        full, kept = shape.num_attention_heads * width, expand(units, width)
        groups = expand(groups_of(units, shape), width)
        keys = shape.num_key_value_heads * width
        rows = [
            (family.query, full, kept),
            (family.key, keys, groups),
            (family.value, keys, groups),
        ]
    # Conv1D stores a weight transposed: its outputs are the columns.
    outputs, inputs = (1, 0) if family.transposed else (0, 1)
    cuts = []
    for name, size, indices in _fused(rows):
        cuts.append((f"{name}.weight", outputs, size, indices))
        cuts.append((f"{name}.bias", 0, size, indices))
    return [*cuts, (f"{projection_name(family, part)}.weight", inputs, full, kept)]


def _fused(rows: list[tuple[str, int, Tensor]]) -> list[tuple[str, int, Tensor]]:
    """Rows (tensor, number of rows, indices) with those of one fused tensor stacked."""
    stacked: dict[str, tuple[int, Tensor]] = {}
    for name, size, indices in rows:
        if name in stacked:
            offset, before = stacked[name]
            stacked[name] = (offset + size, torch.cat([before, indices + offset]))
        else:
            stacked[name] = (size, indices)
    return [(name, size, indices) for name, (size, indices) in stacked.items()]


def cut(
    tensors: Mapping[str, Tensor], family: Family, shape: LayerShape, part: str, units: Tensor
) -> dict[str, Tensor]:
    """The layer's tensors with only the given units of `part`.

    Args:
        tensors: by name within the layer, with the widths of `shape`.
        family: architecture knowledge.
        shape: the layer before the cut.
        part: ATTENTION or MLP.
        units: kept query heads or neurons, in increasing order.
    """
    out = dict(tensors)
    for name, dimension, _, indices in slices(family, shape, part, units):
        if name in out:
            out[name] = out[name].index_select(dimension, indices).contiguous()
    return out


def scatter(
    tensors: Mapping[str, Tensor], family: Family, shape: LayerShape, part: str, units: Tensor
) -> dict[str, Tensor]:
    """The inverse of `cut`: the widths of `shape`, with zeros for the units that are gone.

    The result computes what the cut layer computes; it is the masked form that a compact
    checkpoint is held against.
    """
    out = dict(tensors)
    for name, dimension, full, indices in slices(family, shape, part, units):
        if name in out:
            size = list(out[name].shape)
            size[dimension] = full
            zeros = torch.zeros(size, dtype=out[name].dtype)
            out[name] = zeros.index_copy(dimension, indices, out[name])
    return out


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write one safetensors file; it appears whole or not at all."""
    from safetensors.torch import save_file

    temporary = path.with_name(f".{path.name}.partial")
    temporary.touch()
    mode = temporary.stat().st_mode  # what the user's umask says; safetensors makes files private
    save_file(tensors, temporary, metadata=metadata)
    temporary.chmod(mode)
    temporary.replace(path)
