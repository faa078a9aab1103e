"""Export to ExecuTorch: one .pte for XNNPACK, with the LLM runner's metadata.

Torch-free at import, so that `check` can come before anything slow.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.errors import BadRequestError
from toolchain.exporting.formats import GROUPED, embedding_bits
from toolchain.exporting.written import Written
from toolchain.model.spec import ModelSpec
from toolchain.recipe import ExportSettings

if TYPE_CHECKING:
    from torch import nn

    from toolchain.exporting.wrapper import Decoder

MODEL_FILE = "model.pte"
PACKAGES = ("executorch", "torch", "torchao", "transformers")
"""Packages whose versions determine the artifact."""

LINEAR_BITS = {"none": 32, "8da8w": 8, "8da4w": 4}
"""Bits of a linear layer's weights by quantisation."""

SMALLEST_GROUP = 32
"""What XNNPACK takes at least, and what a 4-bit table has beside linear layers without groups."""

MAX_PREFILL_TOKENS = 128
"""Most tokens of one call, which the planned arena grows with: it holds the logits and activations
of all of them. On one thread prefill gains 30% from 16 to 64 tokens and 6% from 64 to 128."""


def check(spec: ModelSpec, settings: ExportSettings) -> None:
    """Refuse widths that groups of weights do not divide, before anything is loaded.

    Raises:
        BadRequestError: naming the layer, the width and the way out.
    """
    group = _group(settings)
    table_in_groups = embedding_bits(settings) == 4
    if settings.quant not in GROUPED and not table_in_groups:
        return
    what = "linear layers" if settings.quant in GROUPED else "embedding table"
    for name, width, needs in _widths(spec, settings):
        if width % group == 0:
            continue
        raise BadRequestError(
            f"{settings.quant} puts {group} weights of the {what} under one scale, which do not "
            f"divide the {width} {needs} of {name}",
            _way_out(spec, settings, width),
        )


def _widths(spec: ModelSpec, settings: ExportSettings) -> list[tuple[str, int, str]]:
    """(where, width, what it counts) of everything that groups must divide."""
    widths = [(spec.name, spec.hidden_size, "channels (hidden_size)")]
    if settings.quant not in GROUPED:
        return widths
    for index, shape in enumerate(spec.layers):
        heads = shape.num_attention_heads * shape.head_dim
        widths.append(
            (f"layer {index}", heads, "inputs of its attention output (heads x head_dim)")
        )
        widths.append((f"layer {index}", shape.intermediate_size, "neurons (intermediate_size)"))
    return widths


def _way_out(spec: ModelSpec, settings: ExportSettings, width: int) -> str:
    if width % SMALLEST_GROUP == 0 and settings.quant in GROUPED:
        return f"use --group-size {max(g for g in (32, 64) if width % g == 0)}"
    others = [] if width == spec.hidden_size else [f"prune with --round-to {_group(settings)}"]
    if settings.quant in GROUPED:
        others.append("use --quant 8da8w" + " --embedding-bits 8" * (embedding_bits(settings) == 4))
    else:
        others.append("use --embedding-bits 8")
    return " or ".join(others)


def prepare_(model: nn.Module, spec: ModelSpec, settings: ExportSettings) -> None:
    """Round the weights of a loaded model in place, and the inputs of its linear layers.

    Afterwards `model(input_ids)` is what the artifact computes, up to the order of sums.

    Args:
        model: what `Checkpoint.load` returns.
        spec: its shapes, which passed `check`.
        settings: `none` with an embedding of 32 bits leaves the model as it is.
    """
    from toolchain.exporting.torchao_quantization import quantize_

    linear, table = LINEAR_BITS[settings.quant], embedding_bits(settings)
    quantize_(model, spec, linear_bits=linear, table_bits=table, group_size=_group(settings))


def _group(settings: ExportSettings) -> int:
    return settings.group_size if settings.quant in GROUPED else SMALLEST_GROUP


def write(
    decoder: Decoder,
    out: Path,
    settings: ExportSettings,
    bos_token_id: int | None,
    eos_token_ids: list[int],
) -> Written:
    """Lower `decoder` and write `out / MODEL_FILE`.

    The method is `forward(tokens int64 [1,S], input_pos int64 [1]) -> logits float32 [1,S,V]` with
    S from 1 to `max_prefill_tokens`; the KV cache lives in the loaded method.

    Args:
        decoder: over a prepared model.
        out: an existing folder.
        settings: target `any` uses core operators only.
        bos_token_id: for the LLM runner, as are the next.
        eos_token_ids: tokens that end a text.
    """
    import torch

    from toolchain.exporting.lowering import lower
    from toolchain.exporting.pte import write_program
    from toolchain.exporting.static_decoder import StaticDecoder

    core_only = settings.target == "any"
    # The guards of the cache refuse a call that fills it whole.
    longest = min(MAX_PREFILL_TOKENS, decoder.context - 1)
    example = (
        torch.zeros(1, min(2, longest), dtype=torch.int64),
        torch.zeros(1, dtype=torch.int64),
    )
    length = torch.export.Dim("length", min=1, max=longest) if longest > 1 else 1
    program = lower(
        StaticDecoder(decoder, core_only=core_only),
        example,
        {"tokens": {1: length}, "input_pos": None},
        {
            "get_max_seq_len": longest,
            "use_sdpa_with_kv_cache": not core_only,
            **_metadata(decoder, bos_token_id, eos_token_ids),
        },
    )
    sizes = write_program(program, out / MODEL_FILE)
    return Written(
        model_file=MODEL_FILE,
        versions={package: importlib.metadata.version(package) for package in PACKAGES},
        max_prefill_tokens=longest,
        kv_cache="internal",
        planned_arena_bytes=sizes.arena,
        packed_weights_bytes=sizes.packed,
    )


def _metadata(
    decoder: Decoder, bos_token_id: int | None, eos_token_ids: list[int]
) -> dict[str, Any]:
    """Constant methods that ExecuTorch's LLM runner and LlmModule read."""
    metadata: dict[str, Any] = {
        "get_max_context_len": decoder.context,
        "get_vocab_size": decoder.vocab_size,
        "get_n_layers": len(decoder.shapes),
        "use_kv_cache": True,
        "enable_dynamic_shape": True,
    }
    if bos_token_id is not None:
        metadata["get_bos_id"] = bos_token_id
    if eos_token_ids:
        metadata["get_eos_ids"] = eos_token_ids
    return metadata
