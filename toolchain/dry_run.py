"""The dry run: shapes, parameters, bytes and memory before and after, and what is missing.

Reads config.json alone: no weights, no torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from runtime_py.schema import LayerShape
from toolchain.errors import BadRequestError, install_line, missing_modules, require_extra
from toolchain.exporting.formats import artifact_bytes
from toolchain.exporting.memory import predict_memory
from toolchain.model.families import FAMILIES, attention_window, require_causal
from toolchain.model.spec import ModelSpec, spec_from_config
from toolchain.pruning.effort import AFFORDABLE, affordable_drafts, tunes_masks
from toolchain.pruning.memory import predict_peak_bytes
from toolchain.pruning.structure import planned_structure
from toolchain.recipe import ExportSettings, Recipe


@dataclass(frozen=True)
class Size:
    """One model's size; `export_bytes` is the weights of the float32 artifact, by backend.

    An encoder has no KV cache.
    """

    layers: int
    shape: LayerShape
    parameters: int
    block_parameters: int
    checkpoint_bytes: int
    export_bytes: dict[str, int]
    kv_cache_bytes: int


@dataclass(frozen=True)
class Plan:
    """What a recipe would make. Memory is what the pruner and the engine would need at their peak.

    `drafts` and `joint_masks` are what the pruner would do of its own accord on `pruning_device`.
    `missing` maps an extra that the recipe needs to the modules that are absent.
    """

    model: str
    model_type: str
    context_length: int
    before: Size
    after: Size
    pruning_device: str
    drafts: int
    joint_masks: bool
    pruning_peak_bytes: int
    engine_peak_bytes: int
    missing: dict[str, list[str]]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def text(self) -> str:
        """A table for a person."""
        rows = [
            ("layers", str(self.before.layers), str(self.after.layers)),
            *(_shape_rows(self.before.shape, self.after.shape)),
            ("parameters", f"{self.before.parameters:,}", f"{self.after.parameters:,}"),
            (
                "attention + MLP parameters",
                f"{self.before.block_parameters:,}",
                f"{self.after.block_parameters:,}",
            ),
            ("checkpoint", _mb(self.before.checkpoint_bytes), _mb(self.after.checkpoint_bytes)),
            *(
                (f"float32 {backend}", _mb(before), _mb(self.after.export_bytes[backend]))
                for backend, before in self.before.export_bytes.items()
            ),
        ]
        if self.before.kv_cache_bytes:
            before, after = (_mb(size.kv_cache_bytes) for size in (self.before, self.after))
            rows.append((f"KV cache of {self.context_length} tokens", before, after))
        width = max(len(row[0]) for row in rows)
        removed = 1 - self.after.block_parameters / self.before.block_parameters
        lines = [
            f"{self.model} ({self.model_type})",
            f"{'':{width}}  {'before':>14}  {'after':>14}",
        ]
        lines += [f"{name:{width}}  {before:>14}  {after:>14}" for name, before, after in rows]
        lines.append(f"removes {removed:.1%} of the attention and MLP parameters")
        if self.pruning_peak_bytes:
            masks = "with" if self.joint_masks else "without"
            lines.append(
                f"pruning on {self.pruning_device}: up to {self.drafts} drafts to search, {masks} "
                "joint mask tuning"
            )
        lines.append(
            f"predicted peak memory: pruning {_mb(self.pruning_peak_bytes)}, engine "
            f"{_mb(self.engine_peak_bytes)} (each plus its interpreter)"
        )
        for extra, modules in self.missing.items():
            lines.append(f"missing: {', '.join(modules)}: {install_line(extra)}")
        return "\n".join(lines)


def plan_recipe(recipe: Recipe) -> Plan:
    """Plan `recipe`.

    Raises:
        BadRequestError: an unsupported model, a ratio that empties a layer, a context too long.
    """
    config, name = _config(recipe.model)
    dense = spec_from_config(config, name)
    compact = dense if recipe.prune is None else planned_structure(dense, recipe.prune).spec
    prune = recipe.prune
    device = prune.device if prune is not None and prune.device in AFFORDABLE else "cpu"
    exports = recipe.export
    context = max((export.context for export in exports), default=0)
    check_context(context, dense, attention_window(config))
    backends = sorted({export.backend for export in exports})
    return Plan(
        model=name,
        model_type=dense.model_type,
        context_length=context,
        before=_size(dense, context, backends),
        after=_size(compact, context, backends),
        pruning_device=device,
        drafts=affordable_drafts(dense, prune, device) if prune else 0,
        joint_masks=tunes_masks(dense, prune, device) if prune else False,
        pruning_peak_bytes=predict_peak_bytes(dense, prune, device) if prune else 0,
        engine_peak_bytes=max((predict_memory(compact, e).total_bytes for e in exports), default=0),
        missing=_missing(exports, recipe.prune is not None),
    )


def check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe that cannot be run to its end.

    Raises:
        BadRequestError: as `plan_recipe`, or an encoder that is to be profiled.
        MissingError: an export whose packages are not installed.
    """
    for settings in recipe.export:
        require_extra(settings.backend, f"export to {settings.backend}")
    if recipe.validate_ is not None:
        require_extra("evals", "validating")
    if recipe.profile is not None:
        require_causal(FAMILIES[plan_recipe(recipe).model_type], "profiling")


def check_context(context: int, spec: ModelSpec, window: int | None) -> None:
    """Refuse a context that the model was not made for.

    Raises:
        BadRequestError: longer than the position table or than a sliding attention window.
    """
    longest = min(spec.max_position_embeddings, window or spec.max_position_embeddings)
    if context > longest:
        what = "its attention window" if window == longest else "its positions"
        raise BadRequestError(
            f"context {context} is longer than {spec.name} can take ({what}: {longest})",
            f"use --context {longest} or less",
        )


def _config(model: str) -> tuple[dict[str, Any], str]:
    from toolchain.model.checkpoint import locate, read_config

    path, name = locate(model, config_only=True)
    return read_config(path, name), name


def _size(spec: ModelSpec, context: int, backends: list[str]) -> Size:
    return Size(
        layers=len(spec.layers),
        shape=spec.layers[0],
        parameters=spec.parameters,
        block_parameters=spec.block_parameters,
        checkpoint_bytes=spec.weight_bytes,
        export_bytes={
            backend: artifact_bytes(spec, ExportSettings(backend=backend, context=max(context, 2)))
            for backend in backends
        },
        kv_cache_bytes=spec.kv_cache_bytes(context) if spec.family.causal else 0,
    )


def _missing(exports: list[ExportSettings], prunes: bool) -> dict[str, list[str]]:
    extras = (["prune"] if prunes else []) + sorted({export.backend for export in exports})
    return {extra: modules for extra in extras if (modules := missing_modules(extra))}


def _shape_rows(before: LayerShape, after: LayerShape) -> list[tuple[str, str, str]]:
    return [
        (name, str(getattr(before, name)), str(getattr(after, name)))
        for name in ("num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size")
    ]


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"
