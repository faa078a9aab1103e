"""Writing ONNX: one graph, weights in external data that can be mapped. Torch-free at import."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.errors import BadRequestError
from toolchain.exporting.formats import embedding_bits
from toolchain.exporting.written import Written
from toolchain.model.spec import ModelSpec
from toolchain.recipe import ExportSettings

if TYPE_CHECKING:
    from torch import nn

    from toolchain.exporting.wrapper import Decoder

MODEL_FILE = "model.onnx"
PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "onnxscript", "torch", "transformers")
"""Packages whose versions determine the artifact and its check."""

MAX_PREFILL_TOKENS = 128
"""Tokens of one call: more at once are no faster, and their scores and activations larger."""


def check(spec: ModelSpec, settings: ExportSettings) -> None:  # noqa: ARG001 - as all backends
    """Refuse combinations that cannot be written. Every width can: short groups are filled up.

    Raises:
        BadRequestError: naming the setting and the way out.
    """
    quant, bits = settings.quant, embedding_bits(settings)
    if quant in ("none", "fp16") and bits < 16:
        raise BadRequestError(
            f"embedding_bits {bits} goes with --quant int8 or int4, not with {quant}",
            "leave --embedding-bits out, or quantise the linear layers too",
        )
    if settings.target == "any" and (quant == "int4" or bits == 4):
        raise BadRequestError(
            "4-bit weights need operators of onnxruntime's own, which target any does without",
            "use --target desktop, android or pi, or --quant int8",
        )


def prepare_(model: nn.Module, spec: ModelSpec, settings: ExportSettings) -> None:
    """Turn a loaded model in place into what the artifact computes; for `none` nothing happens.

    Raises:
        BadRequestError: a weight that float16 cannot hold.
    """
    if settings.quant != "none":
        from toolchain.exporting import onnx_prepare

        onnx_prepare.prepare_(model, spec, settings)


def write(
    decoder: Decoder,
    out: Path,
    settings: ExportSettings,
    bos_token_id: int | None,
    eos_token_ids: list[int],
) -> Written:
    """Write `MODEL_FILE`, its external data and, where that can run it, onnxruntime-genai's file.

    Args:
        decoder: over a prepared model.
        out: an existing folder.
        settings: `target` `any` asks for standard operators; the others for onnxruntime's own,
            where the heads' width is one that its attention takes.
        bos_token_id: for onnxruntime-genai, as is `eos_token_ids`.
        eos_token_ids: tokens that end a text.
    """
    from toolchain.exporting import genai_config, onnx_graph
    from toolchain.exporting.onnx_decoder import can_share_cache

    shared = settings.target != "any" and can_share_cache(decoder.shapes)
    if shared:
        onnx_graph.write_shared(decoder, out)
        text = genai_config.genai_config(
            decoder.shapes,
            decoder.hidden_size,
            decoder.vocab_size,
            settings.context,
            MODEL_FILE,
            bos_token_id,
            eos_token_ids,
        )
        if text is not None:
            (out / genai_config.FILE_NAME).write_text(text, encoding="utf-8")
    else:
        onnx_graph.write_functional(decoder, out)
    return Written(
        model_file=MODEL_FILE,
        versions={
            **{package: importlib.metadata.version(package) for package in PACKAGES},
            "opset": str(onnx_graph.OPSET),
        },
        max_prefill_tokens=min(MAX_PREFILL_TOKENS, settings.context),
        kv_cache="shared" if shared else "functional",
    )
