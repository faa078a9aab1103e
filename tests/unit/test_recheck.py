"""A verdict decided again from its numbers, and as other tools read it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from runtime_py.schema import CaseResult, CheckReport, ModelIdentity, dumps
from toolchain.cli import main
from toolchain.errors import BadRequestError
from toolchain.validation.ci_formats import github, junit, sarif
from toolchain.validation.device_parity import judge
from toolchain.validation.evidence import DocumentScore, Evidence, PairedCounts, WrittenText
from toolchain.validation.generation import (
    compare_texts,
    first_divergence,
    foreign_share,
    generation_gate,
    prompts_of,
    repeated_share,
    scripts_of,
)
from toolchain.validation.items import Choice, ItemTask
from toolchain.validation.quality import quality_gate
from toolchain.validation.recheck import read_verdict, recheck
from toolchain.validation.scores import PairedScores
from toolchain.validation.tasks import _result, task_gate
from toolchain.validation.verdict import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    Criteria,
    Finding,
    GateResult,
    TaskCriterion,
    Verdict,
    overall,
    verdict_sentence,
)

ALPHA = 0.05
MARGINS = {"ppl": 0.1, "tasks": 0.05, "generation": 0.2}


def made(delta: float = 0.02, lost: int = 4) -> Verdict:
    """A verdict whose every number is consistent, on 40 documents, 300 items and 20 texts."""
    scores = [
        PairedScores(50, 75.0, 75.0 + 50 * (delta + 0.01 * (-1) ** i), 1.0, 45) for i in range(40)
    ]
    task = ItemTask("t", "knowledge", "here", (Choice("a", (" b", " c"), 0),) * 300)
    dense = [True] * 200 + [False] * 100
    result = _result(task, dense, [i >= lost and d for i, d in enumerate(dense)], 0.05, ALPHA)
    sound = [WrittenText([1, 2, 3], False, False, False)] * 20
    texts = compare_texts(sound, sound, 0.2, ALPHA)
    whole = [Finding("hashes", True, "all of them")]
    gates = [
        GateResult("G0", "integrity", "rule", PASS, "whole", whole),
        GateResult("G1", "export parity", "rule", PASS, "equal", whole),
        quality_gate(scores, 0.1, ALPHA),
        task_gate(result, ALPHA),
        generation_gate(texts, ALPHA),
    ]
    criteria = Criteria(
        MARGINS, ALPHA, "builtin", "ab" * 32, {}, {"t": TaskCriterion(0.05, 300, task.sha256)}, 20
    )
    dense_model = ModelIdentity("dense", "llama", "a" * 64, "b" * 64, 1000)
    return Verdict(
        outcome=overall(gates),
        sentence=verdict_sentence("bundle", gates),
        bundle_name="bundle",
        bundle_sha256="c" * 64,
        backend="onnx",
        quantization="none",
        dense=dense_model,
        checkpoint=dense_model,
        criteria=criteria,
        criteria_sha256=criteria.sha256,
        gates=gates,
        created_at="2025-01-01T00:00:00+00:00",
        paredown_version="0",
        evidence=Evidence(
            [DocumentScore(s.tokens, s.dense_nll, s.artifact_nll) for s in scores], [result], texts
        ),
    )


@pytest.mark.parametrize(
    ("verdict", "outcome", "code"),
    [
        (made(), PASS, 0),
        (made(delta=0.3), FAIL, 1),
        (made(lost=60), FAIL, 1),
        (made(lost=14), INCONCLUSIVE, 4),
    ],
)
def test_a_verdict_that_was_not_touched_holds(
    verdict: Verdict, outcome: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = recheck(verdict)
    assert (found.verdict.outcome, found.decided) == (outcome, 3)
    path = tmp_path / "verdict.json"
    path.write_text(dumps(verdict), encoding="utf-8")
    assert read_verdict(path) == verdict
    assert main(["gate", str(path), "--criteria", verdict.criteria_sha256[:12]]) == code
    assert capsys.readouterr().out.startswith(f"# {verdict.sentence}")


def edited(change: Callable[[dict[str, Any]], None], verdict: Verdict | None = None) -> str:
    values = json.loads(dumps(verdict or made(delta=0.3)))
    change(values)
    return json.dumps(values)


def ship(values: dict[str, Any]) -> None:
    """What a hurried forger does: every outcome says PASS, the sentence says SHIP."""
    values["outcome"] = PASS
    for gate in values["gates"]:
        gate["outcome"] = PASS
        for finding in gate["findings"]:
            finding["passed"] = True
    values["sentence"] = f"SHIP: bundle passes every gate; {values['gates'][2]['sentence']}"


def widen(values: dict[str, Any]) -> None:
    values["criteria"]["margins"]["ppl"] = 0.9


def drop_gate(values: dict[str, Any]) -> None:
    del values["gates"][1]


def drop_task(values: dict[str, Any]) -> None:
    values["evidence"]["tasks"] = []


def fewer_lost(values: dict[str, Any]) -> None:
    values["evidence"]["tasks"][0]["counts"]["lost"] = 0


def say_otherwise(values: dict[str, Any]) -> None:
    values["sentence"] = "SHIP: all is well"


def failed_finding(values: dict[str, Any]) -> None:
    values["gates"][0]["findings"][0]["passed"] = False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (ship, "G2 non-inferiority says PASS, its numbers FAIL"),
        (widen, "its criteria do not have the hash"),
        (drop_gate, "it lacks G1"),
        (drop_task, "its tasks are not those of its criteria"),
        (fewer_lost, "its counts contradict"),
        (say_otherwise, "its sentence is not what its gates say"),
        (failed_finding, "G0 integrity says PASS, its findings otherwise"),
    ],
)
def test_an_edited_verdict_is_refused(
    change: Callable[[dict[str, Any]], None],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "verdict.json"
    path.write_text(edited(change), encoding="utf-8")
    assert main(["gate", str(path)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_other_criteria_than_agreed_are_refused() -> None:
    verdict = made()
    with pytest.raises(BadRequestError, match="its criteria are"):
        recheck(verdict, criteria_sha256="0" * 64)
    with pytest.raises(BadRequestError, match="its criteria are"):
        recheck(verdict, criteria_sha256=verdict.criteria_sha256[:4])  # too short to mean much


def test_no_verdict_at_all(tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="cannot read verdict"):
        read_verdict(tmp_path / "no.json")
    (tmp_path / "verdict.json").write_text("{}")
    with pytest.raises(BadRequestError, match="schema"):
        read_verdict(tmp_path / "verdict.json")
    with pytest.raises(BadRequestError, match="unknown format 'junti'; did you mean 'junit'"):
        from toolchain import api

        api.gate(tmp_path / "verdict.json", form="junti")


def test_junit_counts_failures_and_open_questions_apart() -> None:
    suite = ElementTree.fromstring(junit(made(delta=0.3, lost=14)))  # noqa: S314 - our own text
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("5", "1", "1")
    failure = suite.find(".//failure")
    assert failure is not None
    assert "perplexity is" in str(failure.get("message"))
    clean = ElementTree.fromstring(junit(made()))  # noqa: S314
    assert (clean.get("failures"), clean.get("errors")) == ("0", "0")


def test_github_annotations_are_one_line_each() -> None:
    verdict = dataclasses.replace(made(delta=0.3), notes=["two\nlines, 5%"])
    lines = github(verdict).splitlines()
    assert lines[0].startswith("::error title=paredown%3A G2 non-inferiority::perplexity is")
    assert lines[1] == "::warning title=paredown%3A note::two%0Alines, 5%25"
    assert lines[-1].startswith("::error title=paredown%3A verdict::HOLD")
    assert github(made()).startswith("::notice title=paredown%3A verdict::SHIP")


def test_sarif_has_a_rule_for_every_result() -> None:
    document = json.loads(sarif(made(delta=0.3, lost=14)))
    (run,) = document["runs"]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert [(r["kind"], r["level"]) for r in run["results"]] == [
        ("fail", "error"),
        ("open", "none"),
    ]
    assert {result["ruleId"] for result in run["results"]} <= rules
    assert json.loads(sarif(made()))["runs"][0]["results"] == []


def test_text_that_circles_ends_at_once_or_drifts_is_seen() -> None:
    assert repeated_share([1, 2, 3, 4] * 8) > 0.8
    assert repeated_share(list(range(30))) == 0
    assert repeated_share([1, 1, 1]) == 0  # too short to tell
    assert scripts_of("Tom ran. 3 Кот") == {"LATIN", "CYRILLIC"}
    assert foreign_share("the dog 狗 ran 12 times", {"LATIN"}) == pytest.approx(1 / 14)
    assert foreign_share("собака", {"LATIN"}) == 1
    assert foreign_share("ab\ufffdcd\ufffd", {"LATIN"}) == pytest.approx(1 / 5)  # cut at the end
    assert foreign_share("", {"LATIN"}) == 0
    assert first_divergence([1, 2, 3], [1, 2, 4]) == 2
    assert first_divergence([1, 2], [1, 2]) == 2
    assert prompts_of([list(range(90)), list(range(9)), [1, 2]], 2) == [list(range(24)), [0, 1, 2]]


def test_unsound_texts_are_held_against_the_dense_models() -> None:
    sound = WrittenText([1, 2], False, False, False)
    circling = WrittenText([1, 3], True, False, False)
    found = compare_texts([sound] * 30, [circling] * 12 + [sound] * 18, 0.2, ALPHA)
    assert found.counts == PairedCounts(30, 30, 18, 12, 0)
    assert (found.circles, found.identical, found.first_divergence[:2]) == (12, 18, [1, 1])
    assert generation_gate(found, ALPHA).outcome == FAIL
    same = compare_texts([circling] * 30, [circling] * 30, 0.2, ALPHA)
    assert generation_gate(same, ALPHA).outcome == PASS  # no worse than the dense model


def report(*cases: CaseResult) -> CheckReport:
    return CheckReport("bundle", "engine", list(cases), all(case.passed for case in cases))


def test_device_parity_is_of_every_golden_case() -> None:
    good = CaseResult("one", True, 1e-5, 8, 8, False)
    near = CaseResult("two", True, 1e-5, 5, 8, True)
    wrong = CaseResult("two", False, 0.3, 5, 8, False)
    host = report(good, dataclasses.replace(near, matching_tokens=8, near_tie=False))
    assert judge("ssh:pi", report(good, near), host).outcome == PASS
    assert judge("ssh:pi", report(good, near), host).measures["device_near_ties"].value == 1
    held = judge("ssh:pi", report(good, wrong), host)
    assert held.outcome == FAIL
    assert "two: 5 of 8 tokens, logits off by 3.00e-01" in held.sentence
    assert "two: not run on the device" in judge("ssh:pi", report(good), host).sentence
    assert judge("ssh:pi", report(), report()).outcome == FAIL
    other = dataclasses.replace(good, name="three")
    assert "not a golden case" in judge("ssh:pi", report(good, near, other), host).sentence
