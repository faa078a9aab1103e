"""The plan against the real thing: same shapes, same parameters, no weights read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from toolchain import info, plan, prune
from toolchain.embedded import MODEL_DIR
from toolchain.errors import BadRequestError
from toolchain.model.checkpoint import open_checkpoint


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plan") / "pruned"
    fixed = {"layers": 0, "allocation": "uniform", "importance": "wanda", "joint_masks": False}
    prune("embedded", ratio=0.2, recovery="none", samples=8, seq_len=32, out=out, **fixed)
    return out


def test_the_plan_is_what_pruning_makes(pruned: Path) -> None:
    planned = plan("embedded", ratio=0.2)
    spec = open_checkpoint(pruned).spec
    assert planned.after.parameters == spec.parameters
    assert planned.after.shape == spec.layers[0]
    assert planned.after.checkpoint_bytes == pytest.approx(
        (pruned / "model.safetensors").stat().st_size, rel=0.01
    )
    assert planned.before.parameters == open_checkpoint(MODEL_DIR).spec.parameters


def test_a_plan_needs_no_weights(tmp_path: Path) -> None:
    shutil.copy(MODEL_DIR / "config.json", tmp_path)
    assert plan(tmp_path, ratio=0.3).before.parameters == 1_701_600


def test_a_plan_of_a_recipe_takes_no_other_options() -> None:
    assert plan("demo").after.parameters == plan("embedded", ratio=0.2).after.parameters
    with pytest.raises(BadRequestError, match="edit the recipe"):
        plan("demo", ratio=0.2)


def test_plan_text_and_json_agree() -> None:
    planned = plan("embedded", ratio=0.2, context=256)
    assert f"{planned.after.parameters:,}" in planned.text()
    assert "KV cache of 256 tokens" in planned.text()
    assert json.loads(json.dumps(planned.to_json()))["after"]["parameters"]


def test_a_context_too_long_is_found_by_the_plan() -> None:
    with pytest.raises(BadRequestError, match=r"context 4096 .* 512"):
        plan("embedded", context=4096)


def test_info_tells_a_dense_checkpoint_from_a_pruned_one(pruned: Path) -> None:
    facts, text = info(pruned)
    assert facts["record"]["dense"]["name"] == "embedded"
    assert "pruned from embedded" in text
    facts, text = info(MODEL_DIR)
    assert facts["parameters"] == 1_701_600
    assert "not made by paredown prune" in text
