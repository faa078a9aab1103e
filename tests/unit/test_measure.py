"""One launch: what it records, what it refuses, which tokens it never feeds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from handmade_bundle import BOS, EOS, VOCAB_SIZE, write_bundle

from runtime_py.bundle import open_bundle
from runtime_py.errors import BadRequestError
from runtime_py.measure import (
    check_protocol,
    drift_probe,
    measure,
    random_tokens,
    special_token_ids,
    timer_overhead_ns,
    workload,
)
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
    others = record.device["other_work_cores"]
    assert others.value is not None or "too short" in others.reason


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
    prompt = random_tokens(small, {0, 1, 9}, 2000)
    assert len(prompt) == 2000
    assert set(prompt) == {2, 3, 4, 5, 6, 7, 8}
    assert random_tokens(small, {0, 1, 9}, 8) == prompt[:8]
    # Written down: a change here makes old and new reports incomparable.
    assert random_tokens(manifest, {BOS, EOS}, 4) == PROMPT_START
    assert max(random_tokens(manifest, {BOS, EOS}, 2000)) < VOCAB_SIZE - 2


def test_what_precedes_the_prompt_is_the_prompt_again(bundle: Path, manifest: Manifest) -> None:
    work = workload(bundle, manifest, dataclasses.replace(SMALL, depth=11))
    assert len(work.prompt_ids) == 8
    assert work.depth_ids == [*work.prompt_ids, *work.prompt_ids[:3]]
    assert work.tokens == [*work.prompt_ids, *work.depth_ids]


def test_phases(bundle: Path, manifest: Manifest) -> None:
    cold = measure(bundle, manifest, dataclasses.replace(SMALL, phase="cold"))
    assert (cold.phase, cold.samples, cold.trace) == ("cold", [], [])
    assert "page_cache_resident" in cold.device
    memory = measure(bundle, manifest, dataclasses.replace(SMALL, phase="memory"))
    assert len(memory.samples) == 1
    sizes = (memory.anon_bytes, memory.file_bytes, memory.pss_bytes, memory.base_rss_bytes)
    assert all(sizes)
    assert memory.peak_rss_bytes is not None
    assert memory.peak_rss_bytes >= sum(size for size in sizes[:2] if size)
    sustained = dataclasses.replace(SMALL, phase="sustained", sustained_s=0.2)
    record = measure(bundle, manifest, sustained)
    last = record.samples[-1]
    assert last.start_ns + last.ttft_ns + sum(last.token_ns) >= 0.2e9
    starts = [sample.start_ns for sample in record.samples]
    assert starts == sorted(starts)


def test_what_a_launch_says_about_the_machine(bundle: Path, manifest: Manifest) -> None:
    record = measure(bundle, manifest, SMALL)
    assert len(record.trace) == SMALL.repetitions + 1
    assert [s.at_ns for s in record.trace] == sorted(s.at_ns for s in record.trace)
    assert len(record.drift_ns) == 2
    assert record.clock_jump_ns is not None
    assert abs(record.clock_jump_ns) < 1e9
    assert record.device["cpu_affinity"].value
    overhead = record.device["timer_overhead_ns"].value
    assert isinstance(overhead, float)
    assert 1 < overhead < 1e5


def test_the_drift_probe_is_the_fastest_of_its_rounds() -> None:
    ticks = iter(range(0, 10**6, 7))
    assert drift_probe(lambda: next(ticks)) == 7


def test_the_cost_of_the_clock_is_exact_with_a_made_up_one() -> None:
    ticks = iter(range(0, 10**9, 40))
    assert timer_overhead_ns(lambda: next(ticks), calls=100) == 40


PROMPT_START = [161, 121, 209, 37]


def test_a_vocabulary_of_specials_is_refused(manifest: Manifest) -> None:
    with pytest.raises(BadRequestError, match="all 2 tokens"):
        random_tokens(dataclasses.replace(manifest, vocab_size=2), {0, 1}, 3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt_tokens", 0),
        ("generated_tokens", 0),
        ("repetitions", -1),
        ("launches", 0),
        ("threads", 0),
        ("warmup", -1),
        ("depth", -1),
        ("sustained_s", -1.0),
        ("phase", "warm"),
        ("affinity", "small"),
        ("engine", "native"),
    ],
)
def test_impossible_protocols_are_refused(manifest: Manifest, field: str, value: int | str) -> None:
    words = "the native runner" if value == "native" else f"{field} is "
    with pytest.raises(BadRequestError, match=words):
        check_protocol(dataclasses.replace(SMALL, **{field: value}), manifest)


def test_a_protocol_larger_than_the_context_is_refused(manifest: Manifest) -> None:
    check_protocol(dataclasses.replace(SMALL, prompt_tokens=43), manifest)
    with pytest.raises(BadRequestError, match="44 prompt tokens and 5 new ones exceed"):
        check_protocol(dataclasses.replace(SMALL, prompt_tokens=44), manifest)
    with pytest.raises(BadRequestError, match="48 prompt tokens and 5 new ones exceed"):
        check_protocol(dataclasses.replace(SMALL, prompt_tokens=43, depth=5), manifest)
