"""Bytes of a model file by how its weights are written. Torch-free, so that `plan` can ask.

Only `none` is exported so far; the other sizes follow from the scheme's definition.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime_py.schema import LayerShape
from toolchain.errors import BadRequestError, did_you_mean
from toolchain.model.spec import ModelSpec


@dataclass(frozen=True)
class WeightFormat:
    """Bits of each kind of weight."""

    linear_bits: int
    """Of one weight of a linear layer, its scale aside."""
    table_bits: int
    """Of one weight of the embedding table."""
    other_bits: int
    """Of norms and biases."""
    group: int = 0
    """Weights of a row of a linear layer that share a scale (0: none); short groups are padded."""
    scale_bits: int = 0
    """Of the scale of a group, and of a row of the embedding table."""

    def row_bits(self, columns: int) -> int:
        """Bits of one row of a linear layer with `columns` inputs."""
        if not self.group:
            return self.linear_bits * columns
        groups = -(-columns // self.group)
        return groups * (self.group * self.linear_bits + self.scale_bits)


WEIGHT_FORMATS = {
    "none": WeightFormat(32, 32, 32),
    "fp16": WeightFormat(16, 16, 16),
    "int8": WeightFormat(8, 8, 32, group=32, scale_bits=16),
    "int4": WeightFormat(4, 8, 32, group=32, scale_bits=16),
}
"""By quantisation. int8 and int4: linear layers block-wise in groups of 32 with float16 scales, the
embedding at 8 bits with one float16 scale per row, norms and biases in float32."""


def weight_format(quantization: str) -> WeightFormat:
    """The format by name.

    Raises:
        BadRequestError: no such quantisation.
    """
    if quantization not in WEIGHT_FORMATS:
        raise BadRequestError(
            f"unknown quantisation '{quantization}'", did_you_mean(quantization, WEIGHT_FORMATS)
        )
    return WEIGHT_FORMATS[quantization]


def artifact_bytes(spec: ModelSpec, backend: str, quantization: str = "none") -> int:
    """Bytes of the weights in the model file.

    ExecuTorch stores a tied table twice, the second time as a linear layer.

    Raises:
        BadRequestError: no such quantisation.
    """
    weights = weight_format(quantization)
    bits = outer_bits(spec, backend, weights)
    for shape in spec.layers:
        found = matrices(spec, shape)
        bits += sum(rows * weights.row_bits(columns) for rows, columns in found)
        bits += weights.other_bits * (
            spec.layer_parameters(shape) - sum(rows * columns for rows, columns in found)
        )
    return -(-bits // 8)


def outer_bits(spec: ModelSpec, backend: str, weights: WeightFormat) -> int:
    """Bits of all that is in no decoder layer: tables, head, final norm."""
    tables = 1 if spec.tie_word_embeddings else 2
    outside = spec.parameters - sum(map(spec.layer_parameters, spec.layers))
    bits = spec.vocab_size * (weights.table_bits * spec.hidden_size + weights.scale_bits)
    if backend == "executorch" or not spec.tie_word_embeddings:
        bits += spec.vocab_size * weights.row_bits(spec.hidden_size)
    return bits + weights.other_bits * (outside - tables * spec.vocab_size * spec.hidden_size)


def matrices(spec: ModelSpec, shape: LayerShape) -> list[tuple[int, int]]:
    """(rows, columns) of every linear layer of one decoder layer."""
    hidden, width = spec.hidden_size, shape.intermediate_size
    queries = shape.num_attention_heads * shape.head_dim
    keys = shape.num_key_value_heads * shape.head_dim
    return [
        (queries, hidden),
        (keys, hidden),
        (keys, hidden),
        (hidden, queries),
        *[(width, hidden)] * (spec.family.mlp_matrices - 1),
        (hidden, width),
    ]
