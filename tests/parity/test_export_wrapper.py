"""The decoder wrappers against transformers, in eager torch: every family, both caches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MakeCheckpoint
from tiny_models import CONTEXT, VOCAB_SIZE, WIDTHS, save_tiny_checkpoint
from torch import Tensor, nn

from toolchain.exporting.static_decoder import StaticDecoder
from toolchain.exporting.wrapper import Decoder, FunctionalDecoder
from toolchain.model.checkpoint import open_checkpoint
from toolchain.model.families import FAMILIES
from toolchain.quiet import quiet

TOLERANCE = 1e-5

Run = Callable[[Tensor, int], Tensor]
"""(tokens [1,S], position of the first) -> logits [1,S,V]; keeps its cache."""


@pytest.fixture(scope="module", autouse=True)
def llm_ops() -> None:
    with quiet():
        import executorch.extension.llm.custom_ops.custom_ops  # noqa: F401


def static(decoder: Decoder) -> Run:
    model = StaticDecoder(decoder).eval()
    return lambda tokens, position: model(tokens, torch.tensor([position]))


def core_static(decoder: Decoder) -> Run:
    model = StaticDecoder(decoder, core_only=True).eval()
    return lambda tokens, position: model(tokens, torch.tensor([position]))


def functional(decoder: Decoder) -> Run:
    model = FunctionalDecoder(decoder).eval()
    past: list[Tensor] = []

    def run(tokens: Tensor, position: int) -> Tensor:
        nonlocal past
        if position == 0:
            shapes = decoder.shapes
            past = [
                torch.zeros(1, s.num_key_value_heads, 0, s.head_dim) for s in shapes for _ in "kv"
            ]
        logits, *past = model(tokens, past)
        for index, shape in enumerate(decoder.shapes):
            cached = (1, shape.num_key_value_heads, position + tokens.shape[1], shape.head_dim)
            assert past[2 * index].shape == past[2 * index + 1].shape == cached
        return logits

    return run


def load(path: Path) -> tuple[nn.Module, Decoder]:
    checkpoint = open_checkpoint(path)
    model = checkpoint.load()
    return model, Decoder(model, checkpoint.spec, CONTEXT)


def largest_difference(model: nn.Module, run: Run, pieces: Sequence[int], seed: int) -> float:
    """Feed random tokens in `pieces`; compare with one whole pass of transformers."""
    tokens = torch.randint(
        VOCAB_SIZE, (1, sum(pieces)), generator=torch.Generator().manual_seed(seed)
    )
    with torch.no_grad():
        expected = model(input_ids=tokens).logits
        position, parts = 0, []
        for piece in pieces:
            parts.append(run(tokens[:, position : position + piece], position))
            position += piece
    assert expected.std() > 0.3  # else any two models agree
    return float((torch.cat(parts, dim=1) - expected).abs().max())


@pytest.mark.parametrize("form", [static, core_static, functional])
@pytest.mark.parametrize("per_layer", [False, True])
@pytest.mark.parametrize("family", sorted(n for n, f in FAMILIES.items() if f.causal))
def test_every_family_equals_transformers(
    tiny_checkpoint: MakeCheckpoint, family: str, per_layer: bool, form: Callable[[Decoder], Run]
) -> None:
    model, decoder = load(tiny_checkpoint(family, per_layer=per_layer))
    if per_layer:
        assert tuple(shape.intermediate_size for shape in decoder.shapes) == WIDTHS
        if not decoder.family.norm_spans_heads:
            assert decoder.shapes[0].num_key_value_heads != decoder.shapes[1].num_key_value_heads
    run = form(decoder)
    for seed, pieces in enumerate(
        ([1] * 5, [2, 1, 1], [CONTEXT - 1], [7, 5, 1, 1, 9], [CONTEXT - 1, 1])
    ):
        # One instance for all sequences: each starts over at position 0 of a used cache.
        assert largest_difference(model, run, pieces, seed) <= TOLERANCE, pieces


ROPES: list[dict[str, Any]] = [
    {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 12,
    },
]


@pytest.mark.parametrize("form", [static, functional])
@pytest.mark.parametrize("rope", ROPES, ids=lambda rope: str(rope["rope_type"]))
def test_scaled_rotary_embeddings(
    tmp_path: Path, rope: dict[str, Any], form: Callable[[Decoder], Run]
) -> None:
    model, decoder = load(save_tiny_checkpoint(tmp_path / "model", "llama", rope_parameters=rope))
    assert largest_difference(model, form(decoder), [CONTEXT - 3, 1, 1], seed=1) <= TOLERANCE


@pytest.mark.parametrize("form", [static, functional])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_biases_of_every_projection(
    tmp_path: Path, family: str, form: Callable[[Decoder], Run]
) -> None:
    biases = {"attention_bias": True} | ({"mlp_bias": True} if family == "llama" else {})
    model, decoder = load(save_tiny_checkpoint(tmp_path / "model", family, **biases))
    assert largest_difference(model, form(decoder), [9, 1, 1], seed=2) <= TOLERANCE
