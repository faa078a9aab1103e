"""G1: a real engine passes, and each planted fault is caught by the finding meant for it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from handmade_bundle import write_bundle
from numpy.typing import NDArray
from torch import nn

from runtime_py.bundle import open_bundle
from runtime_py.engines import Engine, open_engine
from runtime_py.schema import ParityRecord
from toolchain.embedded import MODEL_DIR
from toolchain.errors import BadRequestError
from toolchain.model import families
from toolchain.model.checkpoint import open_checkpoint
from toolchain.validation.forced import ParityNumbers, compare_engine, expected_logits
from toolchain.validation.logits import ROWS, LogitDifference
from toolchain.validation.parity import (
    LIMITS,
    ParityLimits,
    limits_of,
    parity_gate,
    parity_records,
    recorded_failures,
)
from toolchain.validation.text import read_gate_text
from toolchain.validation.verdict import FAIL, PASS, GateResult

Logits = NDArray[np.float32]
FLOAT = LIMITS["onnx", "none"]


class Faulty:
    """The real engine, with the tokens it was given since the last reset, to plant faults in."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.history: list[int] = []
        self.name, self.versions = engine.name, engine.versions
        self.vocab_size, self.context_length = engine.vocab_size, engine.context_length
        self.load_ns = engine.load_ns

    @property
    def position(self) -> int:
        return len(self.history)

    def prefill(self, token_ids: Sequence[int]) -> Logits:
        self.history += token_ids
        return self.engine.prefill(token_ids)

    def step(self, token_id: int) -> Logits:
        self.history.append(token_id)
        return self.engine.step(token_id)

    def rewind(self, position: int) -> None:
        del self.history[position:]
        self.engine.rewind(position)

    def reset(self) -> None:
        self.history = []
        self.engine.reset()


class OffByOne(Faulty):
    """Decode writes each token over the one before it."""

    def step(self, token_id: int) -> Logits:
        before = self.history[:-1]
        self.history.append(token_id)
        self.engine.reset()
        return self.engine.prefill([*before, token_id])[-1]


class StaleCache(Faulty):
    """`reset` leaves the last token in the cache."""

    def reset(self) -> None:
        left = self.history[-1:]
        super().reset()
        if left:
            self.engine.prefill(left)


class LostPrompt(Faulty):
    """Decode starts again from nothing after a prefill."""

    def prefill(self, token_ids: Sequence[int]) -> Logits:
        logits = super().prefill(token_ids)
        self.engine.reset()
        return logits


class Noisy(Faulty):
    """Prefill is off by `size` in one logit."""

    size = 2e-3

    def prefill(self, token_ids: Sequence[int]) -> Logits:
        logits = super().prefill(token_ids).copy()
        logits[0, 0] += self.size
        return logits


class Tolerable(Noisy):
    size = 5e-4


class NotANumber(Noisy):
    size = math.nan


class Random(Faulty):
    """The last bits differ from call to call."""

    def prefill(self, token_ids: Sequence[int]) -> Logits:
        return super().prefill(token_ids) + np.float32(1e-5 * np.random.default_rng().random())


class WrongPosition(Faulty):
    """The logits are right, the count is not."""

    @property
    def position(self) -> int:
        return max(0, len(self.history) - 1)


@pytest.fixture(scope="module")
def engine(embedded_bundle: Callable[[str], Path]) -> Engine:
    bundle = embedded_bundle("onnx")
    return open_engine(bundle, open_bundle(bundle), 1)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return open_checkpoint(MODEL_DIR).load()


@pytest.fixture(scope="module")
def sequences(engine: Engine) -> list[list[int]]:
    """Two documents, short enough to leave a stale cache some room."""
    documents = read_gate_text("builtin", open_checkpoint(MODEL_DIR).tokenizer()).documents
    return [ids[: engine.context_length - 8] for ids in documents[:2]]


def judge(engine: Engine, model: nn.Module, sequences: list[list[int]]) -> GateResult:
    return parity_gate(compare(engine, model, sequences), FLOAT)


def compare(engine: Engine, model: nn.Module, sequences: list[list[int]]) -> ParityNumbers:
    return compare_engine(engine, [expected_logits(model, ids) for ids in sequences])


