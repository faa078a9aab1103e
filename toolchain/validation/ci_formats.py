"""A verdict as other tools read it: JUnit XML, GitHub's annotations, SARIF 2.1.0."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

from toolchain import __version__
from toolchain.validation.verdict import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    SKIPPED,
    Finding,
    GateResult,
    Verdict,
    verdict_markdown,
)

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def junit(verdict: Verdict) -> str:
    """One test suite; a gate's finding is a test case, INCONCLUSIVE an error, not a failure."""
    suite = ElementTree.Element("testsuite", name=f"paredown {verdict.bundle_name}")
    counts = {FAIL: 0, INCONCLUSIVE: 0, SKIPPED: 0}
    for gate in verdict.gates:
        for finding in gate.findings or [Finding(gate.title, gate.passed, gate.sentence)]:
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"{gate.gate} {gate.title}", name=finding.name
            )
            outcome = _outcome(gate, finding)
            if outcome != PASS:
                counts[outcome] += 1
                tag = {FAIL: "failure", INCONCLUSIVE: "error", SKIPPED: "skipped"}[outcome]
                ElementTree.SubElement(case, tag, message=finding.sentence)
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(counts[FAIL]))
    suite.set("errors", str(counts[INCONCLUSIVE]))
    suite.set("skipped", str(counts[SKIPPED]))
    suite.set("timestamp", verdict.created_at)
    ElementTree.indent(suite)
    text = ElementTree.tostring(suite, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _outcome(gate: GateResult, finding: Finding) -> str:
    if gate.outcome == SKIPPED or finding.passed:
        return SKIPPED if gate.outcome == SKIPPED else PASS
    return gate.outcome


def github(verdict: Verdict) -> str:
    """Workflow commands: a notice for SHIP, an error for each failed gate, a warning for others."""
    lines = []
    for gate in verdict.gates:
        level = {FAIL: "error", INCONCLUSIVE: "warning", SKIPPED: "warning"}.get(gate.outcome)
        if level is not None:
            lines.append(_command(level, f"{gate.gate} {gate.title}", gate.sentence))
    lines += [_command("warning", "note", note) for note in verdict.notes]
    headline = "notice" if verdict.outcome == PASS else "error"
    return "\n".join([*lines, _command(headline, "verdict", verdict.sentence)]) + "\n"


def _command(level: str, title: str, message: str) -> str:
    def escaped(text: str, also: str = "") -> str:
        for character in f"%\r\n{also}":
            text = text.replace(character, f"%{ord(character):02X}")
        return text

    return f"::{level} title={escaped(f'paredown: {title}', ':,')}::{escaped(message)}"


def sarif(verdict: Verdict) -> str:
    """One run; every finding that does not hold is a result of its gate's rule."""
    results = [
        {
            "ruleId": _rule_id(gate),
            "kind": "fail" if gate.outcome == FAIL else "open",
            # The standard allows no other level beside a kind that is not fail.
            "level": "error" if gate.outcome == FAIL else "none",
            "message": {"text": finding.sentence},
            "locations": [
                {
                    "physicalLocation": {"artifactLocation": {"uri": "manifest.json"}},
                    "logicalLocations": [{"name": verdict.bundle_name, "kind": "module"}],
                }
            ],
            "partialFingerprints": {"bundleSha256/v1": verdict.bundle_sha256},
        }
        for gate in verdict.gates
        for finding in gate.findings
        if not finding.passed
    ]
    driver = {
        "name": "paredown",
        "version": __version__,
        "rules": [
            {
                "id": _rule_id(gate),
                "shortDescription": {"text": gate.title},
                "fullDescription": {"text": gate.rule},
            }
            for gate in verdict.gates
        ],
    }
    document: dict[str, Any] = {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _rule_id(gate: GateResult) -> str:
    return f"{gate.gate}/{gate.title.replace(' ', '-')}"


FORMATS: dict[str, Callable[[Verdict], str]] = {
    "text": verdict_markdown,
    "junit": junit,
    "github": github,
    "sarif": sarif,
}
