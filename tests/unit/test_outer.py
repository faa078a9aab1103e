"""What is outside the layers: the same as transformers', with the tables left on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoint import VARIANTS, write_checkpoint
from transformers import AutoModelForCausalLM

from toolchain.errors import BadRequestError
from toolchain.model import families
from toolchain.model.checkpoint import open_checkpoint
from toolchain.model.outer import Outer
from toolchain.model.rows import TableRows

IDS = torch.tensor([[0, 5, 9, 33, 12, 60, 7, 7], [0, 11, 12, 13, 14, 15, 62, 0]])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_embedding_and_logits_are_those_of_the_whole_model(
    variant: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    folder = write_checkpoint(tmp_path / "model", variant)
    AutoModelForCausalLM.from_pretrained(folder).to(dtype).save_pretrained(folder)
    source = open_checkpoint(folder)
    whole, outer = source.outer(), Outer(source, slice_elements=7 * 48)
    embedded = outer.embed(IDS)
    assert embedded.dtype == torch.float32
    assert torch.equal(embedded, families.embed(whole, IDS))
    normed = families.final_norm(whole)(embedded)
    assert torch.equal(outer.normed(embedded), normed)
    expected = families.logits(whole, normed)
    torch.testing.assert_close(outer.logits(embedded), expected, rtol=1e-5, atol=1e-5)
    assert outer.vocab_size == expected.shape[-1]


def test_no_table_is_held_when_it_is_larger_than_a_slice(tmp_path: Path) -> None:
    source = open_checkpoint(write_checkpoint(tmp_path / "model", "llama-untied"))
    outer = Outer(source, slice_elements=48)
    outer.embed(IDS)
    assert families.embedding(outer._model).weight is None
    assert families.head(outer._model).weight is None
    assert outer._whole is None
    assert Outer(source)._whole is not None


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "lm_head.weight"])
def test_a_damaged_table_is_named(name: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", "llama-untied")
    tensors = load_file(folder / "model.safetensors")
    tensors[name][-1, 3] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadRequestError, match=f"tensor {name} of model holds NaN or Inf"):
        Outer(open_checkpoint(folder))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_no_value_that_is_not_finite_passes(bad: float, dtype: torch.dtype, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    tensors = {n: t.to(dtype) for n, t in load_file(folder / "model.safetensors").items()}
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name][3, 4] = bad
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    source = open_checkpoint(folder)
    for _ in range(2):
        with pytest.raises(BadRequestError, match="NaN or Inf"):
            source.tensor(name)
    source.tensor("model.layers.0.mlp.up_proj.weight")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_rows_are_those_of_the_tensor(dtype: torch.dtype, tmp_path: Path) -> None:
    table = torch.randn(9, 5).to(dtype)
    file = tmp_path / "model.safetensors"
    save_file({"other": torch.ones(3), "table": table}, file)
    rows = TableRows.open(file, "table")
    assert (rows.count, rows.width, rows.dtype) == (9, 5, dtype)
    assert torch.equal(rows.read(0, 9), table)
    assert torch.equal(rows.read(3, 5), table[3:5])
    index = torch.tensor([8, 0, 4])
    assert torch.equal(rows.at(index), table[index])
