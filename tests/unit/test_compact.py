"""Saving weights: one file, or shards that transformers can read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoint import write_checkpoint
from transformers import AutoModelForCausalLM

from runtime_py.schema import LayerShape
from toolchain.model.checkpoint import open_checkpoint
from toolchain.model.compact import ATTENTION, MLP, save_tensors, unit_width
from toolchain.model.shards import save_weights


def test_a_small_model_is_one_file(tmp_path: Path) -> None:
    groups = [{"a": torch.ones(3)}, {"b": torch.zeros(2, 2)}]
    save_weights(tmp_path, groups)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    loaded = load_file(tmp_path / "model.safetensors")
    assert torch.equal(loaded["a"], torch.ones(3))
    assert torch.equal(loaded["b"], torch.zeros(2, 2))


def test_shards_reload_in_transformers_and_here(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", "qwen3")
    source = open_checkpoint(folder)
    groups = [source.outer_tensors()]
    for index in range(len(source.spec.layers)):
        prefix = source.family.layer_prefix(index)
        groups.append({f"{prefix}{n}": t for n, t in source.layer_tensors(index).items()})
    out = tmp_path / "sharded"
    out.mkdir()
    layer_bytes = sum(t.numel() * 4 for t in groups[1].values())
    save_weights(out, groups, largest_shard_bytes=2 * layer_bytes + 16)
    (out / "config.json").write_text((folder / "config.json").read_text())
    shards = sorted(p.name for p in out.glob("*.safetensors"))
    assert shards == [
        f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)
    ]
    assert len(shards) >= 2
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(shards)
    assert index["metadata"]["total_size"] == 4 * source.spec.parameters
    ids = torch.tensor([[0, 5, 9, 33]])
    with torch.inference_mode():
        expected = AutoModelForCausalLM.from_pretrained(folder).eval()(ids).logits
        assert torch.equal(AutoModelForCausalLM.from_pretrained(out).eval()(ids).logits, expected)
        ours = open_checkpoint(out).load()(ids).logits
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-6)


def test_widths_of_elements_mix_in_one_file_and_stay_aligned(tmp_path: Path) -> None:
    groups = [
        {"odd": torch.randn(3).bfloat16(), "wide": torch.randn(2, 3)},
        {
            "half": torch.randn(5, 1).half(),
            "none": torch.empty(0),
            "double": torch.randn(1).double(),
        },
        {"view": torch.randn(4, 3).T},
    ]
    (tmp_path / ".part-00000.safetensors.4.partial").write_bytes(b"of a run that was killed")
    save_weights(tmp_path, groups)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    loaded = load_file(tmp_path / "model.safetensors")
    expected = {name: tensor for group in groups for name, tensor in group.items()}
    assert loaded.keys() == expected.keys()
    for name, tensor in expected.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor), name
        assert loaded[name].data_ptr() % tensor.element_size() == 0


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.ones(1)}, {})
    with pytest.raises(ValueError, match="non contiguous"):
        save_tensors(path, {"a": torch.ones(2, 3).T}, {})
    assert torch.equal(load_file(path)["a"], torch.ones(1))


def test_saved_files_obey_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.ones(1)}, {})
    other = tmp_path / "other"
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


def test_a_group_owns_all_its_query_columns() -> None:
    shape = LayerShape(8, 2, 16, 40)
    assert unit_width(shape, ATTENTION) == shape.head_dim
    assert unit_width(shape, MLP) == 1
