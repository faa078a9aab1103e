"""Our layer-by-layer reading of every family against transformers' own model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_checkpoint import VARIANTS, write_checkpoint
from transformers import AutoModelForCausalLM

from toolchain.model import families
from toolchain.model.block import Block, Rotary
from toolchain.model.checkpoint import open_checkpoint
from toolchain.model.compact import PARTS

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
        hidden = families.embedding(outer)(IDS)
        states = [hidden]
        for index in range(len(checkpoint.spec.layers)):
            layer = checkpoint.layer(index)
            for block in blocks:
                hidden = block.apply(layer, hidden)
            states.append(hidden)
        states[-1] = families.final_norm(outer)(states[-1])
        logits = families.head(outer)(states[-1])
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
        torch.testing.assert_close(applied, hidden + output, atol=0, rtol=0)


def test_padding_on_the_right_changes_nothing_before_it(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "model", "qwen3"))
    model = checkpoint.load()
    with torch.inference_mode():
        padded = model(IDS).logits[1, :6]
        alone = model(IDS[1:, :6]).logits[0]
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-5)


def test_the_whole_loaded_model_equals_transformers(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", "llama-biased")
    with torch.inference_mode():
        ours = open_checkpoint(folder).load()(IDS).logits
        theirs = AutoModelForCausalLM.from_pretrained(folder).eval()(IDS).logits
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
