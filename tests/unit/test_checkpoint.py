"""Opening checkpoints: shards, damage, and that a layer alone is the layer of the whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from toolchain.dry_run import plan_recipe
from toolchain.embedded import MODEL_DIR
from toolchain.errors import BadRequestError
from toolchain.model import families
from toolchain.model.checkpoint import EMBEDDED, open_checkpoint
from toolchain.recipe import Recipe, build


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model in several shards."""
    out = tmp_path_factory.mktemp("sharded")
    AutoModelForCausalLM.from_pretrained(MODEL_DIR).save_pretrained(out, max_shard_size="1MB")
    assert len(list(out.glob("*.safetensors"))) > 2
    return out


def test_shards_are_read_like_one_file(sharded: Path) -> None:
    whole, parts = open_checkpoint(EMBEDDED), open_checkpoint(sharded)
    assert parts.spec.layers == whole.spec.layers
    assert parts.tensor_names() == whole.tensor_names()
    for name in whole.tensor_names():
        assert torch.equal(whole.tensor(name), parts.tensor(name))
    assert parts.identity.weights_sha256 != whole.identity.weights_sha256


def test_a_missing_shard_is_named(sharded: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(sharded, tmp_path / "copy"))
    gone = sorted(copy.glob("*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(BadRequestError, match=gone.name):
        open_checkpoint(copy)


def test_a_layer_alone_is_the_layer_of_the_whole() -> None:
    checkpoint = open_checkpoint(EMBEDDED)
    whole = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    for index, layer in enumerate(families.decoder_layers(whole)):
        alone = checkpoint.layer(index).state_dict()
        assert alone.keys() == layer.state_dict().keys()
        assert all(torch.equal(alone[n], t) for n, t in layer.state_dict().items())


def test_the_whole_gives_transformers_logits() -> None:
    checkpoint = open_checkpoint(EMBEDDED)
    reference = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        assert torch.equal(checkpoint.load()(ids).logits, reference(ids).logits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "int8"}, "quantised checkpoints cannot be pruned"),
        ({"hidden_size": None}, "is incomplete"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "not a causal language model"),
    ],
)
def test_a_config_that_does_not_serve(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    config = json.loads((MODEL_DIR / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    recipe = build(Recipe, {"schema": "paredown.recipe/1", "model": str(tmp_path)}, "test")
    with pytest.raises(BadRequestError, match=message):
        plan_recipe(recipe)


def test_a_config_that_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadRequestError, match="not JSON"):
        open_checkpoint(tmp_path)


def test_an_absent_tensor_is_named(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(MODEL_DIR, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 6}))
    with pytest.raises(BadRequestError, match=r"has no tensor model\.layers\.5\."):
        open_checkpoint(copy).spec  # noqa: B018 - reading it is the point
