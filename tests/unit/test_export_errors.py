"""Exports that cannot end well are refused before anything is loaded or written."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeBundle
from tiny_models import CONTEXT, save_tiny_checkpoint

from runtime_py.bundle import open_bundle
from toolchain import export
from toolchain.errors import BadRequestError, BrokenBundleError, MissingError, ParedownError
from toolchain.store import CHECKPOINT_RECORD

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_tiny_checkpoint(tmp_path / "model", "mistral", sliding_window=16)


def refusal(checkpoint: Path, out: Path, error: type[ParedownError], **settings: Any) -> str:
    """The one line of a refused export; nothing new stands beside the output."""
    before = sorted(path for path in out.parent.rglob("*"))
    with pytest.raises(error) as caught:
        export(checkpoint, out=out, **{"context": 8, **settings})
    assert sorted(path for path in out.parent.rglob("*")) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change_config(checkpoint: Path, **values: Any) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("backend", ["onnx", "executorch"])
def test_context_longer_than_the_attention_window(
    checkpoint: Path, tmp_path: Path, backend: str
) -> None:
    line = refusal(checkpoint, tmp_path / "out", BadRequestError, context=17, backend=backend)
    assert "context 17" in line
    assert "attention window: 16" in line
    assert "--context 16" in line


def test_context_longer_than_the_positions(checkpoint: Path, tmp_path: Path) -> None:
    change_config(checkpoint, sliding_window=None)
    line = refusal(checkpoint, tmp_path / "out", BadRequestError, context=CONTEXT + 1)
    assert f"positions: {CONTEXT}" in line


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}},
        {"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]}},
    ],
)
def test_rotary_embeddings_that_depend_on_the_length(
    checkpoint: Path, tmp_path: Path, rope: dict[str, Any]
) -> None:
    change_config(checkpoint, **{"rope_parameters": None, **rope})
    line = refusal(checkpoint, tmp_path / "out", BadRequestError)
    kind = "dynamic" if "rope_parameters" in rope else "longrope"
    assert f"rotary embedding '{kind}'" in line
    assert "supported: default, linear, llama3, yarn" in line


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "onxx"}, "did you mean 'onnx'?"),
        ({"quant": "8da4w"}, "onnx has no quantisation '8da4w'"),
        ({"backend": "executorch", "quant": "int4"}, "executorch has no quantisation 'int4'"),
        ({"group_size": 48}, "group_size is 48"),
        ({"context": 1}, "context is 1"),
    ],
)
def test_unknown_names_and_values(
    checkpoint: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    assert message in refusal(checkpoint, tmp_path / "out", BadRequestError, **settings)


def test_output_that_is_not_ours(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.tex").write_text("precious")
    assert "not written by paredown" in refusal(checkpoint, out, BadRequestError)


@pytest.mark.parametrize("inside", [".", "pruned"])
def test_output_over_the_checkpoint(checkpoint: Path, tmp_path: Path, inside: str) -> None:
    out = tmp_path / "ours"
    out.mkdir()
    mark = json.dumps({"schema": "paredown.checkpoint/1"})
    (out / CHECKPOINT_RECORD).write_text(mark)
    source = out / inside
    shutil.copytree(checkpoint, source, dirs_exist_ok=True)
    line = refusal(source, out, BadRequestError)
    assert "holds the checkpoint that is being exported" in line


def test_missing_extra(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def find_no_onnxscript(name: str, package: str | None = None) -> Any:
        return None if name == "onnxscript" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_no_onnxscript)
    line = refusal(checkpoint, tmp_path / "out", MissingError, backend="onnx")
    assert "onnxscript" in line
    assert "pip install 'paredown[onnx]'" in line


def test_full_disk(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12 - 10**6, 10**6))
    line = refusal(checkpoint, tmp_path / "out", BadRequestError)
    assert "has 1 MB free" in line
    assert "choose another --out" in line


def test_checkpoint_without_a_tokenizer(checkpoint: Path, tmp_path: Path) -> None:
    for path in checkpoint.glob("tokenizer*"):
        path.unlink()
    assert "tokenizer" in refusal(checkpoint, tmp_path / "out", BadRequestError)


def test_a_flipped_byte_in_any_file_is_named(tiny_bundle: MakeBundle, tmp_path: Path) -> None:
    source = tiny_bundle("llama", "onnx", per_layer=True)
    for entry in open_bundle(source).files:
        bundle = tmp_path / entry.path.replace(".", "-")
        shutil.copytree(source, bundle)
        content = bytearray((bundle / entry.path).read_bytes())
        content[len(content) // 2] ^= 1
        (bundle / entry.path).write_bytes(content)
        with pytest.raises(BrokenBundleError, match=entry.path):
            open_bundle(bundle)
