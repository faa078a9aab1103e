"""Lowered .pte files against the rounded torch model, for every quantisation and both targets.

Lowering takes long, so a few files stand for all: together they cover 8 and 4 bits of weights and
of the table, tied and own heads, biases, Conv1D, soft caps, widths that differ by layer, the fast
and the core operators, and prompts of several chunks.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from conftest import LoweredPte, LowerPte
from numpy.typing import NDArray

from runtime_py.engines.executorch import open_method
from toolchain.exporting.pte import share_constants
from toolchain.quiet import quiet

CONTEXT, CHUNK, VOCAB_SIZE = 48, 16, 128


class Form(NamedTuple):
    family: str
    quant: str
    target: str = "desktop"
    embedding_bits: int | None = None


TIED_8 = Form("llama", "8da8w", "any")
TIED_FLOAT = Form("llama", "none", "any")
LLAMA_4 = Form("llama", "8da4w")
QUICK = [LLAMA_4, Form("gpt2", "8da4w", "any", 4)]
SLOW = [TIED_8, TIED_FLOAT, Form("qwen2", "8da4w"), Form("gemma2", "8da4w"), Form("gpt2", "8da8w")]
FORMS = [*QUICK, *(pytest.param(form, marks=pytest.mark.slow) for form in SLOW)]

EXACT = 1e-4
"""Largest difference of all but a few positions, in standard deviations of the logits."""

ONE_STEP = 0.25
"""Largest difference of any position where activations are rounded: near the middle of two of its
256 steps one may go the other way, because sums run in another order."""


class Method:
    """A lowered file with the position of its cache."""

    def __init__(self, path: Path) -> None:
        self._opened = open_method(path, threads=1)

    def run(self, tokens: list[int], start: int) -> NDArray[np.float32]:
        inputs = (torch.tensor([tokens]), torch.tensor([start]))
        logits: NDArray[np.float32] = self._opened.forward(inputs)[0][0].numpy()
        return logits

    def pieces(self, tokens: list[int], lengths: list[int]) -> NDArray[np.float32]:
        rows, start = [], 0
        for length in lengths:
            rows.append(self.run(tokens[start : start + length], start))
            start += length
        assert start == len(tokens)
        return np.concatenate(rows)


def random_tokens(length: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(VOCAB_SIZE, size=length).tolist()


@pytest.fixture
def lowered(lower_pte: LowerPte, form: Form) -> LoweredPte:
    return lower_pte(*form)


@pytest.mark.parametrize("form", FORMS)
def test_chunks_and_steps_equal_the_rounded_model(lowered: LoweredPte, form: Form) -> None:
    method = Method(lowered.path)
    assert lowered.written.max_prefill_tokens == CHUNK
    for seed, lengths in enumerate(
        ([CHUNK, CHUNK, CHUNK - 1, 1], [1] * 20, [7, 1, 5], [CHUNK] + [1] * (CONTEXT - CHUNK), [3])
    ):
        tokens = random_tokens(sum(lengths), seed)
        with torch.no_grad():
            expected = lowered.model(input_ids=torch.tensor([tokens])).logits[0].numpy()
        difference = np.abs(method.pieces(tokens, lengths) - expected) / expected.std()
        rows = np.sort(difference.max(axis=1))
        assert rows[-1] <= (EXACT if form.quant == "none" else ONE_STEP), lengths
        assert rows[len(rows) // 2] <= EXACT, lengths
        assert expected.std() > 0.3  # else any two models agree


@pytest.mark.parametrize("form", FORMS)
def test_rounding_is_what_moves_the_logits(lowered: LoweredPte, form: Form) -> None:
    """The rounded reference is not the float model, and 4 bits cost more than 8."""
    tokens = torch.tensor([random_tokens(30, 9)])
    with torch.no_grad():
        exact = lowered.float_model(input_ids=tokens).logits
        rounded = lowered.model(input_ids=tokens).logits
    relative = float((rounded - exact).pow(2).mean().sqrt() / exact.std())
    least, most = {"none": (0.0, 1e-6), "8da8w": (1e-3, 0.1), "8da4w": (0.02, 0.8)}[form.quant]
    assert least <= relative <= most


@pytest.mark.parametrize("form", FORMS)
def test_operators_and_metadata_say_the_same(lowered: LoweredPte, form: Form) -> None:
    program = read_program(lowered.path)
    plans = {plan.name: plan for plan in program.execution_plan}
    names = {operator.name for operator in plans["forward"].operators}
    fast = {name for name in names if name.startswith("llama::")}
    if form.target == "any":
        assert not fast
    elif form.family != "gemma2":  # its scores are capped, which the fast operators cannot do
        assert fast == {"llama::update_cache", "llama::custom_sdpa"}
    looked_up = {name for name in names if "embedding" in name}
    bits = form.embedding_bits or (32 if form.quant == "none" else 8)
    assert looked_up == {
        {
            4: "quantized_decomposed::embedding_4bit",
            8: "quantized_decomposed::embedding_byte",
            32: "aten::embedding",
        }[bits]
    }
    assert not any("dequantize" in name or "mm" in name for name in names)  # all are XNNPACK's
    assert constants(lowered.path) == {
        "get_max_seq_len": CHUNK,
        "get_max_context_len": CONTEXT,
        "get_vocab_size": VOCAB_SIZE,
        "get_n_layers": 2,
        "get_bos_id": 0,
        "get_eos_ids": 1,
        "use_kv_cache": True,
        "use_sdpa_with_kv_cache": form.target != "any",
        "enable_dynamic_shape": True,
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("form")
def test_planned_memory_holds_cache_and_logits(lowered: LoweredPte) -> None:
    caches = lowered.spec.kv_cache_bytes(CONTEXT)
    logits = 4 * CHUNK * VOCAB_SIZE
    arena = lowered.written.planned_arena_bytes
    assert arena is not None
    assert caches + logits <= arena <= caches + 12 * logits


def test_packed_weights_follow_the_bits(lower_pte: LowerPte) -> None:
    lowered = lower_pte(*LLAMA_4)
    spec = lowered.spec
    weights = spec.block_parameters + spec.vocab_size * spec.hidden_size
    packed = lowered.written.packed_weights_bytes
    assert packed is not None
    # 4 bits, and a bfloat16 scale for 32 of them; norms and little else beside.
    assert packed == pytest.approx(weights * (0.5 + 2 / 32), rel=0.1)
    assert lowered.path.stat().st_size > packed + spec.vocab_size * spec.hidden_size


@pytest.mark.slow
@pytest.mark.parametrize("form", [TIED_8, TIED_FLOAT])
def test_a_tied_table_is_in_the_file_once(lower_pte: LowerPte, form: Form) -> None:
    lowered = lower_pte(*form)
    table = torch.nn.Embedding.from_pretrained(lowered.float_model.get_input_embeddings().weight)
    weight = lowered.model.get_input_embeddings().weight
    content = weight.qdata if form.quant == "8da8w" else table.weight
    assert lowered.path.read_bytes().count(content.numpy().tobytes()) == 1
    assert share_constants(lowered.path) == 0  # nothing is left to share


def read_program(path: Path) -> object:
    with quiet():
        from executorch.exir._serialize._program import deserialize_pte_binary
    return deserialize_pte_binary(path.read_bytes()).program


def constants(path: Path) -> dict[str, object]:
    """Every method but `forward`, run without inputs."""
    program = open_method(path, threads=1).program
    names = [program.get_method_name(i) for i in range(program.num_methods())]
    return {n: program.load_method(n)(())[0] for n in names if n != "forward"}