def failed(result: GateResult) -> set[str]:
    return {finding.name for finding in result.findings if not finding.passed}


def test_the_exported_model_passes(
    engine: Engine, model: nn.Module, sequences: list[list[int]]
) -> None:
    full = [*sequences, (sequences[0] * 9)[: engine.context_length]]
    result = judge(engine, model, full)
    assert result.outcome == PASS, result.sentence
    assert failed(result) == set()
    assert result.measures["positions"].value == sum(map(len, full))
    for way in ("prefill", "decode", "decode_after_prefill"):
        assert 0 < (result.measures[f"{way}_max_abs_logit"].value or 0) < 1e-3
        assert (result.measures[f"{way}_sqnr_db"].value or 0) > 80


@pytest.mark.parametrize(
    ("fault", "caught_by"),
    [
        (OffByOne, {"decode = torch", "decode after prefill = torch", "prefill = decode"}),
        (StaleCache, {"prefill = torch", "decode = torch", "replay after reset"}),
        (LostPrompt, {"decode after prefill = torch"}),
        (Noisy, {"prefill = torch", "prefill = decode"}),
        (NotANumber, {"finite logits", "prefill = torch"}),
        (Random, {"replay after reset"}),
        (WrongPosition, {"position"}),
    ],
)
def test_a_planted_fault_is_caught(
    fault: type[Faulty],
    caught_by: set[str],
    engine: Engine,
    model: nn.Module,
    sequences: list[list[int]],
) -> None:
    result = judge(fault(engine), model, sequences)
    assert result.outcome == FAIL
    assert caught_by <= failed(result)
    assert result.sentence in {f.sentence for f in result.findings if not f.passed}


@pytest.mark.parametrize("fault", [LostPrompt, Random, WrongPosition])
def test_a_fault_is_not_blamed_on_another_finding(
    fault: type[Faulty], engine: Engine, model: nn.Module, sequences: list[list[int]]
) -> None:
    names = failed(judge(fault(engine), model, sequences))
    assert "prefill = torch" not in names
    assert "decode = torch" not in names


def test_a_difference_inside_the_limit_passes(
    engine: Engine, model: nn.Module, sequences: list[list[int]]
) -> None:
    assert judge(Tolerable(engine), model, sequences).outcome == PASS


def test_a_dropped_layer_is_caught(
    engine: Engine, model: nn.Module, sequences: list[list[int]]
) -> None:
    shallow = copy.deepcopy(model)
    del families.decoder_layers(shallow)[2]
    result = judge(engine, shallow, sequences)
    assert result.outcome == FAIL
    assert {"prefill = torch", "decode = torch", "prefill top-1"} <= failed(result)
    assert "prefill = decode" not in failed(result)


def test_too_many_flipped_tokens_fail_however_small_the_difference() -> None:
    reference = torch.zeros(10, 4)
    reference[:, 1] = 1e-5
    candidate = torch.zeros(10, 4)
    candidate[:, 2] = 1e-5
    numbers = ParityNumbers()
    for difference in (numbers.prefill, numbers.decode, numbers.continued, numbers.modes):
        difference.add(reference, candidate)
    assert {"prefill top-1", "decode top-1"} <= failed(parity_gate(numbers, FLOAT))


def test_differences_equal_brute_force_in_any_split() -> None:
    generator = torch.Generator().manual_seed(5)
    reference = torch.randn(ROWS + 9, 11, generator=generator)
    candidate = reference + 0.1 * torch.randn(ROWS + 9, 11, generator=generator)
    whole, parts = LogitDifference(), LogitDifference()
    whole.add(reference, candidate)
    for start in range(0, len(reference), 7):
        parts.add(reference[start : start + 7], candidate[start : start + 7])
    error = (candidate - reference).double()
    p, q = reference.double().log_softmax(-1), candidate.double().log_softmax(-1)
    assert whole.max_abs == pytest.approx(float(error.abs().max()), rel=1e-6)
    assert whole.mean_abs == pytest.approx(float(error.abs().mean()), rel=1e-6)
    ratio = float(reference.double().square().sum() / error.square().sum())
    assert whole.sqnr_db == pytest.approx(10 * math.log10(ratio), rel=1e-6)
    assert whole.mean_kl == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()))
    agree = (reference.argmax(-1) == candidate.argmax(-1)).double().mean()
    assert whole.top1 == pytest.approx(float(agree))
    for name in ("positions", "max_abs", "mean_abs", "sqnr_db", "mean_kl", "top1"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name))


