"""Linear layers and tables in few bits: the modules that ONNX export writes, and torch's reference.

Each module computes in eager torch what onnxruntime computes with the operator that it becomes, so
that a prepared model is the reference of its own artifact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.exporting.onnx_decoder import Attribute

BLOCK_ACCURACY = 4
"""MatMulNBits' accuracy_level: activations are rounded to 8 bits in blocks, products are integers.
Level 1 computes with float32 activations, three times slower."""

STEPS = 127
"""Of 8-bit activations, to each side of zero."""
SMALLEST_RANGE = 1e-30
"""Of a row of activations; less is nothing."""

SHRINKS = tuple(1 - step / 40 for step in range(13))
"""Fractions of a block's range that are tried for the least squared error."""


@dataclass(frozen=True)
class Blocks:
    """A matrix [rows, columns] as unsigned codes: weight = (code - zero point) * scale.

    Each row is cut into B blocks of `size` columns, the last one filled up with zeros.
    """

    codes: Tensor
    """uint8 [rows, B, size * bits / 8]; of 4-bit codes two in a byte, the first in its low half."""
    scales: Tensor
    """float32 [rows, B]."""
    zero_points: Tensor
    """uint8 [rows, B]."""
    bits: int
    size: int
    columns: int

    def matrix(self) -> Tensor:
        """float32 [rows, columns]."""
        codes = self.codes
        if self.bits == 4:
            codes = torch.stack([codes & 15, codes >> 4], dim=-1).flatten(-2)
        values = (codes.float() - self.zero_points[..., None]) * self.scales[..., None]
        return values.flatten(1)[:, : self.columns].contiguous()

    def packed_zero_points(self) -> Tensor:
        """The zero points of a row side by side, as `codes`: uint8 [rows, ceil(B * bits / 8)]."""
        points = self.zero_points
        if self.bits == 8:
            return points
        return _pairs(functional.pad(points, (0, points.shape[1] % 2)))


def to_blocks(weight: Tensor, bits: int, size: int) -> Blocks:
    """Round a matrix to the nearest codes of each block's range.

    The range covers zero. Of 4-bit codes it may be narrower than the block's own: whichever of
    `SHRINKS` leaves the least squared error.

    Args:
        weight: float32 [rows, columns].
        bits: 4 or 8.
        size: columns that share a scale.
    """
    rows, columns = weight.shape
    blocks = functional.pad(weight, (0, -columns % size)).view(rows, -1, size)
    low, high = blocks.amin(-1).clamp(max=0), blocks.amax(-1).clamp(min=0)
    best = _round(blocks, low, high, bits)
    least = _squared_error(blocks, best)
    for shrink in SHRINKS[1:] if bits == 4 else ():
        trial = _round(blocks, low * shrink, high * shrink, bits)
        error = _squared_error(blocks, trial)
        better = error < least
        least = torch.where(better, error, least)
        best = (
            torch.where(better[..., None], trial[0], best[0]),
            torch.where(better, trial[1], best[1]),
            torch.where(better, trial[2], best[2]),
        )
    codes, scales, zero_points = best
    packed = _pairs(codes.to(torch.uint8)) if bits == 4 else codes.to(torch.uint8)
    return Blocks(packed, scales, zero_points.to(torch.uint8), bits, size, columns)


Rounded = tuple[Tensor, Tensor, Tensor]
"""Codes [rows, B, size], scales and zero points [rows, B], all float32."""


def _round(blocks: Tensor, low: Tensor, high: Tensor, bits: int) -> Rounded:
    top = 2**bits - 1
    scales = (high - low) / top
    scales = torch.where(scales == 0, 1.0, scales)
    zero_points = (-low / scales).round().clamp(0, top)
    codes = ((blocks / scales[..., None]).round() + zero_points[..., None]).clamp(0, top)
    return codes, scales, zero_points


def _squared_error(blocks: Tensor, rounded: Rounded) -> Tensor:
    codes, scales, zero_points = rounded
    values = (codes - zero_points[..., None]) * scales[..., None]
    return (values - blocks).square().sum(-1)


