"""A real bundle in a fraction of a second: a tiny model in ONNX with the exporters' interface.

Two layers with different KV heads. Layer i caches k = E_i[token] + sin(0.7 · position) and v = k/2;
logits = Σ_i tanh(cumsum(k + v)) · W_i, so that every logit depends on all tokens and their order.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from runtime_py.schema import (
    FileEntry,
    GoldenCase,
    LayerShape,
    Manifest,
    MemoryPrediction,
    ModelIdentity,
    Provenance,
    TokenLogit,
    dumps,
)

VOCAB_SIZE = 258
BOS, EOS = 256, 257
KV_HEADS = (1, 2)
HEAD_DIM = 4
TOLERANCE = 1e-3

Logits = NDArray[np.float32]


def _weights() -> list[tuple[Logits, Logits]]:
    rng = np.random.default_rng(7)
    shapes = [(kv * HEAD_DIM) for kv in KV_HEADS]
    return [
        (
            rng.normal(size=(VOCAB_SIZE, width)).astype(np.float32),
            rng.normal(size=(width, VOCAB_SIZE)).astype(np.float32),
        )
        for width in shapes
    ]


def reference_logits(token_ids: list[int]) -> Logits:
    """Logits [S, V] of the whole sequence in numpy."""
    total = np.zeros((len(token_ids), VOCAB_SIZE), np.float32)
    wave = np.sin(0.7 * np.arange(len(token_ids), dtype=np.float32))[:, None]
    for embedding, head in _weights():
        key = embedding[token_ids] + wave
        total += np.tanh(np.cumsum(key * 1.5, axis=0)) @ head
    return total


def reference_greedy(prompt_ids: list[int], count: int) -> list[int]:
    """Greedy continuation by recomputing the whole sequence each time."""
    ids = list(prompt_ids)
    for _ in range(count):
        ids.append(int(reference_logits(ids)[-1].argmax()))
    return ids[len(prompt_ids) :]


def write_model(path: Path) -> None:
    """Write model.onnx."""
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "S"])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "S", VOCAB_SIZE])]
    constants = {
        "zero": np.array(0, np.int64),
        "one": np.array(1, np.int64),
        "two": np.array([2], np.int64),
        "end": np.array([2**31], np.int64),
        "half": np.array(0.5, np.float32),
        "rate": np.array(0.7, np.float32),
        "axis": np.array(2, np.int64),
        "wave_shape": np.array([1, 1, -1, 1], np.int64),
    }
    nodes = [
        helper.make_node("Shape", ["past_key_values.0.key"], ["past"], start=2, end=3),
        helper.make_node("Squeeze", ["past"], ["P"]),
        helper.make_node("Shape", ["input_ids"], ["length"], start=1, end=2),
        helper.make_node("Squeeze", ["length"], ["S"]),
        helper.make_node("Add", ["P", "S"], ["T"]),
        helper.make_node("Range", ["P", "T", "one"], ["positions"]),
        helper.make_node("Cast", ["positions"], ["positions_f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["positions_f", "rate"], ["angle"]),
        helper.make_node("Sin", ["angle"], ["sine"]),
        helper.make_node("Reshape", ["sine", "wave_shape"], ["wave"]),
    ]
    for i, (embedding, head) in enumerate(_weights()):
        kv = KV_HEADS[i]
        constants |= {
            f"E{i}": embedding,
            f"W{i}": head,
            f"heads{i}": np.array([1, -1, kv, HEAD_DIM], np.int64),
            f"flat{i}": np.array([1, -1, kv * HEAD_DIM], np.int64),
        }
        for kind in ("key", "value"):
            past, present = f"past_key_values.{i}.{kind}", f"present.{i}.{kind}"
            shape = [1, kv, "P", HEAD_DIM]
            inputs.append(helper.make_tensor_value_info(past, TensorProto.FLOAT, shape))
            shape = [1, kv, "T", HEAD_DIM]
            outputs.append(helper.make_tensor_value_info(present, TensorProto.FLOAT, shape))
        nodes += [
            helper.make_node("Gather", [f"E{i}", "input_ids"], [f"e{i}"]),
            helper.make_node("Reshape", [f"e{i}", f"heads{i}"], [f"r{i}"]),
            helper.make_node("Transpose", [f"r{i}"], [f"t{i}"], perm=[0, 2, 1, 3]),
            helper.make_node("Add", [f"t{i}", "wave"], [f"k{i}"]),
            helper.make_node("Mul", [f"k{i}", "half"], [f"v{i}"]),
            helper.make_node(
                "Concat", [f"past_key_values.{i}.key", f"k{i}"], [f"present.{i}.key"], axis=2
            ),
            helper.make_node(
                "Concat", [f"past_key_values.{i}.value", f"v{i}"], [f"present.{i}.value"], axis=2
            ),
            helper.make_node("Add", [f"present.{i}.key", f"present.{i}.value"], [f"kv{i}"]),
            helper.make_node("CumSum", [f"kv{i}", "axis"], [f"c{i}"]),
            helper.make_node("Tanh", [f"c{i}"], [f"h{i}"]),
            helper.make_node("Slice", [f"h{i}", "past", "end", "two"], [f"n{i}"]),
            helper.make_node("Transpose", [f"n{i}"], [f"b{i}"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"b{i}", f"flat{i}"], [f"f{i}"]),
            helper.make_node("MatMul", [f"f{i}", f"W{i}"], [f"l{i}"]),
        ]
    nodes.append(helper.make_node("Add", ["l0", "l1"], ["logits"]))
    initializers = [numpy_helper.from_array(v, name) for name, v in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10, producer_name="test"
    )
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_tokenizer(folder: Path) -> None:
    """One token per byte, so that most characters span tokens; BOS and EOS are special."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def golden_case(name: str, prompt_ids: list[int], count: int) -> GoldenCase:
    """A case from the numpy reference."""
    continuation = reference_greedy(prompt_ids, count)
    rows = reference_logits([*prompt_ids, *continuation])[len(prompt_ids) - 1 : -1]
    best = np.sort(rows, axis=1)
    top = np.argsort(rows[0])[::-1][:5]
    return GoldenCase(
        name=name,
        prompt_ids=prompt_ids,
        continuation_ids=continuation,
        top_logits=[TokenLogit(int(t), float(rows[0][t])) for t in top],
        min_margin=float((best[:, -1] - best[:, -2]).min()),
        tolerance=TOLERANCE,
    )


