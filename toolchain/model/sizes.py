"""How much is computed at a time, where that decides how much memory it takes. Torch-free."""

from __future__ import annotations

SLICE_ELEMENTS = 1 << 24
"""Elements of the head in float32 at a time (64 MiB); a smaller head is kept whole."""

CHUNK_LOGITS = 1 << 21
"""Logits at a time: positions by vocabulary entries (8 MiB of float32)."""

WIDEST_ACTIVATION = 1 << 23
"""Elements of an MLP's inner activation for one batch (32 MiB of float32; there are several)."""

SOLVED_AT_A_TIME = 512
"""Rows or columns that are in float64 at a time beside the one matrix."""

STEP_TOKENS = 2048
"""The most held-out tokens that judge a single step; all of them judge the whole."""
