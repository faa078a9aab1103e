"""G1 and G2 of an encoder's bundle, from the bundle to the decisions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from runtime_py.engines.encoder import open_encoder
from runtime_py.schema import Manifest
from toolchain.errors import BadRequestError
from toolchain.exporting.backend import prepared_model
from toolchain.exporting.encoder import Encoder, pooling
from toolchain.model.checkpoint import Checkpoint
from toolchain.progress import SILENT, Progress, track
from toolchain.recipe import ValidateSettings
from toolchain.validation.embeddings import (
    QUALITY_COSINE,
    SENTENCES,
    ExpectedEmbedding,
    compare_embeddings,
    cosine_limit,
    embedding_gate,
    embeddings,
    quality_gate,
    sentences,
)
from toolchain.validation.parity import recorded_failures
from toolchain.validation.verdict import GateResult


def encoder_limits(manifest: Manifest) -> dict[str, float]:
    """What G1 and G2 demand of an encoder's bundle, by name.

    Raises:
        BadRequestError: there is no rule for its quantisation.
    """
    least = cosine_limit(manifest.backend, manifest.quantization)
    return {"cosine": least, "mean_cosine_to_dense": QUALITY_COSINE}


def check_encoder_settings(settings: ValidateSettings) -> None:
    """Refuse what only a language model can be asked.

    Raises:
        BadRequestError: tasks or a device.
    """
    if set(settings.tasks) - {"default", "none"}:
        raise BadRequestError(
            f"an encoder cannot answer the task {settings.tasks[0]}", "leave --tasks out"
        )
    if settings.device is not None:
        raise BadRequestError(
            f"an encoder is not compared on the device {settings.device}",
            "run 'paredown-agent check' there",
        )


def encoder_gates(
    bundle: Path,
    manifest: Manifest,
    reference: Checkpoint,
    compact: Checkpoint,
    texts: Sequence[str],
    alpha: float,
    threads: int = 1,
    progress: Progress = SILENT,
) -> list[GateResult]:
    """Judge an encoder's bundle.

    Args:
        bundle: directory of the bundle.
        manifest: as `open_bundle` returned it.
        reference: the dense encoder.
        compact: the checkpoint that the bundle was exported from.
        texts: held-out documents; G1 takes the first of them, G2 all.
        alpha: chance of passing an artifact that is exactly at G2's floor.
        threads: of the bundle's engine.
        progress: where to report.
    """
    context = manifest.context_length
    encoded = sentences(compact.tokenizer(), texts, context)
    model = prepared_model(compact, manifest)
    torch_encoder = Encoder(model, compact.spec, context, pooling(compact.path)).eval()
    some = encoded[:SENTENCES]
    expected = [
        ExpectedEmbedding(*pair) for pair in zip(some, embeddings(torch_encoder, some), strict=True)
    ]
    engine = open_encoder(bundle, manifest, threads)
    limit = cosine_limit(manifest.backend, manifest.quantization)
    faithful = embedding_gate(
        compare_embeddings(engine, expected), limit, recorded_failures(manifest)
    )
    dense_model = reference.load()
    dense = Encoder(dense_model, reference.spec, context, pooling(reference.path)).eval()
    title = "Comparing the dense encoder and the bundle"
    found = [
        torch.tensor(engine.embed(ids)) for ids in track(encoded, progress, title, len(encoded))
    ]
    return [faithful, quality_gate(embeddings(dense, encoded), found, alpha)]
