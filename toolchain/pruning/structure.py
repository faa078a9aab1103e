"""The structure of a pruned model: which layers stay and how wide each is. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime_py.schema import LayerShape, to_json
from toolchain.errors import BadRequestError
from toolchain.exporting.formats import parse_format
from toolchain.model.families import check_heads
from toolchain.model.spec import ModelSpec
from toolchain.pruning.allocate import counted, uniform_shape, with_layers
from toolchain.pruning.budget import Budget, parse_count, parse_size
from toolchain.pruning.latency import parameters_within, read_latency_table
from toolchain.recipe import PruneSettings


@dataclass(frozen=True)
class Structure:
    """What stays of a model."""

    layers: tuple[int, ...]
    """Indices in the dense model of the layers that stay, increasing."""
    spec: ModelSpec
    """Shapes, one layer for each of `layers`."""
    scales: tuple[float, ...]
    """By what each layer's branches are multiplied to make up for layers that went before it."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "layers": list(self.layers),
            "shapes": [to_json(shape) for shape in self.spec.layers],
            "scales": list(self.scales),
        }


def budget_of(spec: ModelSpec, settings: PruneSettings) -> Budget:
    """What may stay of `spec`.

    Raises:
        BadRequestError: `params`, `bytes`, `bytes_of` or the latency table is not of its form.
    """
    if settings.params is not None:
        return Budget.from_parameters(spec, parse_count(settings.params))
    if settings.bytes is not None:
        export = parse_format(settings.bytes_of)
        return Budget.from_bytes(spec, parse_size(settings.bytes), export, settings.round_to)
    if settings.latency_ms is not None and settings.latency_table is not None:
        points = read_latency_table(Path(settings.latency_table))
        return Budget.from_parameters(spec, parameters_within(points, settings.latency_ms))
    parts = "all" if settings.parts == "layers" else settings.parts
    return Budget.from_ratio(spec, settings.ratio, parts)


def thinned(spec: ModelSpec, kept: Sequence[int]) -> ModelSpec:
    """`spec` with the given layers alone."""
    return replace(spec, layers=tuple(spec.layers[index] for index in kept))


def structure_of(
    spec: ModelSpec,
    kept: Sequence[int],
    shapes: Sequence[LayerShape],
    settings: PruneSettings,
    scales: Sequence[float] | None = None,
) -> Structure:
    """The structure with the given `shapes` in the `kept` layers of `spec`.

    Raises:
        BadRequestError: the family or the layout cannot hold it.
    """
    thin = thinned(spec, kept)
    uniform = settings.layout == "uniform"
    for before, after in zip(thin.layers, shapes, strict=True):
        check_heads(spec.family, before, after, uniform=uniform or settings.pad)
    out = with_layers(thin, shapes, settings.first_recovery, uniform=uniform)
    return Structure(tuple(kept), out, tuple(scales or [1.0] * len(kept)))


def default_structure(
    spec: ModelSpec,
    kept: Sequence[int],
    settings: PruneSettings,
    scales: Sequence[float] | None = None,
) -> Structure:
    """The uniform structure that needs no search, within the budget of `settings`.

    Raises:
        BadRequestError: the budget cannot be met with these layers.
    """
    budget = budget_of(spec, settings)
    thin = thinned(spec, kept)
    if budget.block_parameters >= thin.block_parameters and len(kept) < len(spec.layers):
        shapes: Sequence[LayerShape] = thin.layers
    elif settings.parts == "layers":
        raise BadRequestError(
            f"{len(kept)} layers of {spec.name} are more than {budget.asked} leaves",
            "drop more of them with --layers",
        )
    else:
        heavy = counted(thin, settings.first_recovery, settings.parts)
        shape = uniform_shape(heavy, budget, settings.round_to, settings.parts)
        shapes = (shape,) * len(kept)
    return structure_of(spec, kept, shapes, settings, scales)


def fewest_dropped(spec: ModelSpec, settings: PruneSettings) -> int:
    """How many layers go before any search: those asked for, or that whole layers alone need."""
    count = len(spec.layers)
    if settings.layers != "auto":
        fewest = settings.layers
    elif settings.parts == "layers":
        stays, layer = budget_of(spec, settings).block_parameters, spec.block_parameters // count
        fewest = count - stays // layer
    else:
        fewest = 0
    if fewest > count - 2:
        raise BadRequestError(
            f"{fewest} of the {count} layers of {spec.name} cannot go: the first and last stay",
            f"use --layers {max(count - 2, 0)} or less",
        )
    return fewest


def planned_structure(spec: ModelSpec, settings: PruneSettings) -> Structure:
    """A structure of the size that pruning will give, with layers from the middle dropped.

    Raises:
        BadRequestError: nothing of that size can be made.
    """
    dropped = fewest_dropped(spec, settings)
    first = (len(spec.layers) - dropped) // 2
    kept = [i for i in range(len(spec.layers)) if not first <= i < first + dropped]
    return default_structure(spec, kept, settings)
