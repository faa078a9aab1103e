"""The verdict: what every gate found, one sentence on top, and an exit code.

Torch-free. JSON goes through `runtime_py.schema` (`dumps`, `loads`), Markdown through
`verdict_markdown`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from runtime_py.schema import ModelIdentity, sha256_of_json, to_json
from toolchain.errors import EXIT_HOLD, EXIT_INCONCLUSIVE, EXIT_OK
from toolchain.validation.evidence import Evidence

VERDICT_SCHEMA = "paredown.verdict/1"

PASS = "PASS"  # noqa: S105 - not a password
FAIL = "FAIL"
INCONCLUSIVE = "INCONCLUSIVE"
SKIPPED = "SKIPPED"
"""Not run, because an earlier gate makes its result meaningless."""

EXIT_CODES = {PASS: EXIT_OK, FAIL: EXIT_HOLD, INCONCLUSIVE: EXIT_INCONCLUSIVE}


@dataclass(frozen=True)
class Finding:
    """One named check and a sentence that says what was found."""

    name: str
    passed: bool
    sentence: str


@dataclass(frozen=True)
class Measure:
    """A number of a gate. Null where it is not finite or has no such interval.

    `low` and `high` are one-sided bounds at level 1 - alpha each.
    """

    value: float | None
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class GateResult:
    """What one gate compared, by which rule, and what came out."""

    gate: str
    """`G0`, `G1`, `G2` (one for the text, one for each task, one for greedy text) or `G3`."""
    title: str
    rule: str
    outcome: str
    """`PASS`, `FAIL`, `INCONCLUSIVE` or `SKIPPED`."""
    sentence: str
    findings: list[Finding]
    measures: dict[str, Measure] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the outcome is PASS."""
        return self.outcome == PASS


@dataclass(frozen=True)
class TaskCriterion:
    """What a task is and how much of it may be lost."""

    margin: float
    """Share of all items."""
    items: int
    sha256: str
    """Of the items and of how they are judged."""


@dataclass(frozen=True)
class Criteria:
    """Everything that was fixed before the numbers were seen."""

    margins: dict[str, float]
    alpha: float
    text: str
    """Where the text came from, as asked for."""
    text_sha256: str
    parity: dict[str, float]
    """The limits of G1 that are set for the artifact's backend and quantisation, by name."""
    tasks: dict[str, TaskCriterion] = field(default_factory=dict)
    prompts: int = 0
    """How many greedy texts were judged."""
    device: bool = False
    """Whether G3 had to pass."""

    @property
    def sha256(self) -> str:
        """Hash of the criteria; the text counts by its content, not by its name."""
        values = to_json(self)
        del values["text"]
        return sha256_of_json(values)


@dataclass(frozen=True)
class Suggestion:
    """One way out of a HOLD."""

    action: str
    """What to do, with the option that does it."""
    because: str
    """The measured numbers that speak for it."""
    cost: str
    """What it is expected to cost: bytes, parameters, time."""


@dataclass(frozen=True)
class Verdict:
    """The result of `paredown validate`."""

    outcome: str
    """`PASS`, `FAIL` or `INCONCLUSIVE`, over all gates."""
    sentence: str
    """What came out; it starts with SHIP or HOLD."""
    bundle_name: str
    bundle_sha256: str
    """SHA-256 of the bundle's manifest.json, which in turn hashes every file."""
    backend: str
    quantization: str
    dense: ModelIdentity
    """The reference that was asked for."""
    checkpoint: ModelIdentity
    """What the bundle says it was exported from."""
    criteria: Criteria
    criteria_sha256: str
    """Two verdicts were held to the same margins, level, limits and text if this is equal."""
    gates: list[GateResult]
    created_at: str
    """UTC, ISO 8601."""
    paredown_version: str
    notes: list[str] = field(default_factory=list)
    """What weakens the result without deciding it: text that was calibrated on, tasks that are
    missing or cannot show a loss."""
    evidence: Evidence = field(default_factory=Evidence)
    suggestions: list[Suggestion] = field(default_factory=list)
    """What would pass instead, where this did not."""
    schema: str = VERDICT_SCHEMA

    @property
    def exit_code(self) -> int:
        """0 ship, 1 hold, 4 inconclusive."""
        return EXIT_CODES[self.outcome]


