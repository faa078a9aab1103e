"""Widths that groups of weights do not divide are refused by name, before anything is loaded."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from runtime_py.schema import LayerShape
from toolchain.errors import BadRequestError
from toolchain.exporting.executorch import check
from toolchain.model.spec import ModelSpec, spec_from_config
from toolchain.recipe import ExportSettings

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 128,
    "vocab_size": 101,  # rows of the head: any number will do
    "intermediate_size": 320,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}
SPEC = spec_from_config(CONFIG, "small")


def settings(**values: Any) -> ExportSettings:
    return ExportSettings(backend="executorch", **values)


def with_layer(index: int, **changes: int) -> ModelSpec:
    layers = list(SPEC.layers)
    layers[index] = replace(layers[index], **changes)
    return replace(SPEC, layers=tuple(layers))


def refusal(spec: ModelSpec, **values: Any) -> str:
    with pytest.raises(BadRequestError) as caught:
        check(spec, settings(**values))
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("quant", ["none", "8da8w", "8da4w"])
@pytest.mark.parametrize("embedding_bits", [4, 8, 32, None])
def test_widths_of_32_and_any_vocabulary_pass(quant: str, embedding_bits: int | None) -> None:
    check(SPEC, settings(quant=quant, embedding_bits=embedding_bits))


def test_a_width_of_one_layer_is_named_with_the_group_that_would_do() -> None:
    line = refusal(SPEC, quant="8da4w", group_size=128)
    assert "layer 0" in line
    assert "320 neurons" in line
    assert "--group-size 64" in line
    check(SPEC, settings(quant="8da4w", group_size=64))
    assert "--group-size 32" in refusal(
        with_layer(0, intermediate_size=96), quant="8da4w", group_size=64
    )


def test_a_width_that_no_group_divides() -> None:
    line = refusal(with_layer(2, intermediate_size=300), quant="8da4w")
    assert "layer 2" in line
    assert "300 neurons" in line
    assert "--round-to 32" in line
    assert "--quant 8da8w" in line


def test_heads_of_one_layer() -> None:
    line = refusal(with_layer(1, num_attention_heads=3, head_dim=20), quant="8da4w")
    assert "layer 1" in line
    assert "60 inputs of its attention output" in line


@pytest.mark.parametrize("quant", ["none", "8da8w"])
def test_a_hidden_size_matters_to_a_4_bit_table_alone(quant: str) -> None:
    odd = replace(SPEC, hidden_size=100)
    check(odd, settings(quant=quant))
    line = refusal(odd, quant=quant, embedding_bits=4)
    assert "embedding table" in line
    assert "100 channels (hidden_size)" in line
    assert "--embedding-bits 8" in line
    assert "round-to" not in line  # pruning does not change it


def test_a_rounded_way_out_is_accepted() -> None:
    odd = with_layer(2, intermediate_size=300)
    check(odd, settings(quant="8da8w", group_size=64))
    check(with_layer(2, intermediate_size=288), settings(quant="8da4w"))


def test_checking_needs_no_torch() -> None:
    code = (
        "import sys; import toolchain.exporting.executorch as e; "
        "sys.exit('torch' in sys.modules or 'executorch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_shapes_of_this_file() -> None:
    assert SPEC.layers == (LayerShape(4, 2, 32, 320),) * 3