def _pairs(codes: Tensor) -> Tensor:
    """4-bit codes two in a byte, the first in its low half."""
    return codes[..., 0::2] | codes[..., 1::2] << 4


class BlockLinear(nn.Module):
    """A linear layer over `Blocks`: MatMulNBits, with its 8-bit activations."""

    def __init__(self, blocks: Blocks, bias: Tensor | None) -> None:
        super().__init__()
        self.blocks = blocks
        self.register_buffer("codes", blocks.codes)
        self.register_buffer("scales", blocks.scales)
        self.register_buffer("zero_points", blocks.packed_zero_points())
        self.register_buffer("bias", bias)
        self._weight = blocks.matrix()

    def forward(self, rows: Tensor) -> Tensor:
        """float32 [..., columns] -> [..., rows of the matrix]."""
        bias = self.get_buffer("bias") if self.bias is not None else None
        if not torch.onnx.is_in_onnx_export():
            return functional.linear(_rounded_rows(rows, self.blocks.size), self._weight, bias)
        codes, scales, points = (self.get_buffer(n) for n in ("codes", "scales", "zero_points"))
        attributes: dict[str, Attribute] = {
            "K": self.blocks.columns,
            "N": codes.shape[0],
            "bits": self.blocks.bits,
            "block_size": self.blocks.size,
            "accuracy_level": BLOCK_ACCURACY,
        }
        return torch.onnx.ops.symbolic(
            "com.microsoft::MatMulNBits",
            (rows, codes, scales, points, None, bias),
            attributes,
            dtype=rows.dtype,
            shape=(*rows.shape[:-1], codes.shape[0]),
            version=1,
        )


def _rounded_rows(rows: Tensor, size: int) -> Tensor:
    """Activations [..., columns] in 8 bits, symmetric, a scale for each block of `size` columns."""
    columns = rows.shape[-1]
    padded = functional.pad(rows, (0, -columns % size))
    blocks = padded.view(*rows.shape[:-1], -1, size)
    scales = blocks.abs().amax(-1, keepdim=True) / 127
    scales = torch.where(scales == 0, 1.0, scales)
    values: Tensor = (blocks / scales).round() * scales
    return values.flatten(-2)[..., :columns]


