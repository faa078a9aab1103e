"""The exported artifacts, each on its own engine, against transformers: every output.

Lowering is slow, so ExecuTorch is tested on the per-layer checkpoints alone (uniform widths are the
easier case, and the real models of the other tests have them), and not every family is lowered: of
those whose decoder differs from Llama's, the two that differ most. `test_export_wrapper.py` runs
the same decoders of all families in eager torch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MakeBundle, MakeCheckpoint
from tiny_models import CONTEXT, VOCAB_SIZE

from runtime_py.bundle import open_bundle
from runtime_py.engines import Engine, open_engine
from toolchain.model.checkpoint import open_checkpoint

TOLERANCE = 1e-4
"""Well inside of the 1e-3 that a bundle promises."""

LLAMAS = ("llama", "mistral", "qwen2", "qwen3")
LOWERED = [(f, b, per_layer) for f in LLAMAS for b, per_layer in (("onnx", False), ("onnx", True))]
LOWERED += [(family, "executorch", True) for family in LLAMAS]
LOWERED += [("gemma2", "onnx", True), ("gemma2", "executorch", True), ("gpt2", "onnx", True)]
CASES = [
    pytest.param(*case, marks=pytest.mark.slow if case[1] == "executorch" else ())
    for case in LOWERED
]

parametrize = pytest.mark.parametrize(("family", "backend", "per_layer"), CASES)


@pytest.fixture
def engine(tiny_bundle: MakeBundle, family: str, backend: str, per_layer: bool) -> Engine:
    bundle = tiny_bundle(family, backend, per_layer=per_layer)
    return open_engine(bundle, open_bundle(bundle))


@pytest.fixture
def model(tiny_checkpoint: MakeCheckpoint, family: str, per_layer: bool) -> torch.nn.Module:
    return open_checkpoint(tiny_checkpoint(family, per_layer=per_layer)).load()


def difference(
    engine: Engine, model: torch.nn.Module, tokens: list[int], prefill: list[int]
) -> float:
    """Largest |logit difference|: `prefill` pieces, then single steps, over all positions."""
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([tokens])).logits[0].numpy()
    engine.reset()
    rows, position = [], 0
    for length in prefill:
        rows.append(engine.prefill(tokens[position : position + length]))
        position += length
    rows += [engine.step(token)[None] for token in tokens[position:]]
    assert engine.position == len(tokens)
    return float(np.abs(np.concatenate(rows) - expected).max())


def random_tokens(length: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(VOCAB_SIZE, size=length).tolist()


@parametrize
def test_prefill_and_steps_equal_transformers(engine: Engine, model: torch.nn.Module) -> None:
    plans = [
        (CONTEXT, [1]),  # steps up to a full cache
        (CONTEXT, [2]),
        (20, [13]),
        (CONTEXT, [CONTEXT - 1]),
        (30, [11, 1, 7]),  # a second prefill on a used cache, as the turns of a chat
        (3, [3]),  # after long sequences: nothing of them shows
    ]
    for seed, (length, prefill) in enumerate(plans):
        assert difference(engine, model, random_tokens(length, seed), prefill) <= TOLERANCE, prefill


@parametrize
def test_replay_after_reset_is_bitwise_equal(engine: Engine) -> None:
    tokens = random_tokens(25, 1)
    first = [engine.prefill(tokens[:20]), *(engine.step(token) for token in tokens[20:])]
    engine.reset()
    engine.prefill(random_tokens(CONTEXT - 1, 2))
    engine.reset()
    second = [engine.prefill(tokens[:20]), *(engine.step(token) for token in tokens[20:])]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("family", [*LLAMAS, "gpt2"])
def test_onnx_interface(tiny_bundle: MakeBundle, family: str) -> None:
    import onnxruntime

    bundle = tiny_bundle(family, "onnx", per_layer=True)
    manifest = open_bundle(bundle)
    session = onnxruntime.InferenceSession(
        bundle / "model.onnx", providers=["CPUExecutionProvider"]
    )
    inputs = {value.name: (value.type, value.shape) for value in session.get_inputs()}
    outputs = {value.name: (value.type, value.shape) for value in session.get_outputs()}
    assert inputs.pop("input_ids") == ("tensor(int64)", [1, "sequence"])
    kind, shape = outputs.pop("logits")
    assert kind == "tensor(float)"
    assert shape == [1, "kept", VOCAB_SIZE]  # all positions, or those that logits_to_keep asks for
    if manifest.kv_cache == "shared":
        assert inputs.pop("attention_mask")[0] == "tensor(int64)"
    for index, layer in enumerate(manifest.layers):
        for part in ("key", "value"):
            kind, shape = inputs.pop(f"past_key_values.{index}.{part}")
            assert kind == "tensor(float)"
            assert shape == [1, layer.num_key_value_heads, "past", layer.head_dim]
            kind, shape = outputs.pop(f"present.{index}.{part}")
            assert kind == "tensor(float)"
            assert (shape[:2], shape[3]) == ([1, layer.num_key_value_heads], layer.head_dim)
    assert not inputs
    assert not outputs


@pytest.mark.slow
def test_executorch_metadata(tiny_bundle: MakeBundle) -> None:
    bundle = tiny_bundle("llama", "executorch", per_layer=True)
    assert constant_methods(bundle / "model.pte") == {
        "get_max_seq_len": CONTEXT - 1,
        "get_max_context_len": CONTEXT,
        "get_vocab_size": VOCAB_SIZE,
        "get_n_layers": 2,
        "get_bos_id": 0,
        "get_eos_ids": 1,
        "use_kv_cache": True,
        "use_sdpa_with_kv_cache": True,
        "enable_dynamic_shape": True,
    }


def constant_methods(path: Path) -> dict[str, object]:
    """Every method but `forward`, run without inputs; the values of lists joined as one."""
    from executorch.extension.pybindings import _C

    program = _C._load_program(str(path))
    names = [program.get_method_name(i) for i in range(program.num_methods())]
    return {n: program.load_method(n)(())[0] for n in names if n != "forward"}
