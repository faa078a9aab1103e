"""How much memory an engine will need, from shapes alone. Torch-free, so that `plan` can ask."""

from __future__ import annotations

from runtime_py.schema import MemoryPrediction
from toolchain.model.spec import ModelSpec
from toolchain.recipe import ExportSettings

FLOAT_BYTES = 4


def predict_memory(spec: ModelSpec, settings: ExportSettings) -> MemoryPrediction:
    """Peak bytes of an engine that prefills a whole context, without its host process.

    Activations are the logits of all positions and one layer's: about four vectors of the residual
    stream and four of the MLP. A tied table counts twice, because the engines keep the head packed,
    apart from the embedding. ONNX Runtime holds past and present at once and writes out the
    attention scores of one layer; ExecuTorch hands out a copy of the logits.
    """
    context = settings.context
    widest = max(shape.intermediate_size for shape in spec.layers)
    heads = max(shape.num_attention_heads for shape in spec.layers)
    activations = spec.vocab_size + 4 * (spec.hidden_size + widest)
    if settings.backend == "onnx":
        activations += heads * context
        caches = 2
    else:
        activations += spec.vocab_size
        caches = 1
    return MemoryPrediction(
        weights_bytes=FLOAT_BYTES * (spec.parameters + _tied_table(spec)),
        kv_cache_bytes=caches * spec.kv_cache_bytes(context, FLOAT_BYTES),
        activations_bytes=FLOAT_BYTES * context * activations,
    )


def _tied_table(spec: ModelSpec) -> int:
    return spec.vocab_size * spec.hidden_size if spec.tie_word_embeddings else 0
