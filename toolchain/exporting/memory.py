"""How much memory an engine will need: of a bundle, or from shapes before there is one. Torch-free.

The rules are what the engines were seen to do (anonymous and file pages of their processes on
x86-64, models of 1 to 530 MB); `benchmarks/memory_prediction.py` holds them against measured peaks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from runtime_py.bundle import model_bytes
from runtime_py.schema import LayerShape, Manifest, MemoryPrediction
from toolchain.exporting.formats import artifact_bytes, embedding_bits
from toolchain.model.spec import ModelSpec
from toolchain.recipe import ExportSettings

FLOAT_BYTES = 4
PREDICTION_ERROR = 0.1
"""What a prediction may be wrong by."""

RUNTIME_BYTES = {
    "onnxruntime": 64_700_000,
    "executorch": 242_900_000,
    "executorch-native": 9_500_000,
}
"""Of a process beside the model: interpreter, libraries, and the code that running a model touches.
`executorch` is the Python binding, which imports torch. Those in Java are not here: what Android's
Java takes differs from phone to phone."""
GRAPH_BYTES_PER_LAYER = 350_000
"""Nodes and kernels of one decoder layer in onnxruntime."""
FAULT_BYTES = {"onnxruntime": 128 << 10, "executorch-native": 64 << 10}
"""What the kernel maps of a file around the byte that is read; the runner asks for less ahead."""
PREFILL_TOKENS = {"onnx": 128, "executorch": 128}
"""Longest chunk of a prompt, where no manifest says it."""


@dataclass(frozen=True)
class _OnnxWeights:
    """What a quantisation costs in onnxruntime, as shares of bytes of the model file."""

    packed: float
    """Of the linear layers: kept in buffers of the kernels' own layout."""
    packed_head: float
    """Of the table, where the head shares it: the same."""
    mapped: float
    """Of the linear layers: read through the mapped file and still needed."""
    table: float = 1.0
    """The table's bytes with its scales, over those of its codes."""
    maps_table: bool = False
    """Whether a head that shares the table's codes reads all of them through the mapped file."""
    widened_bytes: int = 0
    """Beside the float32 table, while weights are widened to float32."""


_ONNX = {
    "none": _OnnxWeights(packed=1.0, packed_head=1.0, mapped=0.0),
    "fp16": _OnnxWeights(packed=2.0, packed_head=2.0, mapped=0.0, widened_bytes=4_000_000),
    "int8": _OnnxWeights(packed=1.03, packed_head=1.03, mapped=0.08),
    # Codes, scales and their sums are packed; scales and zero points stay mapped as well.
    "int4": _OnnxWeights(packed=1.23, packed_head=1.5, mapped=0.24, table=1.16, maps_table=True),
}
FLOAT_QUANTS = ("none", "fp16")
"""Whose head is turned around while it loads, and is there twice."""


@dataclass(frozen=True)
class _Artifact:
    """What the rules look at."""

    quantization: str
    file_bytes: int
    table_bytes: int
    """The embedding as it is stored."""
    tied: bool
    layers: Sequence[LayerShape]
    hidden_size: int
    vocab_size: int
    context_length: int
    functional_cache: bool
    chunk: int
    """Longest part of a prompt that one call takes."""
    packed_bytes: int | None
    arena_bytes: int | None
    causal: bool
    """An encoder keeps nothing from one call to the next."""

    @property
    def float_table(self) -> bool:
        """Whether the embedding is stored in float32."""
        return self.table_bytes >= FLOAT_BYTES * self.vocab_size * self.hidden_size

    @property
    def head_share(self) -> float:
        """Of the weights of all linear layers, those of the head: the largest of them."""
        head = self.vocab_size if self.causal else 0
        layers = sum(
            2 * (shape.num_attention_heads + shape.num_key_value_heads) * shape.head_dim
            + 3 * shape.intermediate_size
            for shape in self.layers
        )
        return head / (head + layers)

    def cache_bytes(self, tokens: int) -> int:
        """Keys and values of `tokens` positions."""
        return kv_bytes(self.layers, tokens) if self.causal else 0


