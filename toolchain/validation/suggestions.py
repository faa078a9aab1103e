"""What would pass instead: from what was measured, said with what it costs.

Nothing is run here. Where a number is carried over from one measurement to another setting, the
sentence says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime_py.bundle import model_bytes
from runtime_py.schema import MANIFEST_NAME, Manifest, SchemaError, loads
from toolchain.validation.verdict import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    GateResult,
    Suggestion,
    Verdict,
)

SHARE = 0.25
"""A cause is worth naming if it makes at least this share of the whole KL."""

EIGHT_BITS = {("executorch", "8da4w"): "8da8w", ("onnx", "int4"): "int8"}
"""The 8-bit quantisation of the same backend."""

AIM = 0.8
"""Share of the margin to aim at, so that the next verdict is not a coin's."""


def suggest(verdict: Verdict, bundle: Path, manifest: Manifest) -> list[Suggestion]:
    """Ways out of a verdict that is not PASS, the ones that were seen to pass first."""
    if any(gate.gate in {"G0", "G1", "G3"} and gate.outcome == FAIL for gate in verdict.gates):
        return [_export_again(verdict)]
    if verdict.outcome == INCONCLUSIVE:
        return list(_more_items(verdict))
    found = list(_siblings(verdict, bundle, manifest))
    found += _quantisation(verdict, manifest)
    found += _recovery(manifest.provenance.pruning)
    found += _less_pruning(verdict, manifest.provenance.pruning)
    return found


def _export_again(verdict: Verdict) -> Suggestion:
    gate = next(g for g in verdict.gates if g.outcome == FAIL and g.gate != "G2")
    return Suggestion(
        "export the checkpoint again, and compare the device's runtime with the bundle's versions"
        if gate.gate == "G3"
        else "export the checkpoint again",
        f"{gate.gate} {gate.title} failed, which no pruning or quantisation setting explains",
        "the time of one export",
    )


def _more_items(verdict: Verdict) -> Iterator[Suggestion]:
    for gate in (g for g in verdict.gates if g.outcome == INCONCLUSIVE):
        for name, option in (
            ("documents_needed", "give --text with about {} documents"),
            ("items_needed", "give a task with about {} items (or raise --limit)"),
            ("texts_needed", "use --prompts {}"),
        ):
            measure = gate.measures.get(name)
            if measure is not None and measure.value is not None:
                have = gate.measures[name.replace("_needed", "")].value or 1
                yield Suggestion(
                    option.format(f"{measure.value:.0f}"),
                    f"{gate.title} is open with {have:.0f}",
                    f"about {measure.value / have:.1f} times this evaluation's time for it",
                )


def _siblings(verdict: Verdict, bundle: Path, manifest: Manifest) -> Iterator[Suggestion]:
    """Bundles of the same run that passed the same criteria."""
    for path in sorted((bundle.parent.parent / "verdicts").glob("*.json")):
        other = _read(Verdict, path)
        sibling = _read(Manifest, bundle.parent / path.stem / MANIFEST_NAME)
        if other is None or sibling is None or other.outcome != PASS:
            continue
        if other.criteria.margins != verdict.criteria.margins or other.dense != verdict.dense:
            continue
        more = model_bytes(sibling) - model_bytes(manifest)
        yield Suggestion(
            f"ship {path.stem} instead",
            "it passes every gate with the same margins",
            f"{more / 1e6:+.1f} MB ({model_bytes(sibling) / 1e6:.1f} instead of "
            f"{model_bytes(manifest) / 1e6:.1f} MB)",
        )


def _read(cls: type[Any], path: Path) -> Any:
    try:
        return loads(cls, path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, SchemaError):
        return None  # of another version, or half written: no help, but no harm


def _quantisation(verdict: Verdict, manifest: Manifest) -> Iterator[Suggestion]:
    total = _value(verdict, "G2", "kl_nats")
    rounding = _value(verdict, "G1", "to_float_kl_nats")
    eight = EIGHT_BITS.get((manifest.backend, manifest.quantization))
    if not total or not rounding or rounding < SHARE * total:
        return
    because = (
        f"rounding alone puts the artifact {rounding:.3g} nats (KL) from its checkpoint, and the "
        f"dense model is {total:.3g} nats away"
    )
    if eight is not None:
        yield Suggestion(
            f"export with --quant {eight}", because, "up to twice the bytes of the linear weights"
        )
    else:
        yield Suggestion("export with --quant none", because, "four bytes for each weight")


def _recovery(pruning: dict[str, Any]) -> Iterator[Suggestion]:
    if pruning.get("recovery", "least_squares") == "least_squares":
        return
    drafts = [d for d in pruning.get("drafts", []) if "held_out_kl" in d]
    fitted = [d["held_out_kl"] for d in drafts if d.get("recovery") == "least_squares"]
    used = [d["held_out_kl"] for d in drafts if d.get("recovery") == pruning["recovery"]]
    if fitted and used and min(fitted) < min(used):
        because = (
            f"its draft was at {min(fitted):.3g} nats from the dense model on held-out text, that "
            f"of {pruning['recovery']} at {min(used):.3g}"
        )
    elif fitted:
        return
    else:
        because = f"this checkpoint was recovered with {pruning['recovery']}; not measured here"
    yield Suggestion(
        "prune with --recovery least_squares",
        because,
        "no bytes; the seconds of another pruning run",
    )


def _less_pruning(verdict: Verdict, pruning: dict[str, Any]) -> Iterator[Suggestion]:
    shapes = pruning.get("shapes", {})
    gate = next((g for g in verdict.gates if g.gate == "G2"), None)
    if gate is None or "before" not in shapes or "after" not in shapes:
        return
    failed = next(g for g in verdict.gates if g.outcome == FAIL)
    before, after = shapes["before"], shapes["after"]
    ratio = 1 - after["block_parameters"] / before["block_parameters"]
    shrink = _shrink(verdict, gate)
    held_out = pruning.get("held_out", {})
    measured = f"; pruning alone cost {held_out['kl']:.3g} nats (KL)" if "kl" in held_out else ""
    smaller = ratio * shrink
    more = int((ratio - smaller) * before["block_parameters"])
    yield Suggestion(
        f"prune about {smaller:.0%} of the layers' parameters (--ratio {smaller:.2f}) instead of "
        f"{ratio:.0%}",
        f"{failed.sentence}{measured}; the ratio is carried over as if the loss grew with its "
        "square, from this one measurement",
        f"{more:,} parameters more than now",
    )


def _shrink(verdict: Verdict, text: GateResult) -> float:
    """Factor on the ratio that brings every failed gate within AIM of its margin, if loss ~ r²."""
    losses = [0.5]
    limit = text.measures.get("perplexity_ratio_limit")
    upper = text.measures.get("delta_nats")
    if text.outcome == FAIL and limit and limit.value and upper and upper.high:
        losses.append(math.sqrt(AIM * math.log(limit.value) / upper.high))
    for result in verdict.evidence.tasks:
        if result.outcome == FAIL:
            losses.append(math.sqrt(AIM * result.margin / -result.lower))
    return min(losses[1:], default=losses[0])


def _value(verdict: Verdict, gate: str, name: str) -> float | None:
    found = next((g for g in verdict.gates if g.gate == gate and name in g.measures), None)
    return None if found is None else found.measures[name].value
