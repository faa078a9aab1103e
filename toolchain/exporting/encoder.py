"""One encoder for every export: token ids in, the embedding of the sentence out.

A batch is one sentence without padding, so no mask is needed. What comes out is the vector that
sentence embeddings are compared by: the mean of the last hidden states (or the first of them,
where the checkpoint's pooling says so), of Euclidean length 1.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from runtime_py.engines.encoder import INPUT, OUTPUT
from toolchain.errors import BadRequestError
from toolchain.exporting.backend import backend_of
from toolchain.exporting.written import Written
from toolchain.model import decoder_layer, families
from toolchain.model.spec import ModelSpec
from toolchain.quiet import quiet
from toolchain.recipe import ExportSettings
from toolchain.validation.embeddings import cosine_limit

if TYPE_CHECKING:
    from toolchain.model.checkpoint import Checkpoint

POOLING_FILE = "1_Pooling/config.json"
POOLINGS = {"mean_tokens": "mean", "cls_token": "first"}
"""Supported modes of that file, and what they are here."""
EXAMPLE_TOKENS = 5
"""Of the sentence that is traced; 0 and 1 are special to torch.export."""


def pooling(folder: Path) -> str:
    """`mean` or `first`: how a checkpoint's sentence embedding comes from its hidden states.

    Raises:
        BadRequestError: the checkpoint asks for another way.
    """
    path = folder / POOLING_FILE
    if not path.is_file():
        return "mean"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    asked = [k.removeprefix("pooling_mode_") for k, on in config.items() if "_mode_" in k and on]
    modes = " and ".join(asked) or "nothing"
    if modes not in POOLINGS:
        raise BadRequestError(
            f"{folder.name} pools by {modes}, which is not supported",
            f"supported: {', '.join(POOLINGS)}",
        )
    return POOLINGS[modes]


class Encoder(nn.Module):
    """A loaded encoder with its pooling; widths may differ from layer to layer.

    Args:
        model: what `Checkpoint.load` returns; its modules are shared, not copied.
        spec: its shapes.
        context: most tokens of a sentence.
        pool: `mean` or `first`.
    """

    positions: Tensor

    def __init__(self, model: nn.Module, spec: ModelSpec, context: int, pool: str) -> None:
        super().__init__()
        self.family = spec.family
        self.shapes = spec.layers
        self.context = context
        self.pool = pool
        self.embedding = families.embedding(model)
        self.embedding_norm = model.get_submodule(str(spec.family.embedding_norm))
        self.layers = families.decoder_layers(model)
        table = families.position_table(model)
        assert table is not None  # noqa: S101 - every known encoder has learned positions
        self.register_buffer("positions", table[:context] + _segment(model, spec), persistent=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embedding float32 [1, hidden_size] of `input_ids` int64 [1,S], S from 1 to context."""
        family = self.family
        steps = torch.arange(input_ids.shape[1])
        hidden = self.embedding_norm(self.embedding(input_ids) + self.positions[steps])
        for shape, layer in zip(self.shapes, self.layers, strict=True):
            mixed = self._attention(layer, hidden, shape.num_attention_heads)
            mixed = layer.get_submodule(family.output)(mixed)
            hidden = layer.get_submodule(str(family.attention_sum_norm))(hidden + mixed)
            output = decoder_layer.run_mlp(family, layer, hidden)
            hidden = layer.get_submodule(str(family.mlp_sum_norm))(hidden + output)
        pooled: Tensor = hidden.mean(1) if self.pool == "mean" else hidden[:, 0]
        length: Tensor = pooled.square().sum(-1, keepdim=True).sqrt()
        return pooled / length

    def _attention(self, layer: nn.Module, hidden: Tensor, heads: int) -> Tensor:
        family = self.family
        query, key, value = (
            _split(layer.get_submodule(name)(hidden), heads)
            for name in (family.query, family.key, family.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).reshape(1, -1, mixed.shape[1] * mixed.shape[3])


def _split(rows: Tensor, heads: int) -> Tensor:
    """[1,S,H*D] -> [1,H,S,D]."""
    return rows.view(1, -1, heads, rows.shape[2] // heads).transpose(1, 2)


def _segment(model: nn.Module, spec: ModelSpec) -> Tensor:
    """The embedding of the first segment, which every token gets: [hidden_size]."""
    table: Tensor = model.get_submodule(str(spec.family.segments)).weight  # type: ignore[assignment]
    return table[0]


def prepare_(model: nn.Module, spec: ModelSpec, settings: ExportSettings) -> None:
    """Round a loaded encoder in place, as its backend rounds a decoder."""
    backend_of(settings.backend).prepare_(model, spec, settings)


def write(encoder: Encoder, out: Path, settings: ExportSettings) -> Written:
    """Write the model file of an encoder over a prepared model into the folder `out`.

    One input `input_ids` int64 [1,S], one output `sentence_embedding` float32 [1,hidden_size].
    """
    length = min(EXAMPLE_TOKENS, encoder.context)
    example = torch.zeros(1, length, dtype=torch.int64)
    dynamic = torch.export.Dim("length", min=1, max=encoder.context)
    if settings.backend == "onnx":
        return _write_onnx(encoder.eval(), example, dynamic, out)
    return _write_executorch(encoder.eval(), example, dynamic, out)


def _write_executorch(encoder: Encoder, example: Tensor, dynamic: Any, out: Path) -> Written:
    from toolchain.exporting import executorch
    from toolchain.exporting.lowering import lower
    from toolchain.exporting.pte import write_program

    metadata = {"get_max_seq_len": encoder.context, "get_n_layers": len(encoder.shapes)}
    program = lower(encoder, (example,), {INPUT: {1: dynamic}}, metadata)
    sizes = write_program(program, out / executorch.MODEL_FILE)
    return Written(
        model_file=executorch.MODEL_FILE,
        versions=_versions(executorch.PACKAGES),
        max_prefill_tokens=0,
        kv_cache="none",
        planned_arena_bytes=sizes.arena,
        packed_weights_bytes=sizes.packed,
    )


def _write_onnx(encoder: Encoder, example: Tensor, dynamic: Any, out: Path) -> Written:
    from toolchain.exporting import onnx, onnx_graph

    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            encoder,
            (example,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=onnx_graph.OPSET,
            dynamo=True,
            dynamic_shapes=({1: dynamic},),
            verbose=False,
        )
    assert program is not None  # noqa: S101 - dynamo's exporter returns one
    onnx_graph.save(program.model, out)
    versions = {**_versions(onnx.PACKAGES), "opset": str(onnx_graph.OPSET)}
    return Written(onnx.MODEL_FILE, versions, max_prefill_tokens=0, kv_cache="none")


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in packages}


def check(source: Checkpoint, settings: ExportSettings) -> None:
    """Refuse an encoder that cannot be exported as asked, before anything is loaded.

    Raises:
        BadRequestError: its pooling, a quantisation that encoders have not, or a width.
    """
    cosine_limit(settings.backend, settings.quant)
    pooling(source.path)
    backend_of(settings.backend).check(source.spec, settings)
