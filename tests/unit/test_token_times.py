"""The Python measuring path on a made-up clock: every nanosecond is where it belongs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from handmade_bundle import write_bundle

from runtime_py import measure as measuring
from runtime_py.engines.fake import FakeEngine, Row
from runtime_py.generate import timed_generation
from runtime_py.measure import SAMPLING_NS, measure
from runtime_py.schema import Manifest, Protocol, Snapshot

READING_NS = 3
"""What each reading of the clock takes."""
CHOICE_NS = 50
PREFILL_NS, DECODE_NS = 1000, 400
SENSORS_NS = 70_000


class Clock:
    """Moves by itself when it is read, else only when somebody works."""

    def __init__(self) -> None:
        self.now = 10**9

    def __call__(self) -> int:
        self.now += READING_NS
        return self.now


class SlowRow(Row):
    """Takes its time to say which logit is the largest."""

    clock: Clock

    def argmax(self) -> int:
        self.clock.now += CHOICE_NS
        return super().argmax()


class Engine(FakeEngine):
    """PREFILL_NS per token of a prompt; DECODE_NS per step, one more for each step before it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(vocab_size=258, context_length=48)
        self._clock = clock
        self._steps = 0

    def _slow(self, row: Row) -> SlowRow:
        slow = SlowRow(row)
        slow.clock = self._clock
        return slow

    def prefill_last(self, token_ids: Sequence[int]) -> Row:
        self._clock.now += PREFILL_NS * len(token_ids)
        return self._slow(super().prefill(token_ids)[-1])

    def step(self, token_id: int) -> Row:
        self._clock.now += DECODE_NS + self._steps
        self._steps += 1
        return self._slow(super().prefill([token_id])[0])

    def reset(self) -> None:
        super().reset()
        self._steps = 0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return write_bundle(tmp_path / "bundle")


@pytest.fixture
def machine(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The engine opens in no time; each look at the sensors takes SENSORS_NS."""

    def look(at_ns: int) -> Snapshot:
        clock.now += SENSORS_NS
        return Snapshot(at_ns, {"governor": "made up"})

    monkeypatch.setattr(measuring, "open_engine", lambda *_: Engine(clock))
    monkeypatch.setattr(measuring.sensors, "snapshot", look)
    return clock


STEP_NS = [DECODE_NS + i + CHOICE_NS + READING_NS for i in range(6)]


def test_a_repetition(clock: Clock) -> None:
    sample = timed_generation(Engine(clock), [1, 2, 3], 6, clock=clock)
    assert sample.prefill_ns == 3 * PREFILL_NS + READING_NS
    assert sample.ttft_ns == 3 * PREFILL_NS + CHOICE_NS + 2 * READING_NS
    assert sample.token_ns == STEP_NS


def test_what_precedes_the_prompt_is_not_timed(clock: Clock) -> None:
    sample = timed_generation(Engine(clock), [1, 2, 3], 6, depth_ids=[4] * 20, clock=clock)
    assert sample.prefill_ns == 3 * PREFILL_NS + READING_NS
    assert sample.token_ns == STEP_NS


def test_what_happens_between_two_tokens_counts_for_neither(clock: Clock) -> None:
    def interrupt(now: int) -> int:
        if now % 2:
            return now
        clock.now += 10**6
        return clock()

    sample = timed_generation(Engine(clock), [1], 6, after_token=interrupt, clock=clock)
    assert sample.token_ns == STEP_NS


def test_a_launch(tmp_path: Path, manifest: Manifest, machine: Clock) -> None:
    protocol = Protocol(prompt_tokens=8, generated_tokens=6, repetitions=3, warmup=2, depth=5)
    record = measure(tmp_path / "bundle", manifest, protocol, machine)
    assert [sample.token_ns for sample in record.samples] == [STEP_NS] * 3
    assert {sample.prefill_ns for sample in record.samples} == {8 * PREFILL_NS + READING_NS}
    # One repetition after the other, the sensors read between them, none of it in a token's time.
    repetition = 8 * PREFILL_NS + CHOICE_NS + 3 * READING_NS + sum(STEP_NS)
    depth = 5 * PREFILL_NS
    starts = [sample.start_ns for sample in record.samples]
    assert [b - a for a, b in itertools.pairwise(starts)] == [
        repetition + depth + SENSORS_NS + READING_NS
    ] * 2
    ends = [s.start_ns + s.ttft_ns + sum(s.token_ns) for s in record.samples]
    assert [seen.at_ns for seen in record.trace] == [0, *(end + READING_NS for end in ends)]


def test_a_sustained_launch_looks_between_tokens(
    tmp_path: Path, manifest: Manifest, machine: Clock
) -> None:
    protocol = Protocol(8, 6, phase="sustained", sustained_s=5.0)
    # A step takes a while here, so that a look is due in the middle of a repetition.
    machine_step = SAMPLING_NS // 4
    engine_steps = [machine_step + ns for ns in STEP_NS]

    class Slower(Engine):
        def step(self, token_id: int) -> Row:
            machine.now += machine_step
            return super().step(token_id)

    measuring.open_engine = lambda *_: Slower(machine)  # the fixture puts it back
    record = measure(tmp_path / "bundle", manifest, protocol, machine)
    assert [sample.token_ns for sample in record.samples] == [engine_steps] * len(record.samples)
    stamps = [seen.at_ns for seen in record.trace]
    assert stamps[0] == 0
    assert len(stamps) >= 3
    assert all(b - a >= SAMPLING_NS for a, b in itertools.pairwise(stamps))
    last = record.samples[-1]
    assert last.start_ns < 5e9 <= last.start_ns + last.ttft_ns + sum(last.token_ns)


def test_the_probe_and_the_clock_are_timed_with_the_same_clock(
    tmp_path: Path, manifest: Manifest, machine: Clock
) -> None:
    record = measure(tmp_path / "bundle", manifest, Protocol(8, 6, repetitions=1), machine)
    assert record.drift_ns == [READING_NS] * 2, "hashing takes no time on this clock"
    assert record.device["timer_overhead_ns"].value == READING_NS
