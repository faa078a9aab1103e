"""How much memory pruning will need, from shapes alone. Torch-free, so that `plan` can ask."""

from __future__ import annotations

from toolchain.model.spec import ModelSpec
from toolchain.recipe import PruneSettings

FLOAT_BYTES = 4

CHUNK_LOGITS = 1 << 23
"""Logits that the held-out judge makes at a time: positions by vocabulary (32 MiB of float32)."""

_LOGIT_COPIES = 6
"""Logits, log-probabilities and their products, of the dense model and of a candidate."""
_CANDIDATES = 6
"""No recovery, and one for each target."""
_HELD_OUT_SHARE = 1 / 8
_SQUARES = 10
"""Gram matrix, its damped copy, factor and inverse, most in float64, in float32 units of d²."""
_PRODUCTS = 30
"""Cross products by target and candidate weights, most in float64, in float32 units of d·m."""


def predict_peak_bytes(spec: ModelSpec, settings: PruneSettings) -> int:
    """Peak bytes of pruning on one device, without the interpreter and its libraries.

    The outer tensors; three versions of one layer (dense, pruned, pruned without recovery); the
    statistics of the widest projection; two streams of calibration activations and one of held-out
    activations for each candidate; the judge's logits; and the weight file, which is mapped.
    """
    layer = max(map(spec.layer_parameters, spec.layers))
    width = max(max(s.intermediate_size, s.num_attention_heads * s.head_dim) for s in spec.layers)
    tables = spec.vocab_size * spec.hidden_size * (1 if spec.tie_word_embeddings else 2)
    statistics = _SQUARES * width * width + _PRODUCTS * width * spec.hidden_size
    tokens = settings.samples * settings.seq_len
    streams = (2 + _CANDIDATES * _HELD_OUT_SHARE) * tokens * spec.hidden_size
    floats = tables + 3 * layer + statistics + streams + _LOGIT_COPIES * CHUNK_LOGITS
    return int(FLOAT_BYTES * floats) + spec.weight_bytes
