"""Overlap of texts against sets of word n-grams, and what survives in a sketch."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.calibrate.overlap import OCCURS, SHINGLE_WORDS, Overlap, Sketch, overlap
from toolchain.calibrate.sources import read_documents
from toolchain.errors import BadRequestError

documents = st.lists(
    st.lists(st.sampled_from(["one", "two", "three"]), max_size=SHINGLE_WORDS + 8).map(" ".join),
    max_size=8,
)


def shingles(document: str) -> set[tuple[str, ...]]:
    words = document.split()
    length = min(SHINGLE_WORDS, len(words))
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1) if length}


@settings(deadline=None, max_examples=200)
@given(documents, documents)
def test_it_counts_shared_word_ngrams(calibration: list[str], evaluation: list[str]) -> None:
    known = set().union(*map(shingles, calibration)) if calibration else set()
    counts = [(len(s & known), len(s)) for s in map(shingles, evaluation) if s]
    assert overlap(calibration, evaluation) == Overlap(
        documents=len(counts),
        occurring_documents=sum(found > OCCURS * whole for found, whole in counts),
        shingles=sum(whole for _, whole in counts),
        occurring_shingles=sum(found for found, _ in counts),
    )


@settings(deadline=None, max_examples=100)
@given(documents, documents, st.integers(1, 30))
def test_a_sketch_never_sees_what_is_not_there(
    calibration: list[str], evaluation: list[str], size: int
) -> None:
    exact = overlap(calibration, evaluation)
    found = Sketch.of(calibration, size).overlap(evaluation)
    assert found.shingles <= exact.shingles
    assert found.occurring_shingles <= exact.occurring_shingles
    if not exact.occurring_shingles:
        assert not found.warning
    whole = Sketch.of(calibration, size).overlap(calibration)
    assert whole.occurring_documents == whole.documents


def stories(count: int, seed: int) -> list[str]:
    """Documents of random words."""
    generator = random.Random(seed)  # noqa: S311 - reproducible, not secret
    return [" ".join(f"w{generator.randrange(5000)}" for _ in range(200)) for _ in range(count)]


def test_a_sketch_of_a_large_text_finds_the_share_and_stays_small() -> None:
    calibration, fresh = stories(250, 1), stories(300, 2)
    record = Sketch.of(calibration).record()
    assert len(json.dumps(record)) < 33 * 1024
    sketch = Sketch.from_record(json.loads(json.dumps(record)))
    assert not sketch.complete
    found = sketch.overlap([*calibration[:100], *fresh])
    assert found.documents > 350  # of 400, each with a dozen shingles that the sketch can know
    assert found.share == pytest.approx(0.25, abs=0.05)
    assert found.warning.endswith("% of the evaluation documents occur in the calibration text")
    assert not sketch.overlap(fresh).warning


def test_case_and_punctuation_do_not_hide_a_copy() -> None:
    text = "The old cat sat on a mat, and then it saw the small dog that barked. It ran away!"
    assert overlap([text], [text.upper().replace(",", " -")]).share == 1
    assert overlap([text], ["Something else, " + text]).share == 1
    assert overlap([text], ["the old cat sat on a mat"]).share == 0
    assert overlap([text], []) == Overlap(0, 0, 0, 0)
    assert overlap([text], [" .. "]).documents == 0


def test_the_warning_is_one_line() -> None:
    assert Overlap(8, 1, 100, 12).warning == (
        "12.5% of the evaluation documents occur in the calibration text"
    )
    assert Overlap(8, 0, 100, 12).warning == ""


def test_built_in_stories_share_few_shingles_and_no_documents() -> None:
    calibration = read_documents("builtin", "calibration")
    assert overlap(calibration, read_documents("builtin", "evaluation")).share < 0.05
    assert overlap(calibration, calibration[:50]).share == 1


@pytest.mark.parametrize(
    "changes", [{"hashes": "?"}, {"hashes": "AAAA"}, {"hashes": None}, {"shingle_words": 5}]
)
def test_a_broken_sketch_is_one_line(changes: dict[str, Any]) -> None:
    record = Sketch.of(["some words that are here"]).record()
    with pytest.raises(BadRequestError, match="sketch cannot be read"):
        Sketch.from_record({**record, **changes})