class BlockEmbedding(nn.Module):
    """A table over `Blocks`: GatherBlockQuantized."""

    def __init__(self, blocks: Blocks, factor: Tensor | None) -> None:
        super().__init__()
        self.blocks = blocks
        self.register_buffer("codes", blocks.codes)
        self.register_buffer("scales", blocks.scales)
        self.register_buffer("zero_points", blocks.zero_points[..., None].contiguous())
        self.register_buffer("factor", factor, persistent=False)
        self._weight = blocks.matrix()

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [...] -> float32 [..., columns]."""
        found = self._gathered(ids) if torch.onnx.is_in_onnx_export() else self._weight[ids]
        return found if self.factor is None else found * self.get_buffer("factor")

    def _gathered(self, ids: Tensor) -> Tensor:
        codes, scales = self.get_buffer("codes"), self.get_buffer("scales")
        blocks = torch.onnx.ops.symbolic(
            "com.microsoft::GatherBlockQuantized",
            (codes, ids, scales[..., None], self.get_buffer("zero_points")),
            {"bits": self.blocks.bits, "block_size": self.blocks.size, "quantize_axis": 2},
            dtype=scales.dtype,
            shape=(*ids.shape, codes.shape[1], self.blocks.size),
            version=1,
        )
        rows = blocks.flatten(-2)
        whole = rows.shape[-1] == self.blocks.columns
        return rows if whole else rows[..., : self.blocks.columns]


@dataclass(frozen=True)
class Rows:
    """A matrix [rows, columns] as int8 codes with one scale for each row."""

    codes: Tensor
    """int8 [rows, columns]."""
    scales: Tensor
    """float32 [rows]."""

    def matrix(self) -> Tensor:
        """float32 [rows, columns]."""
        return self.codes.float() * self.scales[:, None]


def to_rows(weight: Tensor) -> Rows:
    """Round a float32 matrix [rows, columns] to 8 bits, symmetric: codes from -127 to 127."""
    scales = weight.abs().amax(1) / 127
    scales = torch.where(scales == 0, 1.0, scales)
    return Rows((weight / scales[:, None]).round().to(torch.int8), scales)


class RowLinear(nn.Module):
    """A linear layer over `Rows`: MatMulInteger, each token's activations rounded to 8 bits.

    Standard operators. DynamicQuantizeLinear would take one range for all tokens of a call, and the
    one token with a large activation that most models have would leave the others few steps.

    Args:
        rows: the weights.
        bias: [rows] or None.
        tied: whether the codes are a table's too, which is then stored as it is; else the layout
            that the operator reads is.
    """

    def __init__(self, rows: Rows, bias: Tensor | None, *, tied: bool = False) -> None:
        super().__init__()
        self.tied = tied
        self.register_buffer("codes", rows.codes if tied else rows.codes.T.contiguous())
        self.register_buffer("scales", rows.scales)
        self.register_buffer("bias", bias)
        self._weight = rows.matrix()

    def forward(self, rows: Tensor) -> Tensor:
        """float32 [..., columns] -> [..., rows of the matrix]."""
        bias = self.get_buffer("bias") if self.bias is not None else None
        reach = rows.abs().amax(-1, keepdim=True).clamp(min=SMALLEST_RANGE)
        steps = rows / reach
        if not torch.onnx.is_in_onnx_export():
            rounded = (steps * STEPS).round() * (reach / STEPS)
            return functional.linear(rounded, self._weight, bias)
        weight = self.get_buffer("codes").T if self.tied else self.get_buffer("codes")
        sums = _integer_product(steps, weight)
        products = sums * (self.get_buffer("scales") / STEPS) * reach
        return products if bias is None else products + bias


def _integer_product(rows: Tensor, weight: Tensor) -> Tensor:
    """Rows between -1 and 1, in STEPS steps to each side, times int8 codes: float32 sums."""
    ops = torch.onnx.ops
    point = torch.tensor(128, dtype=torch.uint8)
    inputs = (rows, torch.tensor(1 / STEPS), point)
    codes = ops.symbolic("QuantizeLinear", inputs, dtype=torch.uint8, shape=rows.shape)
    shape = (*rows.shape[:-1], weight.shape[1])
    sums = ops.symbolic("MatMulInteger", (codes, weight, point), dtype=torch.int32, shape=shape)
    return sums.to(torch.float32)


class RowEmbedding(nn.Module):
    """A table over `Rows`, in standard operators."""

    def __init__(self, rows: Rows, factor: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("codes", rows.codes)
        self.register_buffer("scales", rows.scales)
        self.register_buffer("factor", factor, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [...] -> float32 [..., columns]."""
        found = self.get_buffer("codes")[ids].float() * self.get_buffer("scales")[ids][..., None]
        return found if self.factor is None else found * self.get_buffer("factor")


class HalfLinear(nn.Module):
    """A linear layer whose weights are stored in float16 and used in float32.

    onnxruntime converts them once, when it loads. `tied` as in `RowLinear`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, tied: bool = False) -> None:
        super().__init__()
        self.tied = tied
        self.register_buffer("stored", weight if tied else weight.T.contiguous())
        self.register_buffer("bias", bias)

    def forward(self, rows: Tensor) -> Tensor:
        """float32 [..., columns] -> [..., rows of the matrix]."""
        bias = self.get_buffer("bias") if self.bias is not None else None
        weight = self.get_buffer("stored").T if self.tied else self.get_buffer("stored")
        products = rows @ weight.float()
        return products if bias is None else products + bias


class HalfEmbedding(nn.Module):
    """A table stored in float16."""

    def __init__(self, weight: Tensor, factor: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("stored", weight)
        self.register_buffer("factor", factor, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [...] -> float32 [..., columns]."""
        found = self.get_buffer("stored")[ids].float()
        return found if self.factor is None else found * self.get_buffer("factor")
