"""Every refusal of the pruner: one line, and nothing left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoint import write_checkpoint, write_text

from toolchain.errors import BadRequestError, ParedownError
from toolchain.model.checkpoint import open_checkpoint
from toolchain.pruning.run import prune_checkpoint
from toolchain.recipe import PruneSettings, build
from toolchain.store import work_directory


def prune(tmp_path: Path, variant: str = "llama-tied", **changes: Any) -> None:
    """Prune a tiny model with settings that work but for `changes`."""
    dense = tmp_path / "dense"
    if not dense.exists():
        write_checkpoint(dense, variant)
    text = write_text(tmp_path / "text.txt")
    values = {"ratio": 0.3, "samples": 8, "seq_len": 16, "round_to": 4, "device": "cpu"}
    wanted = build(PruneSettings, {**values, "calibration": str(text), **changes}, "prune")
    prune_checkpoint(open_checkpoint(dense), wanted, tmp_path / "out")


def assert_clean(tmp_path: Path) -> None:
    """Neither a result nor unfinished work."""
    assert not (tmp_path / "out").exists()
    assert not work_directory(tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratio": 0.0}, "ratio is 0.0"),
        ({"ratio": 1.0}, "ratio is 1.0"),
        ({"ratio": 0.97}, "dense cannot be pruned by ratio 0.97; use --ratio 0.8.* or less"),
        ({"ratio": 0.95, "parts": "mlp"}, "dense cannot be pruned by ratio 0.95; use --ratio 0.9"),
        ({"samples": 64}, r"gives 24 samples of at most 16 tokens, and 64 \+ 8 held-out"),
        ({"seq_len": 65}, r"seq_len 65 is longer than dense attends to \(64\)"),
        ({"recovery": "least_square"}, "did you mean 'least_squares'"),
        ({"importance": "wando"}, "did you mean 'wanda'"),
        ({"importance": "no_such_module:score"}, "cannot import importance"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"calibration": "/nowhere/text.txt"}, "cannot read text /nowhere/text.txt"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match=message) as caught:
        prune(tmp_path, **changes)
    assert "\n" not in str(caught.value)
    assert_clean(tmp_path)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_here(device: str, tmp_path: Path) -> None:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if available[device]:
        pytest.skip(f"{device} is here")
    with pytest.raises(BadRequestError, match=f"device '{device}' is not available here"):
        prune(tmp_path, device=device)
    assert_clean(tmp_path)


@pytest.mark.parametrize("variant", ["mistral", "qwen2", "qwen3"])
def test_a_family_without_biases_refuses_them(variant: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match=f"adds biases, which a {variant} cannot hold"):
        prune(tmp_path, variant, recovery="bias")
    assert_clean(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_damaged_tensor_is_named(value: float, tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path / "dense") / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name][3, 5] = value
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(BadRequestError, match=f"tensor {name} of dense holds NaN or Inf"):
        prune(tmp_path)
    assert_clean(tmp_path)


def test_someone_elses_directory_is_left_alone(tmp_path: Path) -> None:
    keep = tmp_path / "out" / "thesis.txt"
    keep.parent.mkdir()
    keep.write_text("years of work")
    with pytest.raises(BadRequestError, match="exists and was not written by paredown"):
        prune(tmp_path)
    assert [p.name for p in keep.parent.iterdir()] == ["thesis.txt"]
    assert keep.read_text() == "years of work"


def test_our_own_result_is_replaced(tmp_path: Path) -> None:
    prune(tmp_path, recovery="none")
    first = (tmp_path / "out" / "model.safetensors").read_bytes()
    prune(tmp_path, recovery="least_squares")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() != first
    assert {p.name for p in tmp_path.iterdir()} == {"dense", "out", "text.txt"}


def test_the_model_itself_is_no_output(tmp_path: Path) -> None:
    prune(tmp_path)
    pruned = open_checkpoint(tmp_path / "out")
    before = sorted(p.name for p in pruned.path.iterdir())
    again = PruneSettings(calibration=str(tmp_path / "text.txt"), samples=8, seq_len=16, round_to=4)
    with pytest.raises(BadRequestError, match="is the model itself"):
        prune_checkpoint(pruned, again, tmp_path / "out")
    assert sorted(p.name for p in pruned.path.iterdir()) == before


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    dense = write_checkpoint(tmp_path / "dense")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (dense / name).unlink(missing_ok=True)
    with pytest.raises(ParedownError, match="no tokenizer"):
        prune(tmp_path)
    assert_clean(tmp_path)
