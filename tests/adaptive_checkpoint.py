"""Adaptive checkpoints cut out of dense ones: other neurons, KV groups and heads in every layer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tiny_checkpoint import write_checkpoint
from torch import Tensor

from runtime_py.schema import LayerShape
from toolchain.model.adaptive import adaptive_config, remote_files
from toolchain.model.checkpoint import COMPANION_FILES, Checkpoint, open_checkpoint
from toolchain.model.compact import ATTENTION, MLP, cut, groups_of
from toolchain.model.pad import heads_per_group, pad_layer, padded_config, padded_shape
from toolchain.model.shards import save_weights

KEPT = (((0, 1, 2, 3), 2, 40), ((0, 2, 3), 2, 24), ((1, 3), 1, 8))
"""Of each of the three layers: KV groups, query heads in each, and neurons that stay."""


def write_adaptive(folder: Path, variant: str, **changes: Any) -> Path:
    """A tiny checkpoint of `variant` whose three layers have the widths of `KEPT`."""
    path = folder.with_name(f"{folder.name}-dense")
    dense = open_checkpoint(write_checkpoint(path, variant, **changes))
    shapes = [kept_shape(dense, *kept) for kept in KEPT]
    _write(folder, dense, adaptive_config(dense.config, shapes), _groups(dense))
    for name, text in remote_files().items():
        (folder / name).write_text(text)
    return folder


def write_padded(folder: Path, adaptive: Path) -> Path:
    """The uniform checkpoint that an adaptive one becomes."""
    source = open_checkpoint(adaptive)
    target = padded_shape(source.config, source.spec.layers)

    def groups() -> Iterator[dict[str, Tensor]]:
        yield source.outer_tensors()
        for index, shape in enumerate(source.spec.layers):
            tensors = pad_layer(source.layer_tensors(index), source.family, shape, target)
            yield _named(source, index, tensors)

    _write(folder, source, padded_config(source.config, target), groups())
    return folder


def _write(
    folder: Path, source: Checkpoint, config: dict[str, Any], groups: Iterator[dict[str, Tensor]]
) -> None:
    folder.mkdir()
    save_weights(folder, groups)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    for name in COMPANION_FILES:
        if (source.path / name).exists():
            shutil.copy(source.path / name, folder)


def _named(source: Checkpoint, index: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = source.family.layer_prefix(index)
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def kept_shape(
    dense: Checkpoint, groups: tuple[int, ...], per_group: int, neurons: int
) -> LayerShape:
    """The shape that `kept_heads` leaves."""
    heads = kept_heads(dense, groups, per_group)
    shape = dense.spec.layers[0]
    return LayerShape(
        num_attention_heads=len(heads),
        num_key_value_heads=len(groups_of(heads, shape)),
        head_dim=shape.head_dim,
        intermediate_size=neurons,
    )


def kept_heads(dense: Checkpoint, groups: tuple[int, ...], per_group: int) -> Tensor:
    """Query heads: the last `per_group` of each group; all where a norm goes over all heads."""
    shape = dense.spec.layers[0]
    if dense.family.norm_spans_heads:
        return torch.arange(shape.num_attention_heads)
    each = heads_per_group(shape)
    first = each - min(per_group, each)
    return torch.tensor([group * each + i for group in groups for i in range(first, each)])


def _groups(dense: Checkpoint) -> Iterator[dict[str, Tensor]]:
    yield dense.outer_tensors()
    for index, (groups, per_group, neurons) in enumerate(KEPT):
        shape = dense.spec.layers[index]
        tensors = dense.layer_tensors(index)
        heads = kept_heads(dense, groups, per_group)
        tensors = cut(tensors, dense.family, shape, ATTENTION, heads)
        last = torch.arange(shape.intermediate_size - neurons, shape.intermediate_size)
        tensors = cut(tensors, dense.family, shape, MLP, last)
        yield _named(dense, index, tensors)
