"""GGUF files against transformers, by the layer that llama.cpp's `llama` and `deci` compute.

The reference knows nothing but the file: names, lists of widths, and a rotary embedding that turns
neighbouring rows by frequencies divided by `rope_freqs`.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_checkpoint import write_adaptive, write_checkpoint
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention, silu

from toolchain import gguf as write
from toolchain.calibrate.sources import read_documents
from toolchain.exporting.gguf_vocabulary import Vocabulary, read_vocabulary
from toolchain.model.checkpoint import open_checkpoint

gguf = pytest.importorskip("gguf", reason="gguf is not installed")

IDS = torch.tensor([4, 9, 17, 33, 5, 60, 12, 12, 8, 41, 22])
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


class Reference:
    """A GGUF file and what it computes."""

    def __init__(self, path: Path) -> None:
        reader = gguf.GGUFReader(path)
        self.tensors = {t.name: torch.tensor(t.data) for t in reader.tensors}
        self._fields = {name: field.contents() for name, field in reader.fields.items()}

    def value(self, key: str, layer: int = 0) -> Any:
        """A key of the architecture; of a list the layer's entry."""
        found = self._fields[f"{self._fields['general.architecture']}.{key}"]
        return found[layer] if isinstance(found, list) else found

    def logits(self, ids: Tensor) -> Tensor:
        table = self.tensors["token_embd.weight"]
        hidden = table[ids]
        for index in range(self.value("block_count")):
            hidden = hidden + self._attention(index, hidden)
            normed = self._norm(hidden, f"blk.{index}.ffn_norm")
            gated = silu(self._project(f"blk.{index}.ffn_gate", normed))
            inner = gated * self._project(f"blk.{index}.ffn_up", normed)
            assert inner.shape[-1] == self.value("feed_forward_length", index)
            hidden = hidden + self._project(f"blk.{index}.ffn_down", inner)
        return linear(self._norm(hidden, "output_norm"), self.tensors.get("output.weight", table))

    def _attention(self, index: int, hidden: Tensor) -> Tensor:
        normed = self._norm(hidden, f"blk.{index}.attn_norm")
        heads = {letter: self.value("attention.head_count_kv", index) for letter in "kv"}
        heads["q"] = self.value("attention.head_count", index)
        q, k, v = (
            self._project(f"blk.{index}.attn_{letter}", normed)
            .view(len(hidden), heads[letter], self.value("attention.key_length"))
            .transpose(0, 1)
            for letter in "qkv"
        )
        q, k = self._rotated(q), self._rotated(k)
        mixed = scaled_dot_product_attention(
            q[None], k[None], v[None], is_causal=True, enable_gqa=True
        )
        return self._project(f"blk.{index}.attn_output", mixed[0].transpose(0, 1).flatten(1))

    def _rotated(self, rows: Tensor) -> Tensor:
        """Rows 2 i and 2 i + 1 of every head [h, t, d], turned together."""
        width = self.value("rope.dimension_count")
        frequencies = self.value("rope.freq_base") ** -(torch.arange(0, width, 2) / width)
        frequencies = frequencies / self.tensors.get("rope_freqs.weight", torch.ones(width // 2))
        angles = torch.arange(rows.shape[1])[:, None] * frequencies
        turned = torch.view_as_complex(rows.unflatten(-1, (-1, 2)).contiguous())
        turned = turned * torch.polar(torch.ones_like(angles), angles)
        return torch.view_as_real(turned).flatten(-2)

    def _norm(self, hidden: Tensor, name: str) -> Tensor:
        epsilon = self.value("attention.layer_norm_rms_epsilon")
        scale = hidden.square().mean(-1, keepdim=True).add(epsilon).rsqrt()
        return hidden * scale * self.tensors[f"{name}.weight"]

    def _project(self, name: str, inputs: Tensor) -> Tensor:
        return linear(inputs, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"))


def check(source: Path, folder: Path) -> None:
    write(source, out=folder / "m.gguf")
    model: Any = open_checkpoint(source).load()
    expected = model(IDS[None]).logits[0]
    found = Reference(folder / "m.gguf").logits(IDS)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    "variant", ["llama-tied", "llama-untied", "llama-biased", "mistral", "qwen2", "phi3"]
)
@pytest.mark.parametrize("layout", ["uniform", "adaptive"])
def test_families(variant: str, layout: str, tmp_path: Path) -> None:
    make = write_adaptive if layout == "adaptive" else write_checkpoint
    check(make(tmp_path / "m", variant), tmp_path)


@pytest.mark.parametrize("rope", [LLAMA3, {"rope_type": "linear", "rope_theta": 1e4, "factor": 2}])
def test_scaled_rotary_embeddings(rope: dict[str, Any], tmp_path: Path) -> None:
    check(write_checkpoint(tmp_path / "m", rope_parameters=rope), tmp_path)


def encode(vocabulary: Vocabulary, text: str) -> list[int]:
    """llama.cpp's encoding with a `llama` vocabulary: neighbours join, the highest score first."""
    ids = {token: index for index, token in enumerate(vocabulary.tokens)}
    parts = list((" " * vocabulary.space_prefix + text).replace(" ", "\u2581"))
    while True:
        joined = [first + second for first, second in pairwise(parts)]
        known = [i for i, token in enumerate(joined) if token in ids]
        if not known:
            return [i for part in parts for i in _ids(ids, part)]
        best = max(known, key=lambda i: (vocabulary.scores[ids[joined[i]]], -i))
        parts[best : best + 2] = [joined[best]]


def _ids(ids: dict[str, int], part: str) -> list[int]:
    return [ids[part]] if part in ids else [ids[f"<0x{byte:02X}>"] for byte in part.encode()]


@pytest.mark.assets
@pytest.mark.parametrize("model", ["stories260K", "stories3M"])
def test_a_vocabulary_with_byte_fallback_encodes_text(model: str, assets: Path) -> None:
    file = assets / "models" / model / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    vocabulary = read_vocabulary(
        file.read_text(encoding="utf-8"),
        size=tokenizer.get_vocab_size(),
        name=model,
        special_ids=(1, [2]),
        letter_ids=tokenizer.encode("a").ids,
        chat_template=None,
    )
    assert vocabulary.adds_bos
    documents = read_documents(str(assets / "data" / "tinystories_eval.txt"), "evaluation")[:20]
    sentences = [s for d in documents for s in re.split(r"(?<=\.) ", re.sub(" +", " ", d.strip()))]
    assert len(sentences) > 100
    for text in [*sentences, "na\u00efve \u2603 caf\u00e9"]:
        assert encode(vocabulary, text) == tokenizer.encode(text, add_special_tokens=False).ids