def engine_name(manifest: Manifest, engine: str, remote: bool) -> str:
    """The engine that runs a bundle, as `LaunchRecord.engine` names it.

    Args:
        manifest: of the bundle.
        engine: `Protocol.engine`.
        remote: on a device behind a shell, where `.pte` bundles always run natively.
    """
    if manifest.backend == "onnx":
        return "onnxruntime"
    return "executorch-native" if remote or engine == "native" else "executorch"


def predict_bundle(
    manifest: Manifest,
    engine: str,
    prompt_tokens: int,
    total_tokens: int,
    base_bytes: int | None = None,
) -> MemoryPrediction:
    """Peak bytes of an engine's process, everything included.

    Args:
        manifest: of the bundle.
        engine: a key of `RUNTIME_BYTES`, or another name as `LaunchRecord.engine` has it.
        prompt_tokens: prefilled, what is in the cache before them included.
        total_tokens: these and the generated ones.
        base_bytes: of the process before the model, for an engine that is not in `RUNTIME_BYTES`.
    """
    table = manifest.vocab_size * manifest.hidden_size
    artifact = _Artifact(
        quantization=manifest.quantization,
        file_bytes=model_bytes(manifest),
        table_bytes=table * manifest.embedding_bits // 8,
        tied=_is_tied(manifest, table),
        layers=manifest.layers,
        hidden_size=manifest.hidden_size,
        vocab_size=manifest.vocab_size,
        context_length=manifest.context_length,
        functional_cache=manifest.kv_cache == "functional",
        chunk=manifest.max_prefill_tokens or manifest.context_length,
        packed_bytes=manifest.packed_weights_bytes,
        arena_bytes=manifest.planned_arena_bytes,
        causal=manifest.kind == "decoder",
    )
    predicted = _predict(artifact, engine, prompt_tokens, total_tokens)
    if engine in RUNTIME_BYTES:
        return predicted
    runtime = predicted.runtime_bytes + (base_bytes or 0)
    return replace(predicted, runtime_bytes=runtime)


def predict_memory(spec: ModelSpec, settings: ExportSettings) -> MemoryPrediction:
    """Peak bytes of an engine (`.pte`: the native one) whose context is full, without its process.

    Args:
        spec: shapes of the checkpoint.
        settings: of the export.
    """
    table = spec.vocab_size * spec.hidden_size
    artifact = _Artifact(
        quantization=settings.quant,
        file_bytes=artifact_bytes(spec, settings),
        table_bytes=table * embedding_bits(settings) // 8,
        tied=spec.tie_word_embeddings,
        layers=spec.layers,
        hidden_size=spec.hidden_size,
        vocab_size=spec.vocab_size,
        context_length=settings.context,
        functional_cache=settings.backend == "onnx" and settings.target == "any",
        chunk=min(PREFILL_TOKENS[settings.backend], settings.context),
        packed_bytes=None,
        arena_bytes=None,
        causal=spec.family.causal,
    )
    engine = "onnxruntime" if settings.backend == "onnx" else "executorch-native"
    predicted = _predict(artifact, engine, settings.context, settings.context)
    return replace(predicted, runtime_bytes=0)


def kv_bytes(layers: Sequence[LayerShape], tokens: int) -> int:
    """Keys and values of `tokens` positions in float32."""
    widths = sum(shape.num_key_value_heads * shape.head_dim for shape in layers)
    return 2 * FLOAT_BYTES * widths * tokens


def _predict(a: _Artifact, engine: str, prompt: int, total: int) -> MemoryPrediction:
    rules = _onnxruntime if engine.startswith("onnxruntime") else _executorch
    return rules(a, engine, prompt, total)


