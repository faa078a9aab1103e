"""Weights of 8 or 4 bits in the place of a model's own, by torchao's tensors.

A model so prepared computes in torch what XNNPACK computes from its file: weights are rounded once,
the input of each linear layer to 8 bits per token while it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.model import decoder_layer, families
from toolchain.model.spec import ModelSpec
from toolchain.quiet import quiet

FLOAT_BITS = 32

PER_TOKEN = "int8_asym_per_token"  # noqa: S105 - torchao's name of a scheme


SCALE_STEPS = 24
"""Scales that are tried for each group of 4-bit weights."""
LEAST_SCALE, GREATEST_SCALE = 0.6, 1.1
"""Of the scale that makes the largest magnitude 7.5."""

ROWS_AT_ONCE = 4096
"""Rows of a weight that are rounded together, which bounds the memory that a large head takes."""


@torch.no_grad()
def quantize_(
    model: nn.Module, spec: ModelSpec, *, linear_bits: int, table_bits: int, group_size: int
) -> None:
    """Round the weights of `model` in place, and the inputs of its linear layers as they come.

    Linear layers, a decoder's head included: 8 bits with a scale per row, or 4 bits with a scale
    per `group_size` weights; their inputs 8 bits per token, asymmetric. The embedding table: the
    same, inputs aside. Norms, biases and learned positions stay. A Conv1D becomes a Linear.

    Args:
        model: what `Checkpoint.load` returns; a tied head gets a weight of its own.
        spec: its shapes.
        linear_bits: 8, 4, or 32 for none.
        table_bits: 8, 4, or 32 for none.
        group_size: a multiple of 32 that divides the width of everything of 4 bits.
    """
    if linear_bits < FLOAT_BITS:
        for layer in families.decoder_layers(model):
            if spec.family.transposed:
                decoder_layer.make_linear_(spec.family, layer)
            for linear in decoder_layer.projections(spec.family, layer).values():
                linear.weight = _rounded(linear.weight, linear_bits, group_size, PER_TOKEN)
        if spec.family.causal:
            head: Any = families.head(model)
            head.weight = _rounded(head.weight, linear_bits, group_size, PER_TOKEN)
    if table_bits < FLOAT_BITS:
        table: Any = families.embedding(model)
        table.weight = _rounded(table.weight, table_bits, group_size, None)
        table.padding_idx = None  # ExecuTorch fuses the lookup in a rounded table only without


@contextmanager
def weights_at_hand(model: nn.Module) -> Iterator[None]:
    """Within, the rounded weights of `model` are kept as floats too, instead of made at each use.

    Generating token by token uses every weight many times; results are the same bit for bit. For
    that long the weights take another four bytes each.
    """
    rounded: list[Any] = [weight for weight in model.parameters() if _is_rounded(weight)]
    for weight in rounded:
        weight.dequantize = partial(_at_hand, weight.dequantize())
    try:
        yield
    finally:
        for weight in rounded:
            del weight.dequantize


def _is_rounded(weight: Tensor) -> bool:
    return hasattr(weight, "qdata")


def _at_hand(weight: Tensor) -> Tensor:
    return weight


def _rounded(weight: Tensor, bits: int, group_size: int, activation: str | None) -> nn.Parameter:
    """A torchao tensor that stands for `weight` float32 [n, m]."""
    with quiet():
        from torchao.quantization import IntxUnpackedToInt8Tensor
    group = group_size if bits == 4 else weight.shape[1]
    parts = [_round_rows(rows, bits, group) for rows in torch.split(weight, ROWS_AT_ONCE)]
    scale = torch.cat([scale for _, scale in parts])
    rounded = IntxUnpackedToInt8Tensor(
        qdata=torch.cat([whole for whole, _ in parts]),
        scale=scale,
        zero_point=torch.zeros_like(scale, dtype=torch.int8),
        target_dtype=getattr(torch, f"int{bits}"),
        block_size=(1, group),
        dtype=weight.dtype,
        activation_quantization=activation,
    )
    return nn.Parameter(rounded, requires_grad=False)


def _round_rows(weight: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor]:
    """Whole numbers int8 [n, m] and their scales float32 [n, m / group] for float32 [n, m].

    At 8 bits the largest magnitude becomes 127.5, as torchao has it. At 4 bits the scale is the
    one of `SCALE_STEPS` that leaves the least squared error in its group; it is rounded to
    bfloat16, as which XNNPACK stores it.
    """
    groups = weight.reshape(weight.shape[0], -1, group)
    largest = groups.abs().amax(-1).clamp(min=torch.finfo(torch.float32).tiny * 2**bits)
    best = largest / (2 ** (bits - 1) - 0.5)
    if bits == 4:
        least, widest = torch.full_like(best, torch.inf), best
        for factor in torch.linspace(LEAST_SCALE, GREATEST_SCALE, SCALE_STEPS):
            scale = (factor * widest).to(torch.bfloat16).to(torch.float32)
            error = _whole(groups, scale, bits).mul_(scale[..., None]).sub_(groups)
            error = error.square_().sum(-1)
            best = torch.where(error < least, scale, best)
            least = torch.minimum(error, least)
    return _whole(groups, best, bits).to(torch.int8).view_as(weight), best


def _whole(groups: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Multiples of `scale` [n, g] nearest to `groups` [n, g, group], as far as the bits reach."""
    limit = 2 ** (bits - 1)
    return (groups * (1 / scale)[..., None]).round_().clamp_(-limit, limit - 1)
