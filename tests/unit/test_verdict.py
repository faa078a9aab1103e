"""Margins, the overall outcome, the sentence, the exit code, the hash and the page."""

from __future__ import annotations

import dataclasses

import pytest

from runtime_py.schema import ModelIdentity, SchemaError, dumps, loads
from toolchain.errors import BadRequestError
from toolchain.validation.margins import DEFAULTS, check_margins, parse_margins, task_margin
from toolchain.validation.verdict import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    SKIPPED,
    Criteria,
    Finding,
    GateResult,
    Measure,
    Suggestion,
    TaskCriterion,
    Verdict,
    verdict_markdown,
    verdict_sentence,
)

PARITY = {"max_abs_logit": 1e-3, "top1": 0.999}
CRITERIA = Criteria({"ppl": 0.1}, 0.05, "builtin", "ab" * 32, PARITY)


def gate(name: str, outcome: str) -> GateResult:
    sentence = f"{name} says {outcome}"
    return GateResult(
        name,
        "title",
        "the rule",
        outcome,
        sentence,
        [Finding("check", outcome == PASS, sentence)],
        {"ratio": Measure(1.05, 0.01, 1.03, 1.07), "sqnr_db": Measure(None)},
    )


def verdict(*outcomes: str) -> Verdict:
    gates = [gate(f"G{i}", outcome) for i, outcome in enumerate(outcomes)]
    overall = FAIL if FAIL in outcomes else PASS if set(outcomes) == {PASS} else INCONCLUSIVE
    dense = ModelIdentity("dense", "llama", "a" * 64, "b" * 64, 1000)
    return Verdict(
        outcome=overall,
        sentence=verdict_sentence("bundle", gates),
        bundle_name="bundle",
        bundle_sha256="c" * 64,
        backend="onnx",
        quantization="none",
        dense=dense,
        checkpoint=dataclasses.replace(dense, name="compact"),
        criteria=CRITERIA,
        criteria_sha256=CRITERIA.sha256,
        gates=gates,
        created_at="2025-01-01T00:00:00+00:00",
        paredown_version="0",
    )


@pytest.mark.parametrize(
    ("outcomes", "code", "start"),
    [
        ((PASS, PASS, PASS), 0, "SHIP: bundle passes every gate; G2 says PASS"),
        ((PASS, FAIL, PASS), 1, "HOLD: bundle fails G1 title; G1 says FAIL"),
        ((PASS, FAIL, INCONCLUSIVE), 1, "HOLD: bundle fails G1"),
        ((FAIL, SKIPPED, SKIPPED), 1, "HOLD: bundle fails G0"),
        ((PASS, PASS, INCONCLUSIVE), 4, "HOLD: bundle leaves open G2"),
    ],
)
def test_exit_code_and_sentence(outcomes: tuple[str, ...], code: int, start: str) -> None:
    result = verdict(*outcomes)
    assert result.exit_code == code
    assert result.sentence.startswith(start)


def test_json_round_trip_is_strict() -> None:
    result = verdict(PASS, PASS, INCONCLUSIVE)
    text = dumps(result)
    assert loads(Verdict, text) == result
    assert '"schema": "paredown.verdict/1"' in text
    with pytest.raises(SchemaError, match="schema"):
        loads(Verdict, text.replace("paredown.verdict/1", "paredown.verdict/0"))


def test_markdown_says_the_verdict_first_then_gates_then_numbers() -> None:
    text = verdict_markdown(verdict(PASS, PASS, FAIL))
    lines = text.splitlines()
    assert lines[0] == "# HOLD: bundle fails G2 title; G2 says FAIL"
    assert text.index("| G2 title | FAIL |") < text.index("| ratio | 1.05 | 0.01 | 1.03 to 1.07 |")
    assert "- sqnr_db: none" in text
    assert CRITERIA.sha256 in text


def test_markdown_fits_below_another_heading() -> None:
    lines = verdict_markdown(verdict(PASS, PASS, PASS), heading="###").splitlines()
    headings = [line.split()[0] for line in lines if line.startswith("#")]
    assert headings == ["###", "####", "####", "####", "####"]


@pytest.mark.parametrize(
    "change",
    [
        {"margins": {"ppl": 0.11}},
        {"alpha": 0.06},
        {"text_sha256": "cd" * 32},
        {"parity": {"max_abs_logit": 2e-3, "top1": 0.999}},
        {"parity": {"max_abs_logit": 1e-3, "top1": 0.99}},
        {"tasks": {"t": TaskCriterion(0.05, 10, "ef" * 32)}},
        {"prompts": 1},
        {"device": True},
    ],
)
def test_moving_any_post_changes_the_hash(change: dict[str, object]) -> None:
    assert dataclasses.replace(CRITERIA, **change).sha256 != CRITERIA.sha256  # type: ignore[arg-type]


def test_the_same_text_under_another_name_has_the_same_hash() -> None:
    assert dataclasses.replace(CRITERIA, text="copy.txt").sha256 == CRITERIA.sha256


@pytest.mark.parametrize("text", ["ppl=10%", "ppl=0.1", " ppl = 10 % "])
def test_margins_as_percent_or_share(text: str) -> None:
    assert parse_margins([text]) == {"ppl": pytest.approx(0.1)}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["ppl"], "margin 'ppl' is not METRIC=VALUE"),
        (["ppl="], "margin 'ppl=' is not a number"),
        (["ppl=ten"], "is not a number"),
        (["ppl=0"], "is not positive"),
        (["ppl=-5%"], "is not positive"),
        (["ppl=nan"], "is not positive"),
        (["ppl=inf"], "is not positive"),
        (["ppl=1%", "ppl=2%"], "given twice"),
    ],
)
def test_bad_margins_are_refused_in_one_line(texts: list[str], message: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_margins(texts)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_margins_that_are_not_given_are_the_defaults() -> None:
    assert check_margins({}, []) == DEFAULTS
    found = check_margins({"ppl": 0.3, "blimp": 0.02}, ["blimp", "arc_easy"])
    assert found == {**DEFAULTS, "ppl": 0.3, "blimp": 0.02}
    assert task_margin(found, "blimp") == 0.02
    assert task_margin(found, "arc_easy") == DEFAULTS["tasks"]


@pytest.mark.parametrize(
    ("margins", "message"),
    [
        ({"pl": 0.1}, "unknown metric 'pl'; did you mean 'ppl'"),
        ({"blimp": 0.1}, "unknown metric 'blimp'"),
        ({"tasks": 1.5}, "tasks=1.5 is not a share"),
    ],
)
def test_margins_on_what_is_not_judged_are_refused(margins: dict[str, float], message: str) -> None:
    with pytest.raises(BadRequestError, match=message):
        check_margins(margins, ["arc_easy"])


def test_suggestions_stand_in_the_page() -> None:
    way = Suggestion("export with --quant int8", "rounding makes 0.1 of 0.2 nats", "2 MB more")
    text = verdict_markdown(dataclasses.replace(verdict(PASS, PASS, FAIL), suggestions=[way]))
    assert "## What to try" in text
    assert "- export with --quant int8: rounding makes 0.1 of 0.2 nats; 2 MB more" in text
