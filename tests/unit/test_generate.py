"""The generation loop, on a rule whose every token is known, and on a real runtime."""

from __future__ import annotations

from pathlib import Path

import pytest
from handmade_bundle import BOS, reference_greedy, write_bundle

from runtime_py.engines import open_engine
from runtime_py.engines.fake import FakeEngine
from runtime_py.errors import BadRequestError
from runtime_py.generate import generate, timed_generation


def _rule(seed: int, vocab_size: int, prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        ids.append((seed + 31 * ids[-1] + 7 * (len(ids) - 1)) % vocab_size)
    return ids[len(prompt) :]


def test_follows_the_rule() -> None:
    engine = FakeEngine(vocab_size=61, context_length=40, seed=5)
    assert list(generate(engine, [3, 1, 4], 20)) == _rule(5, 61, [3, 1, 4], 20)
    # Once more on the used engine: generation starts from an empty cache.
    assert list(generate(engine, [1], 7)) == _rule(5, 61, [1], 7)


def test_ends_with_the_first_eos() -> None:
    expected = _rule(0, 64, [1], 12)
    eos = {expected[3], expected[8]}
    tokens = list(generate(FakeEngine(), [1], 12, eos))
    assert tokens == expected[: expected.index(tokens[-1]) + 1]
    assert tokens[-1] in eos
    assert not set(tokens[:-1]) & eos


def test_streams_one_token_per_step() -> None:
    engine = FakeEngine()
    stream = generate(engine, [1, 2], 5)
    positions = [engine.position for _ in stream]
    assert positions == [2, 3, 4, 5, 6], "the last token is not run"


def test_too_long_is_refused_before_anything_runs() -> None:
    engine = FakeEngine(context_length=8)
    with pytest.raises(BadRequestError, match=r"4 prompt tokens and 5 new ones exceed .* of 8"):
        generate(engine, [1, 2, 3, 4], 5)
    assert engine.position == 0
    assert len(list(generate(engine, [1, 2, 3, 4], 4))) == 4


def test_a_real_runtime_follows_the_reference(tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path / "b")
    engine = open_engine(tmp_path / "b", manifest)
    assert list(generate(engine, [BOS, 72, 105], 30)) == reference_greedy([BOS, 72, 105], 30)


def test_timed_generation_counts_every_step() -> None:
    engine = FakeEngine()
    sample = timed_generation(engine, [1, 2, 3], 6)
    assert len(sample.token_ns) == 6
    assert engine.position == 9
    assert 0 < sample.prefill_ns <= sample.ttft_ns
    assert all(ns > 0 for ns in sample.token_ns)
    with pytest.raises(BadRequestError):
        timed_generation(engine, [1] * 30, 3)
