"""Decide a verdict again from the numbers it carries, without models, text or network.

Nobody can sign a verdict here: whoever rewrites all of it consistently is not found out. What is
found out is a decision that its own numbers do not bear, criteria that are not the ones that were
asked for, and a bundle that is not the one that was judged.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from runtime_py.bundle import open_bundle
from runtime_py.schema import MANIFEST_NAME, loads
from toolchain.errors import BadRequestError, BrokenBundleError, MissingError
from toolchain.store import sha256_file
from toolchain.validation.evidence import TaskResult, WrittenTexts
from toolchain.validation.margins import GENERATION, PERPLEXITY
from toolchain.validation.noninferiority import non_inferiority
from toolchain.validation.paired import paired_test
from toolchain.validation.verdict import (
    FAIL,
    PASS,
    GateResult,
    Verdict,
    overall,
    verdict_sentence,
)


@dataclass(frozen=True)
class Rechecked:
    """A verdict whose decision was reached again."""

    verdict: Verdict
    decided: int
    """Gates that were computed again from their numbers; the others only from their findings."""
    bundle_checked: bool


def read_verdict(path: Path) -> Verdict:
    """Read a verdict file.

    Raises:
        BadRequestError: it cannot be read, or is no verdict of this version.
    """
    try:
        return loads(Verdict, path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequestError(f"cannot read verdict {path}: {error}") from error


def recheck(
    verdict: Verdict, bundle: Path | None = None, criteria_sha256: str | None = None
) -> Rechecked:
    """Decide again; the result's outcome is the one to act on.

    Args:
        verdict: as it was read.
        bundle: also hold it against this bundle, every file included.
        criteria_sha256: what the criteria must hash to, at least its first 8 digits.

    Raises:
        BadRequestError: the verdict contradicts itself, or was held to other criteria.
        BrokenBundleError: the bundle is not the one that was judged.
        MissingError: scipy is not installed, which has the quantiles.
    """
    if importlib.util.find_spec("scipy") is None:
        raise MissingError(
            "deciding a verdict again needs scipy, which is not installed", "pip install scipy"
        )
    problems = [*_criteria(verdict, criteria_sha256), *_decision(verdict)]
    decided = [_again(verdict, gate) for gate in verdict.gates]
    for gate, outcome in zip(verdict.gates, decided, strict=True):
        if outcome is not None and outcome != gate.outcome:
            problems.append(f"{gate.gate} {gate.title} says {gate.outcome}, its numbers {outcome}")
        elif outcome is None and not _findings_agree(gate):
            problems.append(f"{gate.gate} {gate.title} says {gate.outcome}, its findings otherwise")
    if problems:
        raise BadRequestError(
            f"the verdict on {verdict.bundle_name} does not hold: {problems[0]}",
            "it was edited, or written by another version; validate again",
        )
    if bundle is not None:
        _hold_against(verdict, bundle)
    again = sum(outcome is not None for outcome in decided)
    return Rechecked(verdict, again, bundle is not None)


def _criteria(verdict: Verdict, wanted: str | None) -> list[str]:
    found = verdict.criteria.sha256
    problems = []
    if found != verdict.criteria_sha256:
        problems.append("its criteria do not have the hash that it names")
    if wanted is not None and not (len(wanted) >= 8 and found.startswith(wanted.lower())):
        problems.append(f"its criteria are {found[:16]}, not {wanted[:16]}")
    return problems


def _decision(verdict: Verdict) -> list[str]:
    problems = []
    names = [gate.gate for gate in verdict.gates]
    missing = [name for name in ("G0", "G1", "G2") if name not in names]
    if verdict.criteria.device and "G3" not in names and verdict.gates[0].outcome == PASS:
        missing.append("G3")
    if missing:
        problems.append(f"it lacks {', '.join(missing)}")
    elif overall(verdict.gates) != verdict.outcome:
        problems.append(f"it says {verdict.outcome}, its gates {overall(verdict.gates)}")
    elif verdict_sentence(verdict.bundle_name, verdict.gates) != verdict.sentence:
        problems.append("its sentence is not what its gates say")
    judged = {result.name for result in verdict.evidence.tasks}
    if verdict.gates[0].outcome == PASS and judged != set(verdict.criteria.tasks):
        problems.append("its tasks are not those of its criteria")
    return problems


def _again(verdict: Verdict, gate: GateResult) -> str | None:
    """The outcome by the recorded numbers; None where the gate keeps findings alone."""
    alpha, evidence = verdict.criteria.alpha, verdict.evidence
    if gate.gate != "G2" or not evidence.documents:
        return None
    for result in evidence.tasks:
        if gate.title.endswith(f" task {result.name}"):
            return _task_again(verdict, result)
    if evidence.texts is not None and "sound_difference" in gate.measures:
        return _texts_again(verdict, evidence.texts)
    if "perplexity_ratio" not in gate.measures:
        return None
    differences = [d.artifact_nll - d.dense_nll for d in evidence.documents]
    counts = [d.tokens for d in evidence.documents]
    margin = verdict.criteria.margins[PERPLEXITY]
    return non_inferiority(differences, counts, margin, alpha).outcome


def _task_again(verdict: Verdict, result: TaskResult) -> str:
    criterion = verdict.criteria.tasks.get(result.name)
    counts = result.counts
    if (
        criterion is None
        or counts.items != criterion.items
        or counts.artifact_right - counts.dense_right != counts.gained - counts.lost
    ):
        return "that its counts contradict themselves or the criteria"
    return paired_test(counts, criterion.margin, verdict.criteria.alpha).outcome


def _texts_again(verdict: Verdict, texts: WrittenTexts) -> str:
    margin = verdict.criteria.margins[GENERATION]
    return paired_test(texts.counts, margin, verdict.criteria.alpha).outcome


def _findings_agree(gate: GateResult) -> bool:
    """PASS exactly where no finding failed; a gate that was not run has none."""
    if not gate.findings:
        return gate.outcome not in {PASS, FAIL}
    return (gate.outcome == PASS) == all(finding.passed for finding in gate.findings)


def _hold_against(verdict: Verdict, bundle: Path) -> None:
    manifest = open_bundle(bundle)
    if sha256_file(bundle / MANIFEST_NAME) != verdict.bundle_sha256:
        raise BrokenBundleError(
            f"{bundle} ({manifest.name}) is not the bundle that was judged: its manifest's SHA-256 "
            f"is not {verdict.bundle_sha256[:16]}",
            "validate this one",
        )
