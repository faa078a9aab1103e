"""Checkpoints whose layers differ in width, read by plain transformers and by paredown."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
import transformers
from adaptive_checkpoint import write_adaptive
from tiny_checkpoint import VARIANTS
from transformers import AutoConfig, AutoModelForCausalLM

from toolchain.model import families
from toolchain.model.adaptive import remote_files
from toolchain.model.checkpoint import open_checkpoint, read_config
from toolchain.model.spec import spec_from_config

IDS = torch.tensor([[0, 5, 9, 33, 12, 60, 7, 7, 20], [0, 14, 3, 3, 41, 8, 11, 30, 4]])


@pytest.fixture(scope="module", params=VARIANTS)
def adaptive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adaptive checkpoint of each variant."""
    return write_adaptive(tmp_path_factory.mktemp("adaptive") / request.param, request.param)


def load(folder: Path, **options: object) -> torch.nn.Module:
    """As a user would."""
    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, **options).eval()


def outputs(model: torch.nn.Module) -> list[torch.Tensor]:
    """Every layer's hidden states, and the logits."""
    with torch.inference_mode():
        result = model(IDS, output_hidden_states=True)
    return [*result.hidden_states, result.logits]


def test_every_hidden_state_equals_our_own_reading(adaptive: Path) -> None:
    checkpoint = open_checkpoint(adaptive)
    attention = "eager" if checkpoint.family.eager_attention else "sdpa"
    theirs = load(adaptive, attn_implementation=attention)
    assert type(theirs).__name__ == f"Adaptive{checkpoint.family.architecture}"
    assert theirs.num_parameters() == checkpoint.spec.parameters
    for one, other in zip(outputs(theirs), outputs(checkpoint.load()), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_config_and_weights_name_the_same_widths(adaptive: Path) -> None:
    checkpoint = open_checkpoint(adaptive)
    assert spec_from_config(read_config(adaptive, "x"), checkpoint.name) == checkpoint.spec
    assert len(set(checkpoint.spec.layers)) == 3


def test_generation_with_a_cache_equals_greedy_without(adaptive: Path) -> None:
    model = load(adaptive)
    ids = IDS
    for _ in range(6):
        with torch.inference_mode():
            best = model(ids, use_cache=False).logits[:, -1:].argmax(-1)
        ids = torch.cat([ids, best], dim=1)
    found = model.generate(
        IDS,
        attention_mask=torch.ones_like(IDS),
        do_sample=False,
        min_new_tokens=6,
        max_new_tokens=6,
        eos_token_id=None,
        pad_token_id=1,
    )
    assert found.tolist() == ids.tolist()


def test_saving_and_loading_again_changes_nothing(adaptive: Path, tmp_path: Path) -> None:
    model = load(adaptive)
    model.save_pretrained(tmp_path / "again")
    for name, text in remote_files().items():
        assert (tmp_path / "again" / name).read_text() == text
    for one, other in zip(outputs(load(tmp_path / "again")), outputs(model), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)
    assert open_checkpoint(tmp_path / "again").spec.layers == open_checkpoint(adaptive).spec.layers


def test_nothing_is_loaded_without_trust(adaptive: Path) -> None:
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        AutoModelForCausalLM.from_pretrained(adaptive, trust_remote_code=False)
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        AutoConfig.from_pretrained(adaptive, trust_remote_code=False)
    stock = getattr(transformers, open_checkpoint(adaptive).family.architecture)
    with pytest.raises(RuntimeError, match="ismatch"):
        stock.from_pretrained(adaptive)


def test_paredown_asks_nobody_for_trust(adaptive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("builtins.input", lambda *text: asked.append(text) or "n")
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.get_cached_module_file",
        lambda *arguments, **_: asked.append(arguments),
    )
    checkpoint = open_checkpoint(adaptive)
    dense = open_checkpoint(adaptive.with_name(f"{adaptive.name}-dense"))
    assert type(checkpoint.tokenizer()) is type(dense.tokenizer())
    assert checkpoint.tokenizer().get_vocab() == dense.tokenizer().get_vocab()
    checkpoint.load()
    assert not asked


def test_dtype_tying_and_a_copy(adaptive: Path) -> None:
    model = load(adaptive, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    tied = open_checkpoint(adaptive).spec.tie_word_embeddings
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert (table is head) == tied
    again = copy.deepcopy(model)
    for one, other in zip(outputs(again), outputs(model), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_an_attention_chosen_later_reaches_every_layer(adaptive: Path) -> None:
    model = load(adaptive, attn_implementation="eager")
    layers = families.decoder_layers(open_checkpoint(adaptive).skeleton)
    name = open_checkpoint(adaptive).family.attention
    prefix = open_checkpoint(adaptive).family.layers
    configs = [model.get_submodule(f"{prefix}.{i}.{name}").config for i in range(len(layers))]
    assert {config._attn_implementation for config in configs} == {"eager"}
    if not open_checkpoint(adaptive).family.eager_attention:
        model.set_attn_implementation("sdpa")
        assert {config._attn_implementation for config in configs} == {"sdpa"}


def test_a_fresh_model_of_the_config_has_its_widths(adaptive: Path) -> None:
    config = AutoConfig.from_pretrained(adaptive, trust_remote_code=True)
    model = AutoModelForCausalLM.from_config(config, trust_remote_code=True)
    assert model.num_parameters() == open_checkpoint(adaptive).spec.parameters


def test_a_config_that_lacks_a_layer_is_refused(tmp_path: Path) -> None:
    from toolchain.errors import BadRequestError

    folder = write_adaptive(tmp_path / "model", "llama-tied")
    config = json.loads((folder / "config.json").read_text())
    del config["paredown"]["layers"][1]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadRequestError, match="lists 2 layers of 3"):
        _ = open_checkpoint(folder).spec
