"""Samples as an encoder reads text: between the special tokens of its tokenizer."""

from __future__ import annotations

from dataclasses import replace

from toolchain.calibrate.sources import Samples

FRAME_TOKENS = 2
"""Tokens that framing adds to a sample."""


def framed(samples: Samples, first: int, last: int) -> Samples:
    """`samples` with the id `first` (CLS) before and `last` (SEP) after each of them."""

    def frame(sequences: list[list[int]]) -> list[list[int]]:
        return [[first, *ids, last] for ids in sequences]

    portions = tuple(
        replace(p, training=frame(p.training), held_out=frame(p.held_out)) for p in samples.portions
    )
    return replace(
        samples,
        training=frame(samples.training),
        held_out=frame(samples.held_out),
        portions=portions,
    )
