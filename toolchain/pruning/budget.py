"""How much may stay: a ratio, a number of parameters or of bytes. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from toolchain.errors import BadRequestError
from toolchain.exporting.formats import matrices, outer_bits, weight_format
from toolchain.model.spec import ModelSpec
from toolchain.recipe import ExportSettings

_NUMBER = re.compile(r"\s*(\d+\.?\d*(?:e\+?\d+)?|\.\d+(?:e\+?\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_COUNTS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_SIZES = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000 ** (i + 1) for i, prefix in enumerate("kmgt")},
    **{f"{prefix}ib": 1024 ** (i + 1) for i, prefix in enumerate("kmgt")},
}


def parse_count(text: str) -> int:
    """A number of parameters: "2.5e9", "2.5B", "300M", "41000".

    Raises:
        BadRequestError: not a positive number with K, M, B, T or nothing after it.
    """
    return _parse(text, _COUNTS, "a number of parameters", "such as 2.5B, 300M or 2.5e9")


def parse_size(text: str) -> int:
    """A number of bytes: "900MB" and "1.2GB" in powers of 1000, "512MiB" in powers of 1024.

    Raises:
        BadRequestError: not a positive number with a unit of bytes or nothing after it.
    """
    return _parse(text, _SIZES, "a size", "such as 900MB, 1.2GB or 512MiB")


def _parse(text: str, units: dict[str, int], what: str, hint: str) -> int:
    match = _NUMBER.fullmatch(text)
    if match is None or match[2].lower() not in units:
        raise BadRequestError(f"'{text}' is not {what}", hint)
    digits, _, exponent = match[1].lower().partition("e")
    if len(exponent) > 3:
        raise BadRequestError(f"'{text}' is not {what}", hint)
    value = int(Fraction(digits) * 10 ** int(exponent or 0) * units[match[2].lower()])
    if value < 1:
        raise BadRequestError(f"'{text}' is less than one", hint)
    return value


@dataclass(frozen=True)
class Budget:
    """The most parameters of attention and MLP, over all layers, that may stay."""

    block_parameters: int
    asked: str
    """What was asked for, as it reads after "pruned"."""
    option: Callable[[ModelSpec], str] = field(compare=False, repr=False)
    """The option that asks for a model of that size, and which way there is room from it."""

    @classmethod
    def from_ratio(cls, spec: ModelSpec, ratio: float, parts: str) -> Budget:
        """At least `ratio` of the parameters of `parts` ("all", "mlp" or "attention") must go.

        Args:
            spec: the dense model.
            ratio: between 0 and 1.
            parts: what the ratio is of.
        """
        reachable = part_parameters(spec, parts)
        # A decimal fraction, so that 0.3 of 10 is 3 and not a little more.
        stays = spec.block_parameters - -int(-(Fraction(str(ratio)) * reachable) // 1)

        def option(smallest: ModelSpec) -> str:
            most = Fraction(spec.block_parameters - smallest.block_parameters, reachable)
            return f"--ratio {int(most * 10**4) / 10**4:g} or less"

        return cls(stays, f"by ratio {ratio:g}", option)

    @classmethod
    def from_parameters(cls, spec: ModelSpec, count: int) -> Budget:
        """At most `count` parameters may stay, with everything that is in no block."""
        outside = spec.parameters - spec.block_parameters
        return cls(
            count - outside,
            f"to {count:,} parameters",
            lambda smallest: f"--params {smallest.parameters} or more",
        )

    @classmethod
    def from_bytes(
        cls, spec: ModelSpec, size: int, export: ExportSettings, round_to: int
    ) -> Budget:
        """At most `size` bytes of weights in the exported file.

        Exact where weights have no scales. Where they have, every row that pruning shortens is
        counted with a scale on top, a whole padded group where its length is no multiple of the
        group, and block biases as if all stayed.

        Args:
            spec: the dense model.
            size: bytes.
            export: how the file is written.
            round_to: what MLP widths will be a multiple of.
        """
        weights = weight_format(export)
        hidden = spec.hidden_size
        bits_per_weight = Fraction(weights.row_bits(hidden), hidden)
        fixed = Fraction(outer_bits(spec, export))
        for shape in spec.layers:
            block = spec.attention_parameters(shape) + spec.mlp_parameters(shape)
            others = block - sum(rows * columns for rows, columns in matrices(spec, shape))
            norms = spec.layer_parameters(shape) - block
            fixed += weights.other_bits * norms + (weights.other_bits - bits_per_weight) * others
            aligned = (shape.head_dim, round_to, shape.intermediate_size)
            ragged = [weights.group and n % weights.group for n in aligned]
            if weights.group:
                fixed += weights.row_bits(1) * hidden * (bool(ragged[0]) + any(ragged[1:]))
            else:
                fixed += 2 * weights.scale_bits * hidden
        stays = int((8 * size - fixed) // bits_per_weight)
        return cls(
            stays,
            f"to {size:,} bytes ({export.backend}, quantisation {export.quant})",
            lambda smallest: f"--bytes {_least_size(smallest, fixed, bits_per_weight)} or more",
        )

    def refused(self, spec: ModelSpec, smallest: ModelSpec) -> BadRequestError:
        """The error for a budget below `smallest`, the least that can be made of `spec`."""
        if smallest.block_parameters >= spec.block_parameters:
            return BadRequestError(
                f"{spec.name} cannot be pruned {self.asked}: no step is small enough",
                "use a smaller --round-to",
            )
        return BadRequestError(
            f"{spec.name} cannot be pruned {self.asked}", f"use {self.option(smallest)}"
        )


def _least_size(spec: ModelSpec, fixed_bits: Fraction, bits_per_weight: Fraction) -> int:
    """The least size in bytes whose budget `spec` fits into."""
    return -int(-(spec.block_parameters * bits_per_weight + fixed_bits) // 8)


def part_parameters(spec: ModelSpec, parts: str) -> int:
    """Parameters of "all", "mlp" or "attention" over all layers."""
    counted = []
    if parts != "mlp":
        counted.append(spec.attention_parameters)
    if parts != "attention":
        counted.append(spec.mlp_parameters)
    return sum(count(shape) for count in counted for shape in spec.layers)
