"""Calibration mixes: how they are written, and what is drawn from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_checkpoint import BOS, write_checkpoint

from toolchain.calibrate.mixture import calibration_samples, draw_mix, parse_mix, proportional
from toolchain.calibrate.overlap import Sketch
from toolchain.calibrate.sources import draw_samples
from toolchain.embedded import documents as stories
from toolchain.errors import BadRequestError
from toolchain.model.checkpoint import open_checkpoint


@pytest.mark.parametrize(
    ("text", "source", "weight"),
    [
        ("builtin", "builtin", 1.0),
        ("builtin:2", "builtin", 2.0),
        ("general.txt", "general.txt", 1.0),
        ("medical.txt:0.5", "medical.txt", 0.5),
        ("a:b.txt:.25", "a:b.txt", 0.25),
        ("hub:NAME", "hub:NAME", 1.0),
        ("hub:NAME:3", "hub:NAME", 3.0),
        ("hub:NAME:CONFIG:train", "hub:NAME:CONFIG:train", 1.0),
        ("hub:NAME:CONFIG:train:1e-1", "hub:NAME:CONFIG:train", 0.1),
        ("hub:NAME:2024:1", "hub:NAME:2024", 1.0),
    ],
)
def test_the_last_number_is_the_weight(text: str, source: str, weight: float) -> None:
    assert parse_mix([text]) == [(source, weight)]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "no calibration text"),
        (["a.txt:0"], "'a.txt:0' has the weight 0"),
        (["a.txt:-2"], "'a.txt:-2' has the weight -2"),
        (["a.txt:1e999"], "has the weight inf"),
        (["a.txt", "b.txt", "a.txt:2"], "a.txt is given twice"),
    ],
)
def test_a_bad_mix_is_one_line(texts: list[str], message: str) -> None:
    with pytest.raises(BadRequestError, match=message):
        parse_mix(texts)


@given(st.integers(0, 500), st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6))
def test_shares_add_up_and_are_within_one(total: int, weights: list[float]) -> None:
    counts = proportional(total, weights)
    assert sum(counts) == total
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - total * weight / sum(weights)) < 1 + 1e-9
    assert proportional(total, [3 * w for w in weights]) == counts or len(weights) > 1


def documents(count: int, length: int, first: int) -> list[list[int]]:
    """Documents whose tokens are all different, from `first` on."""
    return [[BOS, *range(first + i * length, first + (i + 1) * length)] for i in range(count)]


ONE, OTHER = documents(40, 25, 1), documents(40, 25, 10**6)


def test_a_single_source_is_drawn_as_ever() -> None:
    options = {"samples": 16, "seq_len": 11, "seed": 3, "bos_token_id": BOS}
    alone = draw_samples(ONE, source="t", **options)
    mixed = draw_mix([("t", 0.5)], [ONE], **options)
    assert mixed == alone
    # The ids that this seed has always drawn.
    expected = "f78b7b739ad05432bd43b232796c97822b7fb2ee41eac07878c60f7a4ffe168c"
    assert alone.record()["token_ids_sha256"] == expected


def test_samples_follow_the_weights_and_the_order_does_not_matter() -> None:
    options = {"samples": 30, "seq_len": 11, "seed": 3, "bos_token_id": BOS}
    mixed = draw_mix([("one", 1.0), ("other", 0.5)], [ONE, OTHER], **options)
    assert [len(p.training) for p in mixed.portions] == [20, 10]
    assert [len(p.held_out) for p in mixed.portions] == [2, 1]
    assert sorted(mixed.training) == sorted(s for p in mixed.portions for s in p.training)
    assert max(s[1] for s in mixed.training[:15]) >= 10**6 > min(s[1] for s in mixed.training[15:])
    used = {i for s in mixed.training for i in s} - {BOS}
    assert not used & {i for s in mixed.held_out for i in s}
    turned = draw_mix([("other", 0.5), ("one", 1.0)], [OTHER, ONE], **options)
    assert {p.source: p.training for p in turned.portions} == {
        p.source: p.training for p in mixed.portions
    }
    record = mixed.record()
    assert record["source"] == "one + other:0.5"
    assert record["samples"] == 30
    assert [s["samples"] for s in record["sources"]] == [20, 10]
    assert [s["weight"] for s in record["sources"]] == [1.0, 0.5]
    assert sum(s["tokens"] for s in record["sources"]) == record["tokens"]
    assert len({s["token_ids_sha256"] for s in record["sources"]}) == 2


def test_a_source_with_too_little_is_named() -> None:
    options = {"samples": 30, "seq_len": 11, "seed": 3, "bos_token_id": BOS}
    with pytest.raises(BadRequestError, match=r"text other gives 4 samples .* 10 \+ 1 held-out"):
        draw_mix([("one", 1.0), ("other", 0.5)], [ONE, documents(2, 20, 10**6)], **options)
    with pytest.raises(BadRequestError, match=r"weight 0\.001 of text other leaves it none of 30"):
        draw_mix([("one", 1.0), ("other", 0.001)], [ONE, OTHER], **options)


def test_texts_are_read_once_and_sketched(tmp_path: Path) -> None:
    tokenizer = open_checkpoint(write_checkpoint(tmp_path / "model")).tokenizer()
    texts = stories("train", 60)
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("\n\n".join(texts[:40]))
    other.write_text("\n\n".join(texts[20:]))
    drawn = calibration_samples(
        [str(one), f"{other}:0.5"], tokenizer, samples=16, seq_len=32, seed=1
    )
    assert [len(p.training) for p in drawn.portions] == [11, 5]
    # Of the other file's 40 texts 20 are in the first too: only the rest is there to draw from.
    assert set(drawn.portions[1].documents) <= set(range(20))
    sketch = Sketch.from_record(json.loads(json.dumps(drawn.record()))["sketch"])
    used = [texts[i] for i in drawn.portions[0].documents]
    assert sketch.overlap(used).share == 1
    assert sketch.overlap(stories("evaluation", 20)).share < 0.2
    again = calibration_samples([str(one)], tokenizer, samples=16, seq_len=32, seed=1)
    assert again.record()["sources"][0]["weight"] == 1.0