def file_entries(folder: Path) -> list[FileEntry]:
    """Every file of the folder but the manifest."""
    return [
        FileEntry(
            path.relative_to(folder).as_posix(),
            path.stat().st_size,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    ]


def write_manifest(folder: Path, **changes: object) -> Manifest:
    """Write manifest.json over what the folder holds."""
    identity = ModelIdentity("tiny", "test", "0" * 64, "0" * 64, 6192)
    values: dict[str, object] = {
        "name": "tiny",
        "backend": "onnx",
        "backend_versions": {"onnx": onnx.__version__},
        "model_file": "model.onnx",
        "files": file_entries(folder),
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 4,
        "layers": [LayerShape(kv, kv, HEAD_DIM, 8) for kv in KV_HEADS],
        "quantization": "none",
        "context_length": 48,
        "bos_token_id": BOS,
        "eos_token_ids": [EOS],
        "provenance": Provenance(identity, identity, "../tiny", {}, "0"),
        "predicted_memory": MemoryPrediction(20000, 4096, 1000),
        "golden_cases": [
            golden_case("words", [BOS, 5, 9, 77], 8),
            golden_case("one token", [BOS], 8),
        ],
        "parameters": 6192,
    } | changes
    manifest = Manifest(**values)  # type: ignore[arg-type]
    (folder / "manifest.json").write_text(dumps(manifest))
    return manifest


def write_bundle(folder: Path, **changes: object) -> Manifest:
    """A complete bundle; `changes` replace fields of its manifest."""
    folder.mkdir(parents=True)
    write_model(folder / "model.onnx")
    write_tokenizer(folder)
    return write_manifest(folder, **changes)
