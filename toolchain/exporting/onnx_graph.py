"""From a decoder wrapper to `model.onnx` and its external data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from runtime_py.schema import LayerShape
from toolchain.exporting.onnx_decoder import SharedDecoder
from toolchain.exporting.wrapper import Decoder, FunctionalDecoder
from toolchain.quiet import quiet

MODEL_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"

OPSET = 23
"""The first with Attention, RotaryEmbedding and RMSNormalization: decoding runs twice as fast as
with the same graph in opset 18 or 20. onnxruntime reads it from 1.23 on."""

PAGE_BYTES = 4096
"""Tensors in external data start at a page of their own, so that they can be mapped."""

KEEP = "logits_to_keep"
"""Input of how many last positions get logits; left out it is 0, which means all."""

EXAMPLE_LENGTH, EXAMPLE_PAST = 2, 3
"""Sizes of the example that cannot be mistaken for constants (0 and 1 are special)."""


def write_functional(decoder: Decoder, out: Path) -> None:
    """Export the plain form, of standard operators alone.

    Inputs `input_ids` int64 [1,S] and `past_key_values.{i}.key|value` float32 [1,kv_heads,P,D];
    outputs `logits` float32 [1,S,V] and `present.{i}.key|value` [1,kv_heads,P+S,D]; S >= 1, P >= 0.
    `logits_to_keep` int64 [1] is optional.
    """
    sequence, past = torch.export.Dim("sequence"), torch.export.Dim("past")
    pasts = _example_caches(decoder.shapes)
    arguments = {
        "input_ids": (_example_tokens(), {1: sequence}),
        "past_key_values": (pasts, [{2: past}] * len(pasts)),
        KEEP: (torch.ones(1, dtype=torch.int64), {}),
    }
    save(_graph(FunctionalDecoder(decoder), arguments, len(decoder.shapes)), out)


def write_shared(decoder: Decoder, out: Path) -> None:
    """Export the form for onnxruntime's own operators, as `SharedDecoder` describes it.

    Further input `attention_mask` int64 [1,T]; the caches may have any number of positions, and
    where inputs and outputs are bound to the same buffers they are updated in place.
    """
    sequence, past = torch.export.Dim("sequence"), torch.export.Dim("past")
    total = torch.export.Dim("total")
    pasts = _example_caches(decoder.shapes)
    mask = torch.ones(1, EXAMPLE_PAST + EXAMPLE_LENGTH, dtype=torch.int64)
    arguments = {
        "input_ids": (_example_tokens(), {1: sequence}),
        "attention_mask": (mask, {1: total}),
        "past_key_values": (pasts, [{2: past}] * len(pasts)),
        KEEP: (torch.ones(1, dtype=torch.int64), {}),
    }
    model = _graph(SharedDecoder(decoder), arguments, len(decoder.shapes))
    for value in model.graph.outputs[1:]:
        _rename_axis_(value, 2, "present")
    save(model, out)


def _example_tokens() -> Tensor:
    return torch.zeros(1, EXAMPLE_LENGTH, dtype=torch.int64)


def _example_caches(shapes: Sequence[LayerShape]) -> list[Tensor]:
    return [
        torch.zeros(1, shape.num_key_value_heads, EXAMPLE_PAST, shape.head_dim)
        for shape in shapes
        for _ in ("key", "value")
    ]


def _graph(module: nn.Module, arguments: Mapping[str, tuple[Any, Any]], layers: int) -> ir.Model:
    """Export `module`; `arguments` are its example inputs and their dynamic axes, by name."""
    kinds = [f"{i}.{kind}" for i in range(layers) for kind in ("key", "value")]
    pasts = [f"past_key_values.{kind}" for kind in kinds]
    names = [name for key in arguments for name in (pasts if key == "past_key_values" else [key])]
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            tuple(example for example, _ in arguments.values()),
            input_names=names,
            output_names=["logits", *(f"present.{kind}" for kind in kinds)],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=tuple(axes for _, axes in arguments.values()),
            verbose=False,
        )
    assert program is not None  # noqa: S101 - dynamo's exporter returns one
    model = program.model
    _forget_sources_(model.graph)
    _default_to_all_(model.graph)
    return model


def _forget_sources_(graph: ir.Graph) -> None:
    """Drop the exporter's notes, which hold the paths of this machine's source files."""
    for node in graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*graph.inputs, *graph.initializers.values()):
        value.metadata_props.clear()


def _default_to_all_(graph: ir.Graph) -> None:
    """Make `logits_to_keep` optional, and take back the shapes that the exporter guessed from S."""
    keep = next(value for value in graph.inputs if value.name == KEEP)
    keep.const_value = ir.tensor([0], dtype=ir.DataType.INT64, name=KEEP)
    graph.register_initializer(keep)
    selected = next(node for node in graph if node.op_type == "Slice" and _reads(node, keep))
    behind = {id(value) for value in selected.outputs}
    selected.outputs[0].shape = None
    for node in graph:
        if any(value is not None and id(value) in behind for value in node.inputs):
            for value in node.outputs:
                behind.add(id(value))
                if value is not graph.outputs[0]:
                    value.shape = None
    _rename_axis_(graph.outputs[0], 1, "kept")


def _reads(node: ir.Node, value: ir.Value) -> bool:
    """Whether the start of a slice is minus `value`."""
    start = node.inputs[1]
    producer = start.producer() if start is not None else None
    return producer is not None and value in producer.inputs


def _rename_axis_(value: ir.Value, axis: int, name: str) -> None:
    assert value.shape is not None  # noqa: S101 - an input or output
    shape = list(value.shape)
    shape[axis] = ir.SymbolicDim(name)
    value.shape = ir.Shape(shape)


def save(model: ir.Model, out: Path) -> None:
    """Write `model` as MODEL_FILE in `out`, its tensors beside it in DATA_FILE.

    The exporter's notes on each node (stack traces of this machine) are left out: they are ten
    times as large as the graph.
    """
    for node in model.graph:
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    ir.save(
        model,
        out / MODEL_FILE,
        external_data=DATA_FILE,
        alignment=PAGE_BYTES,
        align_threshold=PAGE_BYTES,
    )
