"""The verdict: what every gate found, one sentence on top, and an exit code.

Torch-free. JSON goes through `runtime_py.schema` (`dumps`, `loads`), Markdown through
`verdict_markdown`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runtime_py.schema import ModelIdentity, sha256_of_json, to_json
from toolchain.errors import (
    EXIT_HOLD,
    EXIT_INCONCLUSIVE,
    EXIT_OK,
    BadRequestError,
    did_you_mean,
)

VERDICT_SCHEMA = "paredown.verdict/1"

PASS = "PASS"  # noqa: S105 - not a password
FAIL = "FAIL"
INCONCLUSIVE = "INCONCLUSIVE"
SKIPPED = "SKIPPED"
"""Not run, because an earlier gate makes its result meaningless."""

EXIT_CODES = {PASS: EXIT_OK, FAIL: EXIT_HOLD, INCONCLUSIVE: EXIT_INCONCLUSIVE}

METRICS = ("ppl",)
"""What a margin can be set on: `ppl`, the relative rise of perplexity."""


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
    """`G0`, `G1` or `G2`."""
    title: str
    rule: str
    outcome: str
    """`PASS`, `FAIL`, `INCONCLUSIVE` or `SKIPPED`."""
    sentence: str
    findings: list[Finding]
    measures: dict[str, Measure] = field(default_factory=dict)


@dataclass(frozen=True)
class Criteria:
    """Everything that was fixed before the numbers were seen."""

    margins: dict[str, float]
    alpha: float
    text: str
    """Where the text came from, as asked for."""
    text_sha256: str
    parity_max_abs_logit: float
    parity_top1: float

    @property
    def sha256(self) -> str:
        """Hash of the criteria; the text counts by its content, not by its name."""
        values = to_json(self)
        del values["text"]
        return sha256_of_json(values)


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
    """What weakens the result without deciding it: text that was calibrated on."""
    schema: str = VERDICT_SCHEMA

    @property
    def exit_code(self) -> int:
        """0 ship, 1 hold, 4 inconclusive."""
        return EXIT_CODES[self.outcome]


def overall(gates: Sequence[GateResult]) -> str:
    """PASS if every gate passes, FAIL if any fails, else INCONCLUSIVE."""
    outcomes = {gate.outcome for gate in gates}
    if outcomes == {PASS}:
        return PASS
    return FAIL if FAIL in outcomes else INCONCLUSIVE


def verdict_sentence(bundle_name: str, gates: Sequence[GateResult]) -> str:
    """The verdict in one sentence: SHIP and what was shown, or HOLD and the first reason."""
    outcome = overall(gates)
    if outcome == PASS:
        return f"SHIP: {bundle_name} passes every gate; {gates[-1].sentence}"
    decisive = next(gate for gate in gates if gate.outcome == outcome)
    word = "fails" if outcome == FAIL else "leaves open"
    return f"HOLD: {bundle_name} {word} {decisive.gate} {decisive.title}; {decisive.sentence}"


def finite(value: float) -> float | None:
    """`value`, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None


def parse_margins(texts: Sequence[str]) -> dict[str, float]:
    """Read margins as the command line gives them: "ppl=10%" or "ppl=0.1".

    Raises:
        BadRequestError: not METRIC=VALUE, an unknown or repeated metric, or a value that is not a
            positive number.
    """
    margins: dict[str, float] = {}
    for text in texts:
        metric, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise BadRequestError(f"margin '{text}' is not METRIC=VALUE", "such as ppl=10%")
        if metric in margins:
            raise BadRequestError(f"margin '{metric}' is given twice", "give it once")
        margins[metric] = _margin_value(text, value)
    return check_margins(margins)


def check_margins(margins: Mapping[str, float]) -> dict[str, float]:
    """The margins, once every metric is known and perplexity is among them.

    Raises:
        BadRequestError: an unknown metric, or no margin on perplexity.
    """
    for metric in margins:
        if metric not in METRICS:
            raise BadRequestError(
                f"margin on unknown metric '{metric}'", did_you_mean(metric, METRICS)
            )
    if "ppl" not in margins:
        raise BadRequestError("no margin on perplexity", "add one, such as ppl=10%")
    return dict(margins)


def _margin_value(text: str, value: str) -> float:
    hint = "give a positive share, such as 10% or 0.1"
    try:
        number = float(value.removesuffix("%"))
    except ValueError:
        raise BadRequestError(f"margin '{text}' is not a number", hint) from None
    number = number / 100 if value.endswith("%") else number
    if not (math.isfinite(number) and number > 0):
        raise BadRequestError(f"margin '{text}' is not positive", hint)
    return number


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
