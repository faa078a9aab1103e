"""One launch: what it records, what it refuses, which tokens it never feeds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from handmade_bundle import BOS, EOS, VOCAB_SIZE, write_bundle

from runtime_py.bundle import open_bundle
from runtime_py.errors import BadRequestError
from runtime_py.measure import check_protocol, measure, random_prompt, special_token_ids
from runtime_py.schema import Manifest, Protocol

SMALL = Protocol(prompt_tokens=8, generated_tokens=5, repetitions=2, launches=2, warmup=1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("measure") / "bundle"
    write_bundle(path)
    return path


@pytest.fixture
def manifest(bundle: Path) -> Manifest:
    return open_bundle(bundle)


def test_a_launch_record(bundle: Path, manifest: Manifest) -> None:
    record = measure(bundle, manifest, SMALL)
    assert record.load_ns > 0
    assert record.engine == "onnxruntime"
    assert len(record.samples) == 2, "warm-ups are thrown away"
    for sample in record.samples:
        assert len(sample.token_ns) == 5
        assert 0 < sample.prefill_ns <= sample.ttft_ns
    assert record.peak_rss_bytes
    assert record.device["cpu_count"].value
    assert record.device["other_work_cores"].value is not None


def test_special_tokens_come_from_manifest_and_tokenizer(bundle: Path, manifest: Manifest) -> None:
    bare = dataclasses.replace(manifest, bos_token_id=None, eos_token_ids=[3])
    assert special_token_ids(bundle, manifest) == {BOS, EOS}
    assert special_token_ids(bundle, bare) == {BOS, EOS, 3}
    assert special_token_ids(bundle / "absent", bare) == {3}


def test_an_added_token_that_is_not_special_is_ordinary(tmp_path: Path, manifest: Manifest) -> None:
    added = [{"id": 7, "special": False}, {"id": 8, "special": True}]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    assert special_token_ids(tmp_path, manifest) == {BOS, EOS, 8}


def test_the_prompt_is_the_same_everywhere_and_has_no_special_token(manifest: Manifest) -> None:
    small = dataclasses.replace(manifest, vocab_size=10)
    protocol = dataclasses.replace(SMALL, prompt_tokens=2000)
    prompt = random_prompt(small, {0, 1, 9}, protocol)
    assert len(prompt) == 2000
    assert set(prompt) == {2, 3, 4, 5, 6, 7, 8}
    assert random_prompt(small, {0, 1, 9}, SMALL) == prompt[:8]
    # Written down: a change here makes old and new reports incomparable.
    assert random_prompt(manifest, {BOS, EOS}, SMALL)[:4] == PROMPT_START
    assert max(random_prompt(manifest, {BOS, EOS}, protocol)) < VOCAB_SIZE - 2


PROMPT_START = [161, 121, 209, 37]


def test_a_vocabulary_of_specials_is_refused(manifest: Manifest) -> None:
    with pytest.raises(BadRequestError, match="all 2 tokens"):
        random_prompt(dataclasses.replace(manifest, vocab_size=2), {0, 1}, SMALL)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt_tokens", 0),
        ("generated_tokens", 0),
        ("repetitions", -1),
        ("launches", 0),
        ("threads", 0),
        ("warmup", -1),
    ],
)
def test_impossible_protocols_are_refused(manifest: Manifest, field: str, value: int) -> None:
    with pytest.raises(BadRequestError, match=f"{field} is {value}"):
        check_protocol(dataclasses.replace(SMALL, **{field: value}), manifest)


def test_a_protocol_larger_than_the_context_is_refused(manifest: Manifest) -> None:
    check_protocol(dataclasses.replace(SMALL, prompt_tokens=43), manifest)
    with pytest.raises(BadRequestError, match="44 prompt tokens and 5 new ones exceed"):
        check_protocol(dataclasses.replace(SMALL, prompt_tokens=44), manifest)