def test_equal_logits_have_an_infinite_ratio() -> None:
    difference = LogitDifference()
    difference.add(torch.ones(2, 3), torch.ones(2, 3))
    assert difference.sqnr_db == math.inf


def test_a_quantisation_without_a_rule_is_refused() -> None:
    with pytest.raises(BadRequestError, match="no parity rule for onnx with quantisation '8da4w'"):
        limits_of("onnx", "8da4w")


@pytest.mark.parametrize(
    ("limits", "passes"),
    [
        (ParityLimits(top1=0.5, sqnr_db=19), True),
        (ParityLimits(top1=0.5, sqnr_db=21), False),
        (ParityLimits(top1=0.5, kl_nats=0.1), True),
        (ParityLimits(top1=0.5, kl_nats=1e-6), False),
        (ParityLimits(top1=0.5, max_abs_logit=10), True),
        (ParityLimits(top1=0.5, max_abs_logit=0.01), False),
    ],
)
def test_each_limit_is_held(limits: ParityLimits, passes: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    reference = torch.randn(50, 7, generator=generator)
    reference[:, 2] += 4  # every position's most likely token
    noise = torch.randn(50, 7, generator=generator)
    # 20 dB
    noise *= 0.1 * reference.norm() / noise.norm()
    numbers = ParityNumbers()
    for difference in (numbers.prefill, numbers.decode, numbers.continued, numbers.modes):
        difference.add(reference, reference + noise)
    result = parity_gate(numbers, limits)
    assert (result.outcome == PASS) == passes
    names = {"prefill = torch", "decode = torch", "decode after prefill = torch"}
    assert failed(result) == (set() if passes else {*names, "prefill = decode"})


def test_what_the_export_found_wrong_stays_wrong(
    engine: Engine, model: nn.Module, sequences: list[list[int]]
) -> None:
    numbers = compare(engine, model, sequences)
    result = parity_gate(numbers, FLOAT, recorded=["the export recorded a fault"])
    assert result.outcome == FAIL
    assert result.sentence == "the export recorded a fault"
    assert failed(result) == {"recorded at export"}


def test_the_record_covers_every_way_of_feeding_tokens(
    engine: Engine, model: nn.Module, sequences: list[list[int]]
) -> None:
    numbers = compare(LostPrompt(engine), model, sequences)
    (record,) = parity_records(numbers, parity_gate(numbers, FLOAT), quantized=False)
    assert (record.reference, record.candidate, record.output) == ("float", "artifact", "logits")
    assert record.passed is False
    assert record.max_abs == numbers.continued.max_abs > numbers.prefill.max_abs
    counted = (numbers.prefill, numbers.decode, numbers.continued)
    assert record.positions == sum(difference.positions for difference in counted)
    whole = LogitDifference()
    for difference in counted:
        whole.merge(difference)
    assert record.kl_nats == pytest.approx(whole.mean_kl)
    assert record.sqnr_db == pytest.approx(whole.sqnr_db)


def test_a_bundle_remembers_what_its_export_found_wrong(tmp_path: Path) -> None:
    values = (3, 0.5, 0.1, 20.0, 0.9, 0.2, None)
    wrong = ParityRecord("float", "logits", *values, False, "top-1 >= 1")
    reported = ParityRecord("float", "logits", *values, None, "reported")
    write_bundle(tmp_path / "good", parity=[reported])
    write_bundle(tmp_path / "bad", parity=[wrong, reported])
    good, bad = open_bundle(tmp_path / "good"), open_bundle(tmp_path / "bad")
    assert good.faithful
    assert recorded_failures(good) == []
    assert not bad.faithful
    assert recorded_failures(bad) == [
        "the export recorded that logits differ from torch's (top-1 >= 1)"
    ]
