"""GGUF files against torch: llama.cpp itself computes the logits and encodes the text."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_checkpoint import write_adaptive, write_checkpoint

from toolchain import gguf, prune
from toolchain.calibrate.sources import read_documents
from toolchain.embedded import documents
from toolchain.model.checkpoint import Checkpoint, open_checkpoint

pytest.importorskip("gguf", reason="gguf is not installed")

TOKENS = 24
CONTEXT = 64
WORKER = Path(__file__).parents[1] / "llama_worker.py"


@pytest.fixture(scope="module")
def llama_python() -> str:
    """A Python that can import llama_cpp."""
    if importlib.util.find_spec("llama_cpp") is not None:
        return sys.executable
    python = os.environ.get("PAREDOWN_LLAMA_PYTHON")
    if python is None:
        pytest.skip("llama_cpp is not installed; or name a Python with it: PAREDOWN_LLAMA_PYTHON")
    return python


def run(python: str, model: Path, prompts: list[list[int]], texts: list[str]) -> dict[str, Any]:
    request = {
        "model": str(model),
        "context": CONTEXT,
        "prompts": prompts,
        "tokens": TOKENS,
        "texts": texts,
    }
    done = subprocess.run(
        [python, WORKER], input=json.dumps(request), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout))


def check(
    python: str, source: Checkpoint, file: Path, texts: list[str], tolerance: float = 2e-4
) -> None:
    """Logits of prompts, greedy continuations and encodings of `texts` equal torch's."""
    tokenizer, model = source.tokenizer(), source.load()
    encodings = [tokenizer(text).input_ids for text in texts]
    prompts = [ids[:24] for ids in encodings[:3]]
    found = run(python, file, prompts, texts)
    for prompt, logits, tokens in zip(
        prompts, found["logits"], found["continuations"], strict=True
    ):
        expected = model(torch.tensor([prompt])).logits[0]
        assert (torch.tensor(logits) - expected).abs().max() < tolerance * expected.abs().max()
        assert tokens == greedy(model, prompt)
    assert found["encodings"] == encodings


def greedy(model: Any, prompt: list[int]) -> list[int]:
    ids = list(prompt)
    for _ in range(TOKENS):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("variant", ["llama-tied", "llama-biased", "qwen2", "phi3"])
@pytest.mark.parametrize("layout", ["uniform", "adaptive"])
def test_families(llama_python: str, variant: str, layout: str, tmp_path: Path) -> None:
    make = write_adaptive if layout == "adaptive" else write_checkpoint
    source = open_checkpoint(make(tmp_path / "m", variant))
    written = gguf(source, out=tmp_path / "m.gguf")
    assert written.architecture == ("deci" if layout == "adaptive" else "llama")
    texts = ["abc defgh ijKLM nop qrs", "A BCD efghij klmno 0123", "zyxw vuts rqp"]
    check(llama_python, source, tmp_path / "m.gguf", texts)


def test_a_scaled_rotary_embedding(llama_python: str, tmp_path: Path) -> None:
    rope = {
        "rope_type": "llama3",
        "rope_theta": 500.0,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    source = open_checkpoint(write_checkpoint(tmp_path / "m", rope_parameters=rope))
    gguf(source, out=tmp_path / "m.gguf")
    check(llama_python, source, tmp_path / "m.gguf", ["abcdefghijk lmnop qrstuvw", "xyz abc"])


def test_the_embedded_model(llama_python: str, tmp_path: Path) -> None:
    source = open_checkpoint("embedded")
    gguf(source, out=tmp_path / "m.gguf")
    check(llama_python, source, tmp_path / "m.gguf", documents("evaluation", 20))


@pytest.mark.assets
@pytest.mark.parametrize("model", ["stories260K", "stories3M"])
def test_pruned_stories(llama_python: str, model: str, assets: Path, tmp_path: Path) -> None:
    pruned = tmp_path / "pruned"
    prune(
        assets / "models" / model,
        out=pruned,
        ratio=0.2,
        layout="adaptive",
        layers=0,
        importance="wanda",
        recovery="none",
        allocation="global",
        drafts=1,
        joint_masks=False,
        samples=8,
        calibration=str(assets / "data" / "tinystories_calib.txt"),
        round_to=8,
    )
    source = open_checkpoint(pruned)
    assert len(set(source.spec.layers)) > 1
    gguf(source, out=tmp_path / "m.gguf")
    texts = read_documents(str(assets / "data" / "tinystories_eval.txt"), "evaluation")[:20]
    check(llama_python, source, tmp_path / "m.gguf", texts)
