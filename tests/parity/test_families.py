"""Our layer-by-layer reading of every family against transformers' own model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoint import VARIANTS, write_checkpoint
from transformers import AutoConfig, AutoModelForCausalLM

from toolchain.model import families
from toolchain.model.block import Block, Rotary
from toolchain.model.checkpoint import open_checkpoint
from toolchain.model.compact import PARTS, scale_branches
from toolchain.model.spec import spec_from_config

IDS = torch.tensor([[0, 5, 9, 33, 12, 60, 7, 7, 20], [0, 14, 3, 3, 41, 8, 0, 0, 0]])


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_layers_hidden_state_equals_transformers(variant: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", variant)
    checkpoint = open_checkpoint(folder)
    reference = AutoModelForCausalLM.from_pretrained(folder, output_hidden_states=True).eval()
    outer = checkpoint.outer()
    rotary = Rotary(families.rotary_embedding(outer), "cpu")
    blocks = [Block(checkpoint.family, part, rotary) for part in PARTS]
    with torch.inference_mode():
        expected = reference(IDS)
        hidden = families.embed(outer, IDS)
        states = [hidden]
        for index in range(len(checkpoint.spec.layers)):
            layer = checkpoint.layer(index)
            for block in blocks:
                hidden = block.apply(layer, hidden)
            states.append(hidden)
        states[-1] = families.final_norm(outer)(states[-1])
        logits = families.logits(outer, states[-1])
    assert len(states) == len(expected.hidden_states)
    for ours, theirs in zip(states, expected.hidden_states, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits, expected.logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_branch_is_its_projection_of_its_input(variant: str, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "model", variant))
    rotary = Rotary(families.rotary_embedding(checkpoint.outer()), "cpu")
    layer = checkpoint.layer(1)
    hidden = torch.randn(2, 9, 48, generator=torch.Generator().manual_seed(1))
    for part in PARTS:
        block = Block(checkpoint.family, part, rotary)
        with torch.inference_mode():
            inputs, output = block.branch(layer, hidden)
            again = block.project(inputs, checkpoint.layer_tensors(1))
            applied = block.apply(layer, hidden)
        torch.testing.assert_close(again, output, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(applied, block.join(layer, hidden, output), atol=0, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_are_those_that_transformers_counts(variant: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", variant)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert open_checkpoint(folder).spec.parameters == model.num_parameters()
    config = json.loads((folder / "config.json").read_text())
    assert spec_from_config(config, "model") == open_checkpoint(folder).spec


@pytest.mark.parametrize("variant", ["gpt2", "opt"])
def test_a_checkpoint_without_the_bases_prefix_is_read(variant: str, tmp_path: Path) -> None:
    """The oldest checkpoints name tensors within the base model, and store masks as tensors."""
    folder = write_checkpoint(tmp_path / "model", variant)
    expected = open_checkpoint(folder).load()(IDS).logits
    base = open_checkpoint(folder).family.base
    stored = load_file(folder / "model.safetensors")
    renamed = {name.removeprefix(f"{base}."): tensor for name, tensor in stored.items()}
    renamed |= {"h.0.attn.bias": torch.ones(1, 1, 64, 64), "h.0.attn.masked_bias": torch.ones(1)}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    checkpoint = open_checkpoint(folder)
    assert checkpoint.tensor_names() == sorted(stored)
    assert torch.equal(checkpoint.load()(IDS).logits, expected)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kept", [[0, 2], [1]], ids=str)
def test_a_model_of_some_layers_is_those_layers(
    variant: str, kept: list[int], tmp_path: Path
) -> None:
    source = open_checkpoint(write_checkpoint(tmp_path / "model", variant))
    config = AutoConfig.for_model(**families.with_layers(source.config, kept))
    assert config.num_hidden_layers == len(kept)
    assert len(getattr(config, "layer_types", kept)) == len(kept)
    model = AutoModelForCausalLM.from_config(config).eval()
    tensors = source.outer_tensors()
    outer = source.outer()
    rotary = Rotary(families.rotary_embedding(outer), "cpu")
    blocks = [Block(source.family, part, rotary) for part in PARTS]
    with torch.inference_mode():
        hidden = families.embed(outer, IDS)
        for place, index in enumerate(kept):
            prefix = source.family.layer_prefix(place)
            tensors |= {f"{prefix}{n}": t for n, t in source.layer_tensors(index).items()}
            for block in blocks:
                hidden = block.apply(source.layer(index), hidden)
        expected = families.logits(outer, families.final_norm(outer)(hidden))
        missing, unexpected = model.load_state_dict(tensors, strict=False)
        model.tie_weights()
        found = model(IDS).logits
    assert not unexpected
    assert set(missing) <= {f"{source.family.head}.weight"}
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("factor", [1.3, 0.5])
def test_scaled_branches_add_that_much_more(variant: str, factor: float, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "model", variant))
    rotary = Rotary(families.rotary_embedding(checkpoint.outer()), "cpu")
    tensors = checkpoint.layer_tensors(0)
    scaled = checkpoint.layer_from(0, scale_branches(tensors, checkpoint.family, factor))
    hidden = torch.randn(2, 9, 48, generator=torch.Generator().manual_seed(1))
    for part in PARTS:
        block = Block(checkpoint.family, part, rotary)
        with torch.inference_mode():
            added = block.apply(checkpoint.layer(0), hidden) - hidden
            more = block.apply(scaled, hidden) - hidden
        torch.testing.assert_close(more, factor * added, atol=1e-5, rtol=1e-5)


def test_padding_on_the_right_changes_nothing_before_it(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "model", "qwen3"))
    model = checkpoint.load()
    with torch.inference_mode():
        padded = model(IDS).logits[1, :6]
        alone = model(IDS[1:, :6]).logits[0]
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_whole_loaded_model_equals_transformers(variant: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", variant)
    with torch.inference_mode():
        ours = open_checkpoint(folder).load()(IDS).logits
        theirs = AutoModelForCausalLM.from_pretrained(folder).eval()(IDS).logits
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
