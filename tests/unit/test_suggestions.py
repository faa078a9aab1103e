"""What a held bundle is told to try, and from which numbers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from handmade_bundle import write_bundle

from runtime_py.schema import Manifest, ModelIdentity, Provenance, dumps
from toolchain.validation.quality import quality_gate
from toolchain.validation.scores import PairedScores
from toolchain.validation.suggestions import suggest
from toolchain.validation.verdict import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    Criteria,
    Finding,
    GateResult,
    Measure,
    Verdict,
)

DENSE = ModelIdentity("tiny", "test", "0" * 64, "0" * 64, 6192)
LAYER = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 4, "intermediate_size": 8}
PRUNED: dict[str, Any] = {
    "recovery": "mask_tuning",
    "drafts": [
        {"recovery": "mask_tuning", "held_out_kl": 0.2},
        {"recovery": "least_squares", "held_out_kl": 0.05},
    ],
    "shapes": {
        "before": {"block_parameters": 1000, "layers": [LAYER, LAYER]},
        "after": {"block_parameters": 600, "layers": [LAYER, LAYER]},
    },
    "held_out": {"kl": 0.2},
}


def held(
    tmp_path: Path, record: dict[str, Any], quantization: str = "none"
) -> tuple[Path, Manifest]:
    """A bundle at RUN/bundles/held."""
    bundle = tmp_path / "bundles" / "held"
    provenance = Provenance(DENSE, DENSE, "../tiny", record, "0")
    return bundle, write_bundle(bundle, provenance=provenance, quantization=quantization)


def verdict(delta: float, outcome: str = FAIL, rounding: float | None = None) -> Verdict:
    scores = [PairedScores(50, 75.0, 75.0 + 50 * delta, 10.0, 45)] * 20  # KL: 0.2 nats a token
    whole = [Finding("all", True, "all")]
    parity = {} if rounding is None else {"to_float_kl_nats": Measure(rounding)}
    gates = [
        GateResult("G0", "integrity", "rule", PASS, "whole", whole),
        GateResult("G1", "export parity", "rule", PASS, "equal", whole, parity),
        quality_gate(scores, 0.1, 0.05),
    ]
    criteria = Criteria({"ppl": 0.1}, 0.05, "builtin", "ab" * 32, {})
    return Verdict(
        outcome=outcome,
        sentence="HOLD",
        bundle_name="held",
        bundle_sha256="c" * 64,
        backend="onnx",
        quantization="int4",
        dense=DENSE,
        checkpoint=DENSE,
        criteria=criteria,
        criteria_sha256=criteria.sha256,
        gates=gates,
        created_at="2025-01-01T00:00:00+00:00",
        paredown_version="0",
    )


def actions(found: Verdict, bundle: Path, manifest: Manifest) -> list[str]:
    return [way.action for way in suggest(found, bundle, manifest)]


def test_a_recovery_whose_draft_was_nearer_and_less_pruning(tmp_path: Path) -> None:
    bundle, manifest = held(tmp_path, PRUNED)
    ways = suggest(verdict(0.38), bundle, manifest)
    assert [way.action for way in ways] == [
        "prune with --recovery least_squares",
        "prune about 18% of the layers' parameters (--ratio 0.18) instead of 40%",
    ]
    assert "0.05 nats" in ways[0].because
    assert "that of mask_tuning at 0.2" in ways[0].because
    assert "as if the loss grew with its square" in ways[1].because
    assert ways[1].cost == "220 parameters more than now"


def test_a_recovery_that_nobody_measured_is_said_to_be_unmeasured(tmp_path: Path) -> None:
    bundle, manifest = held(tmp_path, {**PRUNED, "drafts": []})
    assert "not measured here" in suggest(verdict(0.38), bundle, manifest)[0].because


def test_the_recovery_in_use_is_not_suggested(tmp_path: Path) -> None:
    bundle, manifest = held(tmp_path, {**PRUNED, "recovery": "least_squares"})
    assert all("recovery" not in action for action in actions(verdict(0.38), bundle, manifest))


@pytest.mark.parametrize(("rounding", "named"), [(0.1, True), (0.01, False), (None, False)])
def test_eight_bits_where_rounding_makes_much_of_the_distance(
    rounding: float | None, named: bool, tmp_path: Path
) -> None:
    bundle, manifest = held(tmp_path, {}, "int4")
    found = suggest(verdict(0.38, rounding=rounding), bundle, manifest)
    assert [way.action for way in found] == (["export with --quant int8"] if named else [])


def test_a_sibling_that_passed_comes_first(tmp_path: Path) -> None:
    bundle, manifest = held(tmp_path, PRUNED)
    write_bundle(tmp_path / "bundles" / "larger")
    passed = dataclasses.replace(verdict(0.0), outcome=PASS)
    folder = tmp_path / "verdicts"
    folder.mkdir()
    (folder / "larger.json").write_text(dumps(passed), encoding="utf-8")
    (folder / "broken.json").write_text("{", encoding="utf-8")
    first = suggest(verdict(0.38), bundle, manifest)[0]
    assert first.action == "ship larger instead"
    assert first.cost.startswith("+0.0 MB")
    wider = dataclasses.replace(passed.criteria, margins={"ppl": 0.9})
    other = dataclasses.replace(passed, criteria=wider, criteria_sha256=wider.sha256)
    (folder / "larger.json").write_text(dumps(other), encoding="utf-8")
    assert "ship larger instead" not in actions(verdict(0.38), bundle, manifest)


def test_an_open_question_asks_for_more(tmp_path: Path) -> None:
    bundle, manifest = held(tmp_path, PRUNED)
    found = verdict(0.0, INCONCLUSIVE)
    measures = {"documents": Measure(20), "documents_needed": Measure(50)}
    open_gate = dataclasses.replace(found.gates[2], outcome=INCONCLUSIVE, measures=measures)
    asked = suggest(
        dataclasses.replace(found, gates=[*found.gates[:2], open_gate]), bundle, manifest
    )
    assert [way.action for way in asked] == ["give --text with about 50 documents"]
    assert asked[0].cost == "about 2.5 times this evaluation's time for it"


def test_a_failed_export_is_to_be_made_again(tmp_path: Path) -> None:
    bundle, manifest = held(tmp_path, PRUNED)
    found = verdict(0.38)
    broken = dataclasses.replace(found.gates[1], outcome=FAIL)
    ways = suggest(dataclasses.replace(found, gates=[found.gates[0], broken]), bundle, manifest)
    assert [way.action for way in ways] == ["export the checkpoint again"]
    json.dumps([dataclasses.asdict(way) for way in ways])
