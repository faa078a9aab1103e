"""How much memory pruning will need, from shapes alone. Torch-free, so that `plan` can ask."""

from __future__ import annotations

from runtime_py.schema import LayerShape
from toolchain.model.sizes import (
    CHUNK_LOGITS,
    SLICE_ELEMENTS,
    SOLVED_AT_A_TIME,
    STEP_TOKENS,
    WIDEST_ACTIVATION,
)
from toolchain.model.spec import BYTES_PER_ELEMENT, ModelSpec
from toolchain.pruning.budget import parse_size
from toolchain.pruning.effort import BATCH_SEQUENCES, CANDIDATES, KEPT_LAYERS_BYTES, tunes_masks
from toolchain.recipe import PruneSettings

FLOAT_BYTES = 4
DOUBLE_BYTES = 8

_ACTIVATIONS = 5
"""Inner activations of one batch: gate, its activation, up, their product, and the real tokens'."""
_GRAPH_STATES = 12
"""Vectors of the residual stream's width that the graph of a layer and its gradients hold."""
_GRAPH_ACTIVATIONS = 6
"""And of the MLP's width."""
_HELD_OUT_SHARE = 1 / 8
_STREAMS = 2
"""The dense model's and the pruned one's."""


def predict_peak_bytes(spec: ModelSpec, settings: PruneSettings, device: str = "cpu") -> int:
    """Peak bytes of pruning on one device in one pass, without the interpreter and its libraries.

    The largest of what is there at once while the statistics of a layer are collected, while its
    units are scored, while its projection is solved for, while candidates are judged, while all
    layers are tuned together, and while the tables are written; the hidden states are there all
    the time.
    """
    stored = BYTES_PER_ELEMENT[spec.dtype]
    table = spec.vocab_size * spec.hidden_size
    phases = [_tables(spec) * table * stored]
    for shape in dict.fromkeys(spec.layers):
        layer = spec.layer_parameters(shape)
        statistics = _statistics(spec, shape)
        collecting = (
            FLOAT_BYTES * layer + statistics + _ACTIVATIONS * FLOAT_BYTES * WIDEST_ACTIVATION
        )
        judging = (FLOAT_BYTES + stored) * layer + _judging(spec)
        solving = [statistics + most for most in _solving(spec, shape, settings, stored)]
        # All the time: the layer as stored, and cut so far.
        phases += [2 * stored * layer + work for work in (collecting, judging, *solving)]
    if settings.tune != "none" or tunes_masks(spec, settings, device):
        phases.append(_tuning(spec, settings))
    head = FLOAT_BYTES * min(table, SLICE_ELEMENTS)
    return int(max(phases) + _hidden_states(spec, settings) + head)


def _tables(spec: ModelSpec) -> int:
    return 1 if spec.tie_word_embeddings else 2


def _widest(shape: LayerShape) -> int:
    """Inputs of the layer's widest projection."""
    return max(shape.intermediate_size, shape.num_attention_heads * shape.head_dim)


def _statistics(spec: ModelSpec, shape: LayerShape) -> int:
    width = _widest(shape)
    return FLOAT_BYTES * width * (width + 2 * spec.hidden_size)


def _solving(
    spec: ModelSpec, shape: LayerShape, settings: PruneSettings, stored: int
) -> tuple[int, int]:
    """Bytes beside the statistics while scoring and while recovering the widest projection."""
    width = _widest(shape)
    kept = width * (1 - settings.ratio)
    weight = FLOAT_BYTES * width * spec.hidden_size
    panels = 3 * DOUBLE_BYTES * SOLVED_AT_A_TIME * width
    scoring = weight + DOUBLE_BYTES * width * width + panels
    rows = kept * spec.hidden_size
    # Two targets and the kept weights in float32, all candidates as stored. XᵀX goes when it has
    # become a factor, and what the targets were made of has gone before.
    targets = 3 * FLOAT_BYTES * rows + CANDIDATES * stored * rows
    factor = DOUBLE_BYTES * kept * kept - 2 * weight
    return scoring, int(targets + panels + max(factor, 2 * panels))


def _judging(spec: ModelSpec) -> int:
    candidates = CANDIDATES * FLOAT_BYTES * STEP_TOKENS * spec.hidden_size
    return candidates + 4 * FLOAT_BYTES * CHUNK_LOGITS


def _tuning(spec: ModelSpec, settings: PruneSettings) -> int:
    """Bytes of a step over all layers: the states between them, and one layer with its graph."""
    tokens = BATCH_SEQUENCES * settings.seq_len
    layers = [spec.layer_parameters(shape) for shape in spec.layers]
    kept = FLOAT_BYTES * sum(layers)
    # The adapted projections and the products on the way to them are there beside the layer.
    weights = (kept if kept <= KEPT_LAYERS_BYTES else 0) + 2 * FLOAT_BYTES * max(layers)
    states = (len(spec.layers) + 1) * tokens * spec.hidden_size
    widest = max(shape.intermediate_size for shape in spec.layers)
    graph = tokens * (_GRAPH_STATES * spec.hidden_size + _GRAPH_ACTIVATIONS * widest)
    return weights + FLOAT_BYTES * (states + graph + 4 * CHUNK_LOGITS)


def _hidden_states(spec: ModelSpec, settings: PruneSettings) -> float:
    """Both streams of the calibration text; the held-out text's pruned one and its dense end."""
    stream = settings.samples * settings.seq_len * spec.hidden_size * FLOAT_BYTES
    calibration, held_out = _STREAMS * stream, stream * _HELD_OUT_SHARE
    if settings.max_memory is not None:
        most = parse_size(settings.max_memory)
        calibration, held_out = min(calibration, most), min(held_out, most)
    return calibration + held_out + stream * _HELD_OUT_SHARE