def _onnxruntime(a: _Artifact, engine: str, prompt: int, total: int) -> MemoryPrediction:
    """Kernels keep packed copies of constants, whose pages of the file are then unmapped. Of a
    table only the rows that were looked up are needed, unless the head reads it. A functional cache
    is there twice while it grows, and its attention scores are written out."""
    chunk = min(prompt, a.chunk)
    shares = _ONNX[a.quantization]
    table = shares.table * a.table_bytes
    linear = a.file_bytes - table
    shared = a.causal and a.tied and (a.quantization in FLOAT_QUANTS or not a.float_table)
    packed = shares.packed * linear + shares.packed_head * a.table_bytes * shared
    whole = shared and shares.maps_table
    mapped = shares.mapped * linear + (table if whole else _touched(table, total, engine))
    loading = float(shares.widened_bytes)
    if a.causal and a.quantization in FLOAT_QUANTS:
        loading += FLOAT_BYTES * a.vocab_size * a.hidden_size
    cache = a.cache_bytes(total)
    activations = _activation_bytes(a, chunk)
    if a.functional_cache:
        cache *= 2
        heads = max(shape.num_attention_heads for shape in a.layers)
        activations += FLOAT_BYTES * heads * chunk * total
    runtime = RUNTIME_BYTES.get(engine, 0) + GRAPH_BYTES_PER_LAYER * len(a.layers)
    return _peak(mapped, packed, cache, activations, runtime, loading)


def _executorch(a: _Artifact, engine: str, prompt: int, total: int) -> MemoryPrediction:
    """XNNPACK packs its constants while it loads and lets each of them go then; the Python binding
    holds the lookup table besides. Caches and activations share a planned arena: the binding
    touches all of it, the runner as far as the prompt's chunk needs it."""
    chunk = min(prompt, a.chunk)
    packed = a.packed_bytes
    if packed is None:
        packed = a.file_bytes - (0 if a.tied else a.table_bytes)
    cache = a.cache_bytes(a.context_length)
    binding = engine == "executorch"
    if a.arena_bytes is None:
        activations = FLOAT_BYTES * chunk * a.vocab_size + _activation_bytes(a, chunk)
    else:
        activations = max(0, a.arena_bytes - cache) * (a.chunk if binding else chunk) // a.chunk
    mapped = float(a.table_bytes) if binding else _touched(a.table_bytes, total, engine)
    loading = a.table_bytes + packed * a.head_share if binding else 0.0
    runtime = RUNTIME_BYTES.get(engine, 0)
    return _peak(mapped, packed, cache, activations, runtime, loading)


def _peak(
    mapped: float, packed: float, cache: float, activations: float, runtime: float, loading: float
) -> MemoryPrediction:
    """The larger of loading and running; what loading needs more counts with the activations."""
    more = loading - (mapped + cache + activations)
    return MemoryPrediction(
        weights_bytes=round(mapped),
        kv_cache_bytes=round(cache),
        activations_bytes=round(activations + max(0.0, more)),
        packed_weights_bytes=round(packed),
        runtime_bytes=round(runtime),
    )


def fault_bytes(engine: str) -> int:
    """Bytes of a mapped file that are there once one of them was read."""
    return FAULT_BYTES.get(engine, FAULT_BYTES["onnxruntime"])


def _touched(table_bytes: float, tokens: int, engine: str) -> float:
    """Expected bytes of a mapped table after `tokens` random rows were read from it."""
    blocks = max(1.0, table_bytes / fault_bytes(engine))
    return table_bytes * (1 - math.exp(-tokens / blocks))


def _activation_bytes(a: _Artifact, chunk: int) -> int:
    """About four vectors of the residual stream and four of the MLP per token."""
    widest = max(shape.intermediate_size for shape in a.layers)
    return FLOAT_BYTES * (4 * chunk * (a.hidden_size + widest) + a.vocab_size)


def _is_tied(manifest: Manifest, table: int) -> bool:
    """Whether one table is embedding and head: what is left beside the layers is one or two."""
    for matrices in (3, 2):  # of an MLP with a gate, or without
        widths = sum(
            2 * (shape.num_attention_heads + shape.num_key_value_heads) * shape.head_dim
            + matrices * shape.intermediate_size
            for shape in manifest.layers
        )
        rest = manifest.parameters - manifest.hidden_size * widths
        if rest > 0.5 * table:
            return rest < 1.5 * table
    return True
