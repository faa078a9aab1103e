"""GGUF files, read back with gguf's own reader: tensors, metadata, vocabulary, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_checkpoint
import torch
from adaptive_checkpoint import KEPT
from gguf_checkpoint import write_adaptive, write_checkpoint
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from toolchain import gguf as write
from toolchain.cli import main
from toolchain.errors import BadRequestError
from toolchain.exporting.gguf import interleaved
from toolchain.exporting.gguf_vocabulary import Vocabulary, read_vocabulary
from toolchain.model.checkpoint import open_checkpoint

gguf = pytest.importorskip("gguf", reason="gguf is not installed")


def fields(path: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def tensors(path: Path) -> dict[str, Any]:
    """Float values by name, in the shape that torch has them."""
    return {
        tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type)
        for tensor in gguf.GGUFReader(path).tensors
    }


def vocabulary(tokenizer: Tokenizer, size: int = 300) -> Vocabulary:
    return read_vocabulary(
        tokenizer.to_str(),
        size=size,
        name="m",
        special_ids=(1, [2]),
        letter_ids=[5],
        chat_template=None,
    )


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adaptive(tmp_path_factory.mktemp("gguf") / "adaptive", "llama-untied")


def test_every_tensor_of_an_adaptive_model(adaptive: Path, tmp_path: Path) -> None:
    written = write(adaptive, out=tmp_path / "m.gguf")
    source, found = open_checkpoint(adaptive), tensors(tmp_path / "m.gguf")
    assert written.architecture == "deci"
    assert written.bytes == (tmp_path / "m.gguf").stat().st_size
    names = {
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    expected = {
        "token_embd.weight": source.tensor("model.embed_tokens.weight"),
        "output_norm.weight": source.tensor("model.norm.weight"),
        "output.weight": source.tensor("lm_head.weight"),
    }
    for index, shape in enumerate(source.spec.layers):
        layer = source.layer_tensors(index)
        for name, stored in names.items():
            expected[f"blk.{index}.{stored}.weight"] = layer[f"{name}.weight"]
        for letter, heads in (("q", shape.num_attention_heads), ("k", shape.num_key_value_heads)):
            turned = interleaved(layer[f"self_attn.{letter}_proj.weight"], heads)
            expected[f"blk.{index}.attn_{letter}.weight"] = turned
    assert found.keys() == expected.keys()
    assert written.tensors == len(found)
    for name, tensor in expected.items():
        assert np.array_equal(found[name], tensor.float().numpy()), name


def test_metadata_of_an_adaptive_model(adaptive: Path, tmp_path: Path) -> None:
    write(adaptive, out=tmp_path / "m.gguf")
    found, spec = fields(tmp_path / "m.gguf"), open_checkpoint(adaptive).spec
    assert found["general.architecture"] == "deci"
    assert found["deci.feed_forward_length"] == [neurons for *_, neurons in KEPT]
    names = {"head_count": "num_attention_heads", "head_count_kv": "num_key_value_heads"}
    for key, name in names.items():
        expected = [getattr(layer, name) for layer in spec.layers]
        assert found[f"deci.attention.{key}"] == expected
    assert found["deci.attention.key_length"] == spec.layers[0].head_dim
    assert found["deci.context_length"] == spec.max_position_embeddings
    assert found["tokenizer.ggml.model"] == "gpt2"
    assert found["tokenizer.ggml.pre"] == "gpt-2"
    assert len(found["tokenizer.ggml.tokens"]) == spec.vocab_size
    assert found["tokenizer.chat_template"]


@pytest.mark.parametrize("variant", ["llama-biased", "qwen2", "phi3"])
def test_biases_and_fused_tensors(variant: str, tmp_path: Path) -> None:
    source = open_checkpoint(write_checkpoint(tmp_path / "m", variant))
    write(source, out=tmp_path / "m.gguf")
    found, layer = tensors(tmp_path / "m.gguf"), source.layer_tensors(1)
    shape = source.spec.layers[1]
    heads, keys = shape.num_attention_heads, shape.num_key_value_heads
    if variant == "phi3":
        sizes = [heads * shape.head_dim, keys * shape.head_dim, keys * shape.head_dim]
        q, k, v = layer["self_attn.qkv_proj.weight"].split(sizes)
        gate, up = layer["mlp.gate_up_proj.weight"].chunk(2)
        assert np.array_equal(found["blk.1.ffn_gate.weight"], gate)
        assert np.array_equal(found["blk.1.ffn_up.weight"], up)
    else:
        q, k, v = (layer[f"self_attn.{letter}_proj.bias"] for letter in "qkv")
    end = "weight" if variant == "phi3" else "bias"
    for letter, rows in (("q", interleaved(q, heads)), ("k", interleaved(k, keys)), ("v", v)):
        assert np.array_equal(found[f"blk.1.attn_{letter}.{end}"], rows)
    assert ("blk.1.ffn_down.bias" in found) == (variant == "llama-biased")
    assert fields(tmp_path / "m.gguf")["general.architecture"] == "llama"


def test_interleaving_pairs_the_rows_that_rotate_together() -> None:
    rows = torch.arange(2 * 6 * 3).reshape(12, 3)
    assert interleaved(rows, 2)[:, 0].div(3).tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    assert interleaved(rows[:, 0], 2).tolist() == interleaved(rows, 2)[:, 0].tolist()


@pytest.mark.parametrize(("kind", "most"), [("f16", 1e-3), ("q8_0", 5e-3), ("q4_0", 0.126)])
def test_types_round_as_they_should(kind: str, most: float, tmp_path: Path) -> None:
    """`most`: half a step of the type, a whole one where q4_0 has -8 and no 8, of the largest."""
    source = write_checkpoint(tmp_path / "m", hidden_size=64, intermediate_size=96, head_dim=8)
    write(source, out=tmp_path / "f32.gguf")
    written = write(source, out=tmp_path / "m.gguf", kind=kind)
    exact, rounded = tensors(tmp_path / "f32.gguf"), tensors(tmp_path / "m.gguf")
    name = "blk.0.ffn_down.weight"
    error = np.abs(exact[name] - rounded[name]).max()
    assert 0 < error <= most * np.abs(exact[name]).max()
    assert np.array_equal(exact["blk.0.attn_norm.weight"], rounded["blk.0.attn_norm.weight"])
    assert written.bytes < (tmp_path / "f32.gguf").stat().st_size


@pytest.mark.parametrize("kind", ["linear", "llama3"])
def test_scaled_rotary_embeddings(kind: str, tmp_path: Path) -> None:
    rope = {"rope_type": kind, "rope_theta": 500.0, "factor": 4.0}
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
        rope |= {"original_max_position_embeddings": 32}
    source = open_checkpoint(write_checkpoint(tmp_path / "m", rope_parameters=rope))
    write(source, out=tmp_path / "m.gguf")
    factors = tensors(tmp_path / "m.gguf")["rope_freqs.weight"]
    plain = 500.0 ** -(np.arange(0, 6, 2) / 6)
    assert np.allclose(plain / factors, source.skeleton.model.rotary_emb.inv_freq, rtol=1e-5)
    assert np.allclose(factors, 4.0) == (kind == "linear")
    assert fields(tmp_path / "m.gguf")["llama.rope.freq_base"] == 500.0


def test_sentencepiece_vocabulary() -> None:
    tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "a", "b", "\u2581a", "ab", "\u2581ab"]
    merges = [("\u2581", "a"), ("a", "b"), ("\u2581", "ab"), ("\u2581a", "b")]
    inner = models.BPE({t: i for i, t in enumerate(tokens)}, merges, byte_fallback=True)
    inner.unk_token = tokens[0]
    tokenizer = Tokenizer(inner)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.add_special_tokens(["<s>", "</s>"])
    found = vocabulary(tokenizer, 11)
    kind = gguf.TokenType
    assert (found.model, found.pre, found.merges) == ("llama", "default", [])
    assert found.tokens == [*tokens, "[PAD10]"]
    assert found.kinds[:5] == [kind.UNKNOWN, kind.CONTROL, kind.CONTROL, kind.BYTE, kind.NORMAL]
    assert found.kinds[10] == kind.UNUSED
    assert found.scores[7:10] == [0, -1, -2]
    assert max(found.scores[:7]) < -2
    assert found.space_prefix
    assert not found.adds_bos
    assert found.unknown == 0


LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ([pre_tokenizers.ByteLevel(add_prefix_space=False)], "gpt-2"),
        (
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ],
            "smollm",
        ),
        (
            [
                pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ],
            "llama-bpe",
        ),
        (
            [
                pre_tokenizers.Split(Regex(LLAMA3.replace("{1,3}", "")), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ],
            "qwen2",
        ),
    ],
)
def test_byte_level_vocabularies(steps: list[Any], name: str) -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    tokenizer.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(steps)
    found = vocabulary(tokenizer)
    assert (found.model, found.pre, found.merges, found.scores) == ("gpt2", name, ["a b"], [])


@pytest.mark.parametrize(
    "tokenizer",
    [
        Tokenizer(models.WordPiece({"a": 0, "[UNK]": 1})),
        Tokenizer(models.Unigram([("a", -1.0)])),
        Tokenizer(models.BPE({"a": 0}, [])),
    ],
)
def test_other_tokenizers_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(BadRequestError, match="GGUF"):
        vocabulary(tokenizer)


@pytest.mark.parametrize(
    ("variant", "changes", "message"),
    [
        ("qwen3", {}, "norms on queries and keys"),
        ("gemma2", {}, "other norms"),
        ("gpt2", {}, "no gated MLP"),
        ("smollm3", {}, "without a rotary embedding"),
        ("llama-tied", {"hidden_act": "gelu"}, "activation 'gelu'"),
    ],
)
def test_other_mathematics_is_refused(
    variant: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    source = write_checkpoint(tmp_path / "m", variant, **changes)
    with pytest.raises(BadRequestError, match=message):
        write(source, out=tmp_path / "m.gguf")
    assert not (tmp_path / "m.gguf").exists()


def test_bad_requests(adaptive: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="type of GGUF file"):
        write(adaptive, out=tmp_path / "m.gguf", kind="q8")
    with pytest.raises(BadRequestError, match=r"rows of \d+ weights"):
        write(adaptive, out=tmp_path / "m.gguf", kind="q8_0")
    with pytest.raises(BadRequestError, match="is a directory"):
        write(adaptive, out=tmp_path)
    foreign = tmp_path / "foreign.gguf"
    foreign.write_bytes(b"GGUF of someone else")
    with pytest.raises(BadRequestError, match="not written by paredown"):
        write(adaptive, out=foreign)
    assert foreign.read_bytes() == b"GGUF of someone else"


def test_weights_that_do_not_fit_leave_nothing(tmp_path: Path) -> None:
    source = open_checkpoint(write_checkpoint(tmp_path / "m"))
    folder = tmp_path / "large"
    model = source.load()
    model.model.embed_tokens.weight[0, 0] = 1e6
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text((source.path / name).read_text())
    with pytest.raises(BadRequestError, match="does not fit float16"):
        write(folder, out=tmp_path / "out" / "m.gguf", kind="f16")
    assert not list((tmp_path / "out").iterdir())


def test_the_command(adaptive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["gguf", str(adaptive), "--out", str(tmp_path / "m.gguf"), "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["architecture"] == "deci"
    assert main(arguments) == 0  # what paredown wrote it may replace
    assert main([*arguments, "--type", "q8"]) == 2
    assert "did you mean 'q8_0'" in capsys.readouterr().err


def test_a_vocabulary_without_merges_is_refused(tmp_path: Path) -> None:
    """llama.cpp does not load it."""
    source = tiny_checkpoint.write_checkpoint(tmp_path / "m")
    with pytest.raises(BadRequestError, match="without merges"):
        write(source, out=tmp_path / "m.gguf")
    assert not (tmp_path / "m.gguf").exists()
