"""What paredown writes, read by transformers 4.57: another environment, named by a variable."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from adaptive_checkpoint import write_adaptive, write_padded
from safetensors.torch import save_file
from tiny_checkpoint import VARIANTS

from toolchain.model.checkpoint import open_checkpoint

PYTHON = os.environ.get("PAREDOWN_TRANSFORMERS_457")
IDS = torch.tensor([[0, 5, 9, 33, 12, 60, 7, 7, 20], [0, 14, 3, 3, 41, 8, 11, 30, 4]])
ROPE = {"rope_type": "default", "rope_theta": 777.0}
"""Away from every default: 4.57 does not know transformers 5's `rope_parameters`."""

READER = """
import json, sys
import torch, transformers
from safetensors.torch import load_file
assert transformers.__version__.startswith("4.57."), transformers.__version__
found = {}
for folder, attention in json.loads(sys.argv[1]):
    expected = load_file(folder + ".safetensors")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=True, attn_implementation=attention).eval()
    ids = expected["ids"]
    with torch.inference_mode():
        worst = (model(ids).logits - expected["logits"]).abs().max().item()
        made = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False,
            min_new_tokens=5, max_new_tokens=5, eos_token_id=None, pad_token_id=1)
        for _ in range(5):
            best = model(ids, use_cache=False).logits[:, -1:].argmax(-1)
            ids = torch.cat([ids, best], dim=1)
    found[folder] = [type(model).__name__, worst, bool((made == ids).all())]
print(json.dumps(found))
"""


def rope(variant: str) -> dict[str, Any]:
    """Config values that set the rotary embedding of `variant`."""
    if variant in ("opt", "gpt2"):
        return {}
    if variant != "gemma3":
        return {"rope_parameters": dict(ROPE)}
    local = {"rope_type": "default", "rope_theta": 55.0}
    return {"rope_parameters": {"full_attention": dict(ROPE), "sliding_attention": local}}


@pytest.mark.skipif(
    PYTHON is None, reason="PAREDOWN_TRANSFORMERS_457 names no python with transformers 4.57"
)
def test_every_family_gives_the_same_logits_and_generates(tmp_path: Path) -> None:
    folders = []
    for variant in VARIANTS:
        adaptive = write_adaptive(tmp_path / f"{variant}-adaptive", variant, **rope(variant))
        padded = write_padded(tmp_path / f"{variant}-padded", adaptive)
        for folder in (adaptive, padded):
            checkpoint = open_checkpoint(folder)
            with torch.inference_mode():
                logits = checkpoint.load()(IDS).logits
            save_file({"ids": IDS, "logits": logits}, f"{folder}.safetensors")
            eager = checkpoint.family.eager_attention
            folders.append((str(folder), "eager" if eager else "sdpa"))
    assert PYTHON is not None
    done = subprocess.run(
        [PYTHON, "-c", READER, json.dumps(folders)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 2 * len(VARIANTS)
    for folder, (name, worst, generated) in found.items():
        assert name.startswith("Adaptive") == folder.endswith("adaptive"), (folder, name)
        assert worst < 1e-5, (folder, worst)
        assert generated, folder
