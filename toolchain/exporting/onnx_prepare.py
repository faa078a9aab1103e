"""Which module of a model becomes what, by quantisation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from toolchain.errors import BadRequestError
from toolchain.exporting.formats import TABLE_GROUP, embedding_bits
from toolchain.exporting.onnx_quantization import (
    BlockEmbedding,
    BlockLinear,
    HalfEmbedding,
    HalfLinear,
    RowEmbedding,
    RowLinear,
    to_blocks,
    to_rows,
)
from toolchain.model import decoder_layer, families
from toolchain.model.spec import ModelSpec
from toolchain.recipe import ExportSettings

MakeLinear = Callable[[Tensor, Tensor | None], nn.Module]
"""(weight [outputs, inputs], bias) -> the module that computes with the rounded weight."""


@torch.no_grad()
def prepare_(model: nn.Module, spec: ModelSpec, settings: ExportSettings) -> None:
    """Round every linear layer and table of `model`, in place.

    Raises:
        BadRequestError: a weight that float16 cannot hold.
    """
    family = spec.family
    make = _linear_of(settings)
    for layer in families.decoder_layers(model):
        if family.transposed:
            decoder_layer.make_linear_(family, layer)
        for name, linear in decoder_layer.projections(family, layer).items():
            layer.set_submodule(name, make(linear.weight, linear.bias))
    _prepare_outer_(model, spec, settings)


def _linear_of(settings: ExportSettings) -> MakeLinear:
    if settings.quant == "fp16":
        return lambda weight, bias: HalfLinear(_half(weight), bias)
    if settings.quant == "int8":
        return lambda weight, bias: RowLinear(to_rows(weight), bias)
    size = settings.group_size
    return lambda weight, bias: BlockLinear(to_blocks(weight, 4, size), bias)


def _half(weight: Tensor) -> Tensor:
    half = weight.half()
    if not half.isfinite().all():
        raise BadRequestError(
            f"a weight of {float(weight.abs().max()):.3g} is beyond what float16 holds",
            "use another --quant",
        )
    return half


def _prepare_outer_(model: nn.Module, spec: ModelSpec, settings: ExportSettings) -> None:
    """Embedding and head; one stored table for both where they are tied and rounded alike."""
    family = spec.family
    table = families.embedding(model)
    head = families.head(model) if family.causal else None
    weight: Tensor = table.weight  # type: ignore[assignment]
    bias: Tensor | None = getattr(head, "bias", None)
    factor: Tensor | None = getattr(table, "embed_scale", None)
    tied = spec.tie_word_embeddings and family.causal
    bits = embedding_bits(settings)
    new_table: nn.Module = table
    new_head: nn.Module | None = None
    if bits == 16:
        half = _half(weight)
        new_table = HalfEmbedding(half, factor)
        new_head = HalfLinear(half, bias, tied=True) if tied else None
    elif settings.quant == "int8" and bits == 8:
        rows = to_rows(weight)
        new_table = RowEmbedding(rows, factor)
        new_head = RowLinear(rows, bias, tied=True) if tied else None
    elif bits < 32:
        size = TABLE_GROUP if settings.quant == "int8" else settings.group_size
        blocks = to_blocks(weight, bits, size)
        new_table = BlockEmbedding(blocks, factor)
        new_head = BlockLinear(blocks, bias) if tied else None
    model.set_submodule(family.embedding, new_table)
    if head is not None:
        output: Tensor = head.weight  # type: ignore[assignment]
        model.set_submodule(family.head, new_head or _linear_of(settings)(output, bias))
