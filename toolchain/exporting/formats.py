"""Bytes of a model file by how its weights are written. Torch-free, so that `plan` can ask."""

from __future__ import annotations

from dataclasses import dataclass

from runtime_py.schema import LayerShape
from toolchain.errors import BadRequestError
from toolchain.model.spec import ModelSpec
from toolchain.recipe import ExportSettings, build

GROUPED = ("8da4w", "int4")
"""Quantisations whose linear layers have a scale for each group of weights of a row."""

TABLE_GROUP = 32
"""Weights that share a scale in a table of 4 bits beside linear layers without groups."""

GRAPH_BYTES = 64 << 10
"""Of the graph, its names and metadata, beside the weights."""

GRAPH_BYTES_PER_LAYER = 48 << 10
"""The same of each layer, and the gaps before tensors that start at a page of their own."""


@dataclass(frozen=True)
class WeightFormat:
    """Bits of each kind of weight."""

    linear_bits: int
    """Of one weight of a linear layer, its scale aside."""
    table_bits: int
    """Of one weight of the embedding table, its scale aside."""
    other_bits: int = 32
    """Of norms, biases and learned positions."""
    group: int = 0
    """Weights of a row of a linear layer that share a scale (0: all); short groups are padded."""
    scale_bits: int = 0
    """Of one such scale, with its zero point if it has one."""
    table_group: int = 0
    """Weights of a row of the table that share a scale (0: all)."""
    table_scale_bits: int = 0
    tied_twice: bool = True
    """Whether a tied table is stored again as a linear layer."""

    def row_bits(self, columns: int) -> int:
        """Bits of one row of a linear layer with `columns` inputs."""
        return _row(columns, self.linear_bits, self.group, self.scale_bits)

    def table_row_bits(self, columns: int) -> int:
        """Bits of one row of the embedding table."""
        return _row(columns, self.table_bits, self.table_group, self.table_scale_bits)


def _row(columns: int, bits: int, group: int, scale_bits: int) -> int:
    if not group:
        return columns * bits + scale_bits
    return -(-columns // group) * (group * bits + scale_bits)


def weight_format(settings: ExportSettings) -> WeightFormat:
    """How an export writes its weights."""
    bits = embedding_bits(settings)
    group = settings.group_size if settings.quant in GROUPED else 0
    write = _executorch if settings.backend == "executorch" else _onnx
    return write(settings.quant, bits, group)


def _executorch(quant: str, table_bits: int, group: int) -> WeightFormat:
    """XNNPACK: float32 scales of rows, bfloat16 scales of groups; a tied head is stored once
    where it is rounded as the table is."""
    table_scale = 32 if table_bits < 32 else 0
    if quant == "none":
        once = table_bits == 32
        return WeightFormat(32, table_bits, table_scale_bits=table_scale, tied_twice=not once)
    linear_bits, scale_bits = (4, 16) if quant == "8da4w" else (8, 32)
    return WeightFormat(
        linear_bits,
        table_bits,
        group=group,
        scale_bits=scale_bits,
        table_group=(group or TABLE_GROUP) if table_bits == 4 else 0,
        table_scale_bits=table_scale,
        tied_twice=linear_bits != 8 or table_bits != 8,
    )


def _onnx(quant: str, table_bits: int, group: int) -> WeightFormat:
    """float32 scales of rows or groups, groups with a zero point; a head that is tied to a rounded
    table shares its codes."""
    if quant in ("none", "fp16"):
        bits = 32 if quant == "none" else 16
        return WeightFormat(bits, table_bits, tied_twice=False)
    in_groups = quant == "int4" or table_bits == 4
    return WeightFormat(
        4 if quant == "int4" else 8,
        table_bits,
        group=group,
        scale_bits=36 if quant == "int4" else 32,
        table_group=(group or TABLE_GROUP) if in_groups and table_bits < 32 else 0,
        table_scale_bits=(40 if in_groups else 32) if table_bits < 32 else 0,
        tied_twice=table_bits == 32,
    )


def embedding_bits(settings: ExportSettings) -> int:
    """Bits of a weight of the embedding table, the default resolved."""
    if settings.embedding_bits is not None:
        return settings.embedding_bits
    if settings.quant == "fp16":
        return 16
    return 32 if settings.quant == "none" else 8


def parse_format(text: str) -> ExportSettings:
    """Settings from BACKEND:QUANTISATION, such as `onnx:int4`.

    Raises:
        BadRequestError: no such backend or quantisation.
    """
    backend, colon, quant = text.partition(":")
    if not colon:
        raise BadRequestError(f"'{text}' is not BACKEND:QUANTISATION", "such as onnx:int4")
    return build(ExportSettings, {"backend": backend, "quant": quant}, "bytes_of")


def artifact_bytes(spec: ModelSpec, settings: ExportSettings) -> int:
    """Bytes of the weights in the model file; the graph and its metadata come on top."""
    weights = weight_format(settings)
    bits = outer_bits(spec, settings)
    for shape in spec.layers:
        found = matrices(spec, shape)
        bits += sum(rows * weights.row_bits(columns) for rows, columns in found)
        bits += weights.other_bits * (
            spec.layer_parameters(shape) - sum(rows * columns for rows, columns in found)
        )
    return -(-bits // 8)


def graph_bytes(spec: ModelSpec) -> int:
    """Most bytes of a model file beside its weights."""
    return GRAPH_BYTES + GRAPH_BYTES_PER_LAYER * len(spec.layers)


def outer_bits(spec: ModelSpec, settings: ExportSettings) -> int:
    """Bits of all that is in no decoder layer: tables, head, final norm, positions.

    Of learned and rotary positions only those of the context are written; an encoder's head is not.
    """
    weights = weight_format(settings)
    tables = 1 if spec.tie_word_embeddings else 2
    outside = spec.parameters - sum(map(spec.layer_parameters, spec.layers))
    others = outside - tables * spec.vocab_size * spec.hidden_size - spec.head_parameters
    if spec.family.positions is not None:
        rows = spec.max_position_embeddings + spec.family.position_offset
        others -= (rows - min(rows, settings.context)) * spec.hidden_size
    if spec.family.rotary is not None:
        others += settings.context * spec.layers[0].head_dim  # half of each of cos and sin
    bits = spec.vocab_size * weights.table_row_bits(spec.hidden_size)
    if spec.family.causal and (weights.tied_twice or not spec.tie_word_embeddings):
        bits += spec.vocab_size * weights.row_bits(spec.hidden_size)
    return bits + weights.other_bits * others


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
