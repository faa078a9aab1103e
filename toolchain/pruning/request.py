"""A pruning request, checked whole before any work starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime_py.schema import sha256_of_json
from toolchain import __version__, registry, store
from toolchain.calibrate.sources import Samples, draw_samples, encode, read_documents
from toolchain.errors import BadRequestError
from toolchain.model import families
from toolchain.model.checkpoint import Checkpoint
from toolchain.model.spec import ModelSpec
from toolchain.pruning.allocate import pruned_spec
from toolchain.pruning.device import resolve_device
from toolchain.pruning.step import Recover, Score
from toolchain.recipe import PruneSettings


@dataclass(frozen=True)
class Request:
    """Everything that the work needs; nothing in it can still be refused."""

    source: Checkpoint
    settings: PruneSettings
    after: ModelSpec
    config: dict[str, Any]
    """The result's config.json."""
    score: Score
    recover: Recover
    device: str
    samples: Samples

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
                "device": self.device,
            }
        )


def check_request(source: Checkpoint, settings: PruneSettings, out: Path) -> Request:
    """Check what can be checked without reading weights, cheap checks first.

    Raises:
        BadRequestError: an output that is not ours, a ratio that empties a layer, unknown names, an
            unavailable device, a sequence length beyond the model's, or too little text.
        MissingError: the calibration text cannot be had here.
    """
    store.check_output(out)
    if out.resolve() == source.path.resolve():
        raise BadRequestError(f"output {out} is the model itself", "choose another --out")
    after = pruned_spec(source.spec, settings)
    config = pruned_config(source, after)
    score = registry.resolve("importance", settings.matched_importance)
    recover = registry.resolve("recovery", settings.recovery)
    device = resolve_device(settings.device)
    _check_length(source, settings)
    tokenizer = source.tokenizer()
    samples = draw_samples(
        encode(tokenizer, read_documents(settings.calibration, "calibration")),
        source=settings.calibration,
        samples=settings.samples,
        seq_len=settings.seq_len,
        seed=settings.seed,
        bos_token_id=tokenizer.bos_token_id,
    )
    return Request(source, settings, after, config, score, recover, device, samples)


def pruned_config(source: Checkpoint, after: ModelSpec) -> dict[str, Any]:
    """The config.json of `source` with the shapes and biases of `after`."""
    before = source.spec
    keys = families.bias_keys(
        source.family,
        output=after.output_bias and not before.output_bias,
        mlp=after.mlp_bias and not before.mlp_bias,
    )
    shape = after.layers[0]
    return families.with_shape(
        {**source.config, **dict.fromkeys(keys, True)},
        num_attention_heads=shape.num_attention_heads,
        num_key_value_heads=shape.num_key_value_heads,
        intermediate_size=shape.intermediate_size,
    )


def _check_length(source: Checkpoint, settings: PruneSettings) -> None:
    positions = source.spec.max_position_embeddings
    longest = min(positions, families.attention_window(source.config) or positions)
    if settings.seq_len > longest:
        raise BadRequestError(
            f"seq_len {settings.seq_len} is longer than {source.name} attends to ({longest})",
            f"use --seq-len {longest} or less",
        )
