"""Recipes: what is accepted, and that a refusal names the key, the value and the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.embedded import DEMO_RECIPE
from toolchain.errors import BadRequestError
from toolchain.recipe import (
    ExportSettings,
    ProfileSettings,
    PruneSettings,
    build,
    bundle_names,
    load_recipe,
)

ROOT = Path(__file__).parents[2]
RECIPES = [*sorted((ROOT / "recipes").glob("*.yaml")), DEMO_RECIPE]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_every_shipped_recipe_is_accepted(path: Path) -> None:
    recipe = load_recipe(path)
    assert bundle_names(recipe.export)


def test_defaults_fill_what_a_recipe_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("schema: paredown.recipe/1\nmodel: embedded\n")
    recipe = load_recipe(path)
    assert recipe.prune == PruneSettings()
    assert recipe.export == [ExportSettings()]
    assert recipe.profile == ProfileSettings()


def test_a_local_model_is_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = tmp_path / "r.yaml"
    path.write_text("schema: paredown.recipe/1\nmodel: model\n")
    assert load_recipe(path).model == str(tmp_path / "model")


@pytest.mark.parametrize(
    ("recovery", "importance"),
    [
        ("none", "wanda"),
        ("bias", "fluctuation"),
        ("mask_tuning", "condition_mask"),
        ("least_squares", "condition"),
    ],
)
def test_auto_importance_matches_the_recovery(recovery: str, importance: str) -> None:
    assert PruneSettings(recovery=recovery).matched_importance == importance
    assert (
        PruneSettings(recovery=recovery, importance="magnitude").matched_importance == "magnitude"
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ratio": 1.0}, ["ratio is 1.0", "less than 1"]),
        ({"ratio": "half"}, ["ratio is 'half'"]),
        ({"recovery": "leastsquares"}, ["unknown recovery", "did you mean 'least_squares'?"]),
        ({"layers": "some"}, ["layers is 'some'", "'auto'"]),
        ({"params": "1M", "bytes": "1MB"}, ["both params and bytes"]),
        ({"allocation": "kl"}, ["allocation 'kl'", "--layout adaptive"]),
        ({"pad": True}, ["needs no padding", "--layout adaptive"]),
        ({"parts": "layers", "layers": 0}, ["removes nothing", "--layers N"]),
        ({"importence": "wanda"}, ["unknown key 'importence'", "did you mean 'importance'?"]),
        ({"samples": 0}, ["samples is 0"]),
        ({"seed": -1}, ["seed is -1"]),
        ({"parts": "heads"}, ["parts is 'heads'", "'attention'"]),
    ],
)
def test_a_refusal_names_key_value_and_way_out(values: dict[str, object], words: list[str]) -> None:
    with pytest.raises(BadRequestError) as refusal:
        build(PruneSettings, values, "prune")
    for word in words:
        assert word in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_bundles_that_differ_have_names_that_differ() -> None:
    names = bundle_names([ExportSettings(context=c) for c in (64, 128)])
    assert len(set(names)) == 2


def test_settings_make_a_protocol_with_a_stable_fingerprint() -> None:
    one = ProfileSettings().protocol
    assert one.fingerprint == ProfileSettings().protocol.fingerprint
    assert one.fingerprint != ProfileSettings(threads=2).protocol.fingerprint
