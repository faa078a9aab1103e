"""Writing ONNX: one graph of standard operators, weights in external data."""

from __future__ import annotations

from pathlib import Path

import torch

from toolchain.exporting.wrapper import Decoder, FunctionalDecoder
from toolchain.quiet import quiet

MODEL_FILE = "model.onnx"
PACKAGES = ("onnx", "onnxruntime", "onnxscript", "torch", "transformers")
"""Packages whose versions determine the artifact and its check."""

OPSET = 23
"""The first with Attention, RotaryEmbedding and RMSNormalization: decoding runs twice as fast as
with the same graph in opset 18 or 20. onnxruntime reads it from 1.23 on."""


def write(decoder: Decoder, out: Path) -> None:
    """Export `decoder` to `out / MODEL_FILE` and its external data.

    Inputs `input_ids` int64 [1,S] and `past_key_values.{i}.key|value` float32 [1,kv_heads,P,D];
    outputs `logits` float32 [1,S,V] and `present.{i}.key|value` [1,kv_heads,P+S,D]; S >= 1, P >= 0.
    """
    # Sizes of the example that cannot be mistaken for constants (0 and 1 are special).
    example_length, example_past = 2, 3
    pasts = [
        torch.zeros(1, shape.num_key_value_heads, example_past, shape.head_dim)
        for shape in decoder.shapes
        for _ in ("key", "value")
    ]
    kinds = [f"{i}.{kind}" for i in range(len(decoder.shapes)) for kind in ("key", "value")]
    sequence, past = torch.export.Dim("sequence"), torch.export.Dim("past")
    with quiet(), torch.no_grad():
        torch.onnx.export(
            FunctionalDecoder(decoder).eval(),
            (torch.zeros(1, example_length, dtype=torch.int64), pasts),
            out / MODEL_FILE,
            input_names=["input_ids", *(f"past_key_values.{kind}" for kind in kinds)],
            output_names=["logits", *(f"present.{kind}" for kind in kinds)],
            opset_version=OPSET,
            dynamo=True,
            external_data=True,
            dynamic_shapes=({1: sequence}, [{2: past}] * len(pasts)),
            verbose=False,
        )
