"""How much memory an engine will need, from shapes alone. Torch-free, so that `plan` can ask."""

from __future__ import annotations

from runtime_py.schema import MemoryPrediction
from toolchain.model.spec import ModelSpec
from toolchain.recipe import ExportSettings

FLOAT_BYTES = 4


def predict_memory(spec: ModelSpec, settings: ExportSettings) -> MemoryPrediction:
    """Peak bytes of an engine that prefills a whole context, without its host process.

    A tied table counts twice: the engines keep the head packed, apart from the embedding. The ONNX
    engine holds past and present at once and its attention writes out the scores of one layer;
    ExecuTorch's does neither.
    """
    context = settings.context
    tied = spec.vocab_size * spec.hidden_size if spec.tie_word_embeddings else 0
    widest = max(shape.intermediate_size for shape in spec.layers)
    heads = max(shape.num_attention_heads for shape in spec.layers)
    activations = context * (spec.vocab_size + spec.hidden_size + 2 * widest)
    caches = 1
    if settings.backend == "onnx":
        activations += heads * context**2
        caches = 2
    return MemoryPrediction(
        weights_bytes=FLOAT_BYTES * (spec.parameters + tied),
        kv_cache_bytes=caches * spec.kv_cache_bytes(context, FLOAT_BYTES),
        activations_bytes=FLOAT_BYTES * activations,
    )