def overall(gates: Sequence[GateResult]) -> str:
    """PASS if every gate passes, FAIL if any fails, else INCONCLUSIVE."""
    return combined(gate.outcome for gate in gates)


def combined(outcomes: Iterable[str]) -> str:
    """PASS if all are, FAIL if any is, else INCONCLUSIVE."""
    found = set(outcomes)
    if found == {PASS}:
        return PASS
    return FAIL if FAIL in found else INCONCLUSIVE


def verdict_sentence(bundle_name: str, gates: Sequence[GateResult]) -> str:
    """The verdict in one sentence: SHIP and what was shown, or HOLD and the first reason."""
    outcome = overall(gates)
    if outcome == PASS:
        shown = next((g for g in gates if g.gate == "G2"), gates[-1])
        return f"SHIP: {bundle_name} passes every gate; {shown.sentence}"
    decisive = next(gate for gate in gates if gate.outcome == outcome)
    word = "fails" if outcome == FAIL else "leaves open"
    return f"HOLD: {bundle_name} {word} {decisive.gate} {decisive.title}; {decisive.sentence}"


def finite(value: float) -> float | None:
    """`value`, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None


def verdict_markdown(verdict: Verdict, heading: str = "#") -> str:
    """The verdict for people: its sentence, the gates, the numbers with their intervals.

    Args:
        verdict: what to write down.
        heading: Markdown's mark of the first heading; the others are one level below it.
    """
    lines = [f"{heading} {verdict.sentence}", ""]
    lines += [*_gates_table(verdict), "", *_quality_table(verdict)]
    for gate in verdict.gates:
        lines += ["", f"{heading}# {gate.gate} {gate.title}", "", f"Rule: {gate.rule}", ""]
        lines += [f"- {_mark(f)} {f.sentence}" for f in gate.findings]
        lines += [f"- {k}: {_number(m.value)}" for k, m in gate.measures.items() if m.low is None]
        if not gate.findings:
            lines.append(gate.sentence)
    if verdict.suggestions:
        lines += ["", f"{heading}# What to try", ""]
        lines += [f"- {s.action}: {s.because}; {s.cost}" for s in verdict.suggestions]
    lines += ["", f"{heading}# What was compared", "", *_facts(verdict), ""]
    return "\n".join(lines)


def _mark(finding: Finding) -> str:
    return "ok" if finding.passed else "**not ok**"


def _gates_table(verdict: Verdict) -> list[str]:
    rows = [f"| {g.gate} {g.title} | {g.outcome} | {g.sentence} |" for g in verdict.gates]
    return ["| gate | outcome | found |", "| --- | --- | --- |", *rows]


def _quality_table(verdict: Verdict) -> list[str]:
    """Every number that has an interval; the others stand with their gate."""
    level = f"{1 - verdict.criteria.alpha:.4g}"
    rows = [
        f"| {name} | {_number(m.value)} | {_number(m.standard_error)} | "
        f"{_number(m.low)} to {_number(m.high)} |"
        for gate in verdict.gates
        for name, m in gate.measures.items()
        if m.low is not None
    ]
    head = f"| number | value | SE | bounds, one-sided, level {level} each |"
    return [head, "| --- | --- | --- | --- |", *rows] if rows else ["No numbers: no gate ran."]


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _facts(verdict: Verdict) -> list[str]:
    margins = ", ".join(f"{k} {v:.4g}" for k, v in verdict.criteria.margins.items())
    return [
        f"- bundle: {verdict.bundle_name} ({verdict.backend}, quantisation "
        f"{verdict.quantization}), manifest sha256 {verdict.bundle_sha256}",
        f"- exported from: {verdict.checkpoint.name}, weights {verdict.checkpoint.weights_sha256}",
        f"- dense reference: {verdict.dense.name}, weights {verdict.dense.weights_sha256}",
        f"- text: {verdict.criteria.text}, sha256 {verdict.criteria.text_sha256}",
        f"- margins: {margins}; alpha {verdict.criteria.alpha:.4g}",
        *(f"- note: {note}" for note in verdict.notes),
        f"- criteria sha256: {verdict.criteria_sha256}",
        f"- paredown {verdict.paredown_version}, {verdict.created_at}",
    ]
