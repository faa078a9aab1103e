"""Finished layers on disk: what lets an interrupted pruning go on, and what the result is made of.

One safetensors file per layer holds the pruned tensors, the kept indices and the decisions, so
that a layer is either there whole or not at all.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from runtime_py.schema import LayerShape
from toolchain.model.compact import ATTENTION, MLP, Kept, cut, save_tensors
from toolchain.model.family import Family
from toolchain.model.spec import ModelSpec
from toolchain.pruning.step import Decision

_HEADS = "kept.heads"
_NEURONS = "kept.neurons"
_DECISIONS = "decisions"


@dataclass(frozen=True)
class FinishedLayer:
    """A pruned layer as it will be saved."""

    tensors: dict[str, Tensor]
    """By name within the layer, in the source's dtype."""
    kept: Kept
    decisions: list[Decision]


class TensorStore:
    """A folder of layers, tensors alone, by place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def save(self, place: int, tensors: dict[str, Tensor]) -> None:
        """Write the layer at `place`."""
        save_tensors(self._path(place), tensors, {})

    def load(self, place: int) -> dict[str, Tensor]:
        """Read the layer at `place` back."""
        from safetensors.torch import load_file

        tensors: dict[str, Tensor] = load_file(self._path(place))
        return tensors

    def _path(self, place: int) -> Path:
        return self._folder / f"layer-{place:05d}.safetensors"


class LayerStore:
    """The folder of finished layers inside the work directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def has(self, index: int) -> bool:
        """Whether layer `index` is finished."""
        return self._path(index).is_file()

    def save(self, index: int, layer: FinishedLayer) -> None:
        """Write layer `index`."""
        indices = {_HEADS: layer.kept.heads.int(), _NEURONS: layer.kept.neurons.int()}
        save_tensors(
            self._path(index),
            {**layer.tensors, **indices},
            {_DECISIONS: json.dumps([asdict(decision) for decision in layer.decisions])},
        )

    def load(self, index: int) -> FinishedLayer:
        """Read layer `index` back."""
        from safetensors import safe_open

        with safe_open(self._path(index), framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            decisions = [Decision(**d) for d in json.loads(stream.metadata()[_DECISIONS])]
        kept = Kept(tensors.pop(_HEADS).long(), tensors.pop(_NEURONS).long())
        return FinishedLayer(tensors, kept, decisions)

    def _path(self, index: int) -> Path:
        return self._folder / f"layer-{index:05d}.safetensors"


def plain_layer(
    tensors: dict[str, Tensor], family: Family, shape: LayerShape, kept: Kept
) -> dict[str, Tensor]:
    """The dense layer's tensors cut to the kept units, with no recovery."""
    narrow = cut(tensors, family, shape, ATTENTION, kept.heads)
    return cut(narrow, family, shape, MLP, kept.neurons)


def with_zero_biases(tensors: dict[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """The layer's tensors with zeros for every bias that `spec` has and they lack."""
    family = spec.family
    out = dict(tensors)
    for names, wanted in (
        (family.attention_inputs, spec.query_key_value_bias),
        ((family.output,), spec.output_bias),
        ((*family.mlp_inputs, family.down), spec.mlp_bias),
    ):
        for name in names if wanted else ():
            weight = out[f"{name}.weight"]
            out.setdefault(f"{name}.bias", torch.zeros(weight.shape[0], dtype=weight.dtype))
    return out
