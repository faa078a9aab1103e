"""Calibration text from several sources, in proportion to their weights.

A source is written `SOURCE` or `SOURCE:WEIGHT`, such as `general.txt` and `medical.txt:0.5`, or
`hub:NAME:CONFIG:2`. What stands after the last colon is a weight if it is a number; a source whose
own name ends so needs its weight spelt out: `hub:NAME:2024:1`.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from toolchain.calibrate.overlap import Sketch
from toolchain.calibrate.sources import (
    Cutter,
    Portion,
    Samples,
    draw_samples,
    encode,
    held_out_count,
    read_documents,
)
from toolchain.errors import BadRequestError

_WEIGHTED = re.compile(r"(.+):([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)", re.IGNORECASE)


def parse_mix(texts: Sequence[str]) -> list[tuple[str, float]]:
    """Sources and their weights; a weight that is not given is 1.

    Raises:
        BadRequestError: no source, one that is given twice, or a weight that is not positive.
    """
    mix: list[tuple[str, float]] = []
    for text in texts:
        match = _WEIGHTED.fullmatch(text)
        source, weight = (match[1], float(match[2])) if match else (text, 1.0)
        if not 0 < weight < math.inf:
            raise BadRequestError(
                f"calibration '{text}' has the weight {weight:g}", "give a positive number"
            )
        if any(source == other for other, _ in mix):
            raise BadRequestError(f"calibration text {source} is given twice", "give it once")
        mix.append((source, weight))
    if not mix:
        raise BadRequestError("no calibration text", "give 'builtin' or a text file")
    return mix


def calibration_samples(
    texts: Sequence[str], tokenizer: Any, *, samples: int, seq_len: int, seed: int
) -> Samples:
    """Read, encode and draw calibration text, with a sketch of the documents drawn from.

    A document of a source that an earlier one has too is left out of it.

    Args:
        texts: sources as `parse_mix` reads them.
        tokenizer: a transformers tokenizer.
        samples: over all sources; another max(2, samples // 8) are held out.
        seq_len: most tokens of one sample.
        seed: of the draw.

    Raises:
        BadRequestError: as `parse_mix`, `read_documents` and `draw_mix`.
        MissingError: a Hub dataset that cannot be had here.
    """
    mix = parse_mix(texts)
    seen: set[str] = set()
    documents = []
    for source, _ in mix:
        found = [text for text in read_documents(source, "calibration") if text not in seen]
        if len(mix) > 1:
            seen.update(found)
        documents.append(found)
    drawn = draw_mix(
        mix,
        [encode(tokenizer, found) if found else [] for found in documents],
        samples=samples,
        seq_len=seq_len,
        seed=seed,
        bos_token_id=tokenizer.bos_token_id,
    )
    used = [
        found[index]
        for portion, found in zip(drawn.portions, documents, strict=True)
        for index in portion.documents
    ]
    return Samples(
        drawn.source, seed, drawn.training, drawn.held_out, drawn.portions, Sketch.of(used)
    )


def draw_mix(
    mix: Sequence[tuple[str, float]],
    documents: Sequence[Sequence[Sequence[int]]],
    *,
    samples: int,
    seq_len: int,
    seed: int,
    bos_token_id: int | None,
) -> Samples:
    """Draw from each source in proportion to its weight; so are the held-out samples.

    What is drawn from a source does not depend on the order in which sources are given. A single
    source is drawn as by `draw_samples`.

    Args:
        mix: sources and weights.
        documents: token ids of each source's documents.
        samples: over all sources.
        seq_len: most tokens of one sample.
        seed: of the draw.
        bos_token_id: the id that opens a document, if the model has one.

    Raises:
        BadRequestError: a source with too little text, or too little weight for a single sample.
    """
    if len(mix) == 1:
        return draw_samples(
            documents[0],
            source=mix[0][0],
            samples=samples,
            seq_len=seq_len,
            seed=seed,
            bos_token_id=bos_token_id,
        )
    weights = [weight for _, weight in mix]
    cutter = Cutter(seq_len, bos_token_id)
    portions: list[Portion] = []
    for (source, weight), found, count, held_out in zip(
        mix,
        documents,
        proportional(samples, weights),
        proportional(held_out_count(samples), weights),
        strict=True,
    ):
        if not count:
            raise BadRequestError(
                f"the weight {weight:g} of text {source} leaves it none of {samples} samples",
                "give it a larger weight, or use more --samples",
            )
        generator = random.Random(f"{seed} {source}")  # noqa: S311 - reproducible, not secret
        portions.append(cutter.draw(found, source, weight, count, held_out, generator))
    training = [sample for portion in portions for sample in portion.training]
    random.Random(seed).shuffle(training)  # noqa: S311
    return Samples(
        source=" + ".join(
            source if weight == 1 else f"{source}:{weight:g}" for source, weight in mix
        ),
        seed=seed,
        training=training,
        held_out=[sample for portion in portions for sample in portion.held_out],
        portions=tuple(portions),
    )


def proportional(total: int, weights: Sequence[float]) -> list[int]:
    """Split `total` in proportion to `weights`, by largest remainder; ties go to the first."""
    exact = [Fraction(weight) for weight in weights]
    shares = [total * weight / sum(exact) for weight in exact]
    counts = [int(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: counts[i] - shares[i])
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts
