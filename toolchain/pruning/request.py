"""A pruning request, checked whole before any work starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime_py.schema import LayerShape, sha256_of_json
from toolchain import __version__, registry, store
from toolchain.calibrate.framed import FRAME_TOKENS, framed
from toolchain.calibrate.mixture import calibration_samples
from toolchain.calibrate.sources import Samples
from toolchain.errors import BadRequestError
from toolchain.model import families
from toolchain.model.adaptive import adaptive_config
from toolchain.model.checkpoint import Checkpoint
from toolchain.model.pad import padded_shape
from toolchain.model.portable import portable
from toolchain.pruning.budget import parse_size
from toolchain.pruning.device import resolve_device
from toolchain.pruning.structure import Structure, budget_of, planned_structure
from toolchain.recipe import PruneSettings


@dataclass(frozen=True)
class Request:
    """Everything that the work needs; nothing in it can still be refused."""

    source: Checkpoint
    settings: PruneSettings
    device: str
    samples: Samples
    max_bytes: int | None
    """Hidden states beyond this size wait on disk."""

    @property
    def inputs_sha256(self) -> str:
        """Hash of all that determines the result."""
        return sha256_of_json(
            {
                "version": __version__,
                "settings": self.settings.model_dump(),
                "weights": self.source.identity.weights_sha256,
                "config": self.source.identity.config_sha256,
                "samples": self.samples.record(),
                "budget": budget_of(self.source.spec, self.settings).block_parameters,
                "device": self.device,
            }
        )


def check_request(source: Checkpoint, settings: PruneSettings, out: Path) -> Request:
    """Check what can be checked without reading weights, cheap checks first.

    Raises:
        BadRequestError: an output that is not ours, a budget that cannot be met, unknown names, an
            unavailable device, a sequence length beyond the model's, or too little text.
        MissingError: the calibration text cannot be had here.
    """
    store.check_output(out)
    if out.resolve() == source.path.resolve():
        raise BadRequestError(f"output {out} is the model itself", "choose another --out")
    result_config(source, planned_structure(source.spec, settings), settings)
    if not source.family.causal:
        _check_encoder(source, settings)
    registry.resolve("importance", settings.matched_importance)
    registry.resolve("recovery", settings.first_recovery)
    device = resolve_device(settings.device)
    max_bytes = None if settings.max_memory is None else parse_size(settings.max_memory)
    _check_length(source, settings)
    samples = _samples(source, settings)
    return Request(source, settings, device, samples, max_bytes)


def _samples(source: Checkpoint, settings: PruneSettings) -> Samples:
    tokenizer = source.tokenizer()
    ends = () if source.family.causal else (tokenizer.cls_token_id, tokenizer.sep_token_id)
    if None in ends:
        raise BadRequestError(
            f"the tokenizer of {source.name} has no CLS or SEP token",
            "use the tokenizer that the model was trained with",
        )
    samples = calibration_samples(
        settings.calibration,
        tokenizer,
        samples=settings.samples,
        seq_len=settings.seq_len - (FRAME_TOKENS if ends else 0),
        seed=settings.seed,
    )
    return framed(samples, *ends) if ends else samples


def _check_encoder(source: Checkpoint, settings: PruneSettings) -> None:
    """Refuse what needs a language model's loss."""
    model_type = source.family.model_type
    if settings.importance in registry.GRADIENT_IMPORTANCE:
        raise BadRequestError(
            f"importance '{settings.importance}' needs a language model's loss, which a "
            f"{model_type} has not",
            "use --importance condition or wanda",
        )


def result_config(
    source: Checkpoint, structure: Structure, settings: PruneSettings
) -> dict[str, Any]:
    """The config.json of what is written.

    Raises:
        BadRequestError: the family cannot hold the structure.
    """
    config = _config_before_cuts(source, structure)
    if settings.layout == "adaptive" and not settings.pad:
        return adaptive_config(config, structure.spec.layers)
    shape = saved_shapes(source, structure, settings)[0]
    config = families.with_shape(
        config,
        num_attention_heads=shape.num_attention_heads,
        num_key_value_heads=shape.num_key_value_heads,
        intermediate_size=shape.intermediate_size,
    )
    return portable(config)


def _config_before_cuts(source: Checkpoint, structure: Structure) -> dict[str, Any]:
    """The config.json of `source` with the structure's layers and biases, all widths whole."""
    before, after = source.spec, structure.spec
    keys = families.bias_keys(
        source.family,
        output=after.output_bias and not before.output_bias,
        mlp=after.mlp_bias and not before.mlp_bias,
    )
    config = families.with_layers(source.config, structure.layers)
    return config | dict.fromkeys(keys, True)


def saved_shapes(
    source: Checkpoint, structure: Structure, settings: PruneSettings
) -> tuple[LayerShape, ...]:
    """The shape of each layer as it is written: the structure's, padded where that is asked for."""
    layers = structure.spec.layers
    if not settings.pad:
        return layers
    return (padded_shape(_config_before_cuts(source, structure), layers),) * len(layers)


def _check_length(source: Checkpoint, settings: PruneSettings) -> None:
    positions = source.spec.max_position_embeddings
    longest = min(positions, families.attention_window(source.config) or positions)
    if settings.seq_len > longest:
        raise BadRequestError(
            f"seq_len {settings.seq_len} is longer than {source.name} attends to ({longest})",
            f"use --seq-len {longest} or less",
        )
