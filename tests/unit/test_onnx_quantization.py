"""Codes of weights, and the modules over them, in eager torch; what is refused; genai's file."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_py.schema import LayerShape
from toolchain.errors import BadRequestError
from toolchain.exporting import onnx
from toolchain.exporting.genai_config import genai_config
from toolchain.exporting.onnx_prepare import prepare_
from toolchain.exporting.onnx_quantization import (
    BlockEmbedding,
    BlockLinear,
    RowEmbedding,
    RowLinear,
    to_blocks,
    to_rows,
)
from toolchain.model.spec import ModelSpec, spec_from_config
from toolchain.recipe import ExportSettings


def random_matrix(seed: int, rows: int, columns: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(rows, 1, generator=generator) * 3
    return torch.randn(rows, columns, generator=generator) * spread


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 5),
    columns=st.integers(1, 150),
    bits=st.sampled_from([4, 8]),
    size=st.sampled_from([32, 64, 128]),
)
def test_blocks_are_within_half_a_step_of_what_was_not_clipped(
    seed: int, rows: int, columns: int, bits: int, size: int
) -> None:
    weight = random_matrix(seed, rows, columns)
    blocks = to_blocks(weight, bits, size)
    count = -(-columns // size)
    assert blocks.codes.shape == (rows, count, size * bits // 8)
    assert blocks.scales.shape == blocks.zero_points.shape == (rows, count)
    assert blocks.packed_zero_points().shape == (rows, -(-count * bits // 8))
    error = (blocks.matrix() - weight).abs()
    assert error.shape == weight.shape
    scales = blocks.scales.repeat_interleave(size, 1)[:, :columns]
    # A shrunken range clips at most a quarter of the outermost values; 8 bits clip nothing.
    clipped = 0.35 * weight.abs() if bits == 4 else torch.zeros(())
    assert (error <= torch.maximum(1.01 * scales, clipped) + 1e-6).all()


@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([32, 64]))
def test_the_search_never_has_more_squared_error_than_the_whole_range(seed: int, size: int) -> None:
    weight = random_matrix(seed, 3, 2 * size)
    blocks = weight.view(3, 2, size)
    low, high = blocks.amin(-1).clamp(max=0), blocks.amax(-1).clamp(min=0)
    scale = (high - low) / 15
    point = (-low / scale).round()
    codes = ((blocks / scale[..., None]).round() + point[..., None]).clamp(0, 15)
    plain = ((codes - point[..., None]) * scale[..., None]).flatten(1)
    found = to_blocks(weight, 4, size).matrix()
    assert (found - weight).square().sum() <= (plain - weight).square().sum() * (1 + 1e-6)


def test_zero_stays_zero_and_empty_blocks_too() -> None:
    weight = torch.zeros(2, 64)
    weight[0, 3] = 5.0
    for bits in (4, 8):
        matrix = to_blocks(weight, bits, 32).matrix()
        assert matrix[0, 3] == pytest.approx(5.0)
        assert matrix.count_nonzero() == 1
    assert to_rows(weight).matrix().tolist() == weight.tolist()


@given(seed=st.integers(0, 2**32 - 1), columns=st.integers(1, 90))
def test_rows_are_within_half_a_step(seed: int, columns: int) -> None:
    weight = random_matrix(seed, 4, columns)
    rows = to_rows(weight)
    assert rows.codes.dtype == torch.int8
    assert ((rows.matrix() - weight).abs() <= rows.scales[:, None] * 0.501).all()


def test_tables_and_linear_layers_over_the_same_codes() -> None:
    weight = random_matrix(1, 12, 40)
    ids, inputs = torch.tensor([[3, 11, 0]]), torch.eye(40)[None]
    blocks, rows = to_blocks(weight, 8, 32), to_rows(weight)
    for table, matrix in (
        (BlockEmbedding(blocks, torch.tensor(2.0)), 2 * blocks.matrix()),
        (RowEmbedding(rows, None), rows.matrix()),
    ):
        torch.testing.assert_close(table(ids), matrix[ids])
    bias = torch.arange(12.0)
    for linear, matrix in (
        (BlockLinear(blocks, bias), blocks.matrix()),
        (RowLinear(rows, bias), rows.matrix()),
    ):
        # Rows of the identity survive the rounding of activations.
        torch.testing.assert_close(linear(inputs)[0], matrix.T + bias, rtol=1e-5, atol=1e-5)


@settings(deadline=None)  # the first example starts threads
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-6, 1.0, 1e4]))
def test_a_token_is_rounded_by_its_own_range_whatever_is_beside_it(seed: int, scale: float) -> None:
    rows = to_rows(random_matrix(seed, 5, 24))
    linear, weight = RowLinear(rows, None), rows.matrix()
    tokens = random_matrix(seed + 1, 3, 24)
    beside = torch.cat([tokens, scale * random_matrix(seed + 2, 2, 24), torch.zeros(1, 24)])
    together = linear(beside[None])[0]
    torch.testing.assert_close(together[:3], linear(tokens[None])[0])
    assert together[-1].count_nonzero() == 0
    exact = tokens @ weight.T
    step = tokens.abs().amax(1, keepdim=True) / 127
    most = step / 2 * weight.abs().sum(1)
    assert ((together[:3] - exact).abs() <= most * 1.001 + 1e-6).all()


def llama(**changes: Any) -> ModelSpec:
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 100,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
    }
    return spec_from_config({**config, **changes}, "tiny")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quant": "int4", "target": "any"}, "4-bit weights need operators"),
        ({"quant": "int8", "embedding_bits": 4, "target": "any"}, "4-bit weights need operators"),
        ({"quant": "fp16", "embedding_bits": 8}, "goes with --quant int8 or int4, not with fp16"),
        ({"embedding_bits": 4}, "goes with --quant int8 or int4, not with none"),
    ],
)
def test_combinations_that_cannot_be_written(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequestError, match=message) as caught:
        onnx.check(llama(), ExportSettings(**settings))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("quant", ["none", "fp16", "int8", "int4"])
def test_every_quantisation_takes_any_width(quant: str) -> None:
    onnx.check(llama(intermediate_size=90), ExportSettings(quant=quant, group_size=128))


def test_a_weight_beyond_float16() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    spec = llama()
    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            vocab_size=100,
        )
    )
    with torch.no_grad():
        model.lm_head.weight[3, 3] = 1e6
    with pytest.raises(BadRequestError, match="1e\\+06 is beyond what float16 holds"):
        prepare_(model, spec, ExportSettings(quant="fp16"))


def test_genai_config() -> None:
    shapes = [LayerShape(4, 2, 16, 40), LayerShape(6, 2, 16, 24)]
    text = genai_config(shapes, 64, 100, 48, "model.onnx", 0, [1, 2])
    assert text is not None
    read = json.loads(text)
    assert read["model"]["decoder"]["num_key_value_heads"] == 2
    assert read["model"]["eos_token_id"] == [1, 2]
    assert read["search"] == {
        "max_length": 48,
        "do_sample": False,
        "past_present_share_buffer": True,
    }
    uneven = [LayerShape(4, 2, 16, 40), LayerShape(2, 1, 16, 24)]
    assert genai_config(uneven, 64, 100, 48, "model.onnx", 0, [1]) is None
    assert genai_config(shapes, 64, 100, 48, "model.onnx", 0, []) is None
