"""How much memory pruning will need, from shapes alone. Torch-free, so that `plan` can ask."""

from __future__ import annotations

from runtime_py.schema import LayerShape
from toolchain.model.spec import BYTES_PER_ELEMENT, ModelSpec
from toolchain.recipe import PruneSettings

FLOAT_BYTES = 4
DOUBLE_BYTES = 8

SLICE_ELEMENTS = 1 << 24
"""Elements of the head in float32 at a time (64 MiB); a smaller head is kept whole."""

CHUNK_LOGITS = 1 << 21
"""Logits at a time: positions by vocabulary entries (8 MiB of float32)."""

WIDEST_ACTIVATION = 1 << 23
"""Elements of an MLP's inner activation for one batch (32 MiB of float32; there are several)."""

SOLVED_AT_A_TIME = 512
"""Rows or columns that are in float64 at a time beside the one matrix."""

STEP_TOKENS = 2048
"""Held-out tokens that judge a single step; all of them judge the whole."""

_ACTIVATIONS = 5
"""Inner activations of one batch: gate, its activation, up, their product, and the real tokens'."""
_TARGETS = 3
"""Targets that least squares is tried with; with no recovery, one candidate more."""
_HELD_OUT_SHARE = 1 / 8
_STREAMS = 2
"""The dense model's and the pruned one's."""


def predict_peak_bytes(spec: ModelSpec, settings: PruneSettings) -> int:
    """Peak bytes of pruning on one device in one pass, without the interpreter and its libraries.

    The largest of what is there at once while the statistics of a layer are collected, while its
    units are scored, while its projection is solved for, while candidates are judged, and while the
    tables are written; the hidden states are there all the time.
    """
    stored = BYTES_PER_ELEMENT[spec.dtype]
    table = spec.vocab_size * spec.hidden_size
    phases = [_tables(spec) * table * stored]
    for shape in dict.fromkeys(spec.layers):
        layer = spec.layer_parameters(shape)
        # As stored, cut so far, and in float32.
        weights = layer * (2 * stored + FLOAT_BYTES)
        work = [_collecting(), *_solving(spec, shape, settings, stored), _judging(spec, layer)]
        phases += [weights + bytes_then for bytes_then in work]
    head = FLOAT_BYTES * min(table, SLICE_ELEMENTS)
    return int(max(phases) + _hidden_states(spec, settings) + head)


def _tables(spec: ModelSpec) -> int:
    return 1 if spec.tie_word_embeddings else 2


def _collecting() -> int:
    return _ACTIVATIONS * FLOAT_BYTES * WIDEST_ACTIVATION


def _solving(
    spec: ModelSpec, shape: LayerShape, settings: PruneSettings, stored: int
) -> tuple[int, int]:
    """Bytes while scoring and while recovering the layer's widest projection."""
    width = max(shape.intermediate_size, shape.num_attention_heads * shape.head_dim)
    kept = width * (1 - settings.ratio)
    weight = width * spec.hidden_size
    statistics = FLOAT_BYTES * (width * width + 3 * weight)
    panels = 3 * DOUBLE_BYTES * SOLVED_AT_A_TIME * width
    scoring = statistics + DOUBLE_BYTES * width * width + panels
    rows = kept * spec.hidden_size
    targets = (_TARGETS + 2) * FLOAT_BYTES * rows + (_TARGETS + 1) * stored * rows
    recovering = statistics + DOUBLE_BYTES * kept * kept + targets + panels
    return scoring, int(recovering)


def _judging(spec: ModelSpec, layer: int) -> int:
    stored = BYTES_PER_ELEMENT[spec.dtype]
    candidates = (_TARGETS + 1) * FLOAT_BYTES * STEP_TOKENS * spec.hidden_size
    logits = 4 * FLOAT_BYTES * CHUNK_LOGITS
    return layer * (FLOAT_BYTES + stored) + candidates + logits


def _hidden_states(spec: ModelSpec, settings: PruneSettings) -> float:
    """Both streams of the calibration text, and those and the dense end of the held-out text."""
    tokens = settings.samples * settings.seq_len
    streams = _STREAMS + (_STREAMS + 1) * _HELD_OUT_SHARE
    return streams * tokens * spec.hidden_size * FLOAT_BYTES
