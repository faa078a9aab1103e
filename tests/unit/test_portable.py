"""config.json for two versions of transformers: what is added; version 5 reads the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from toolchain.model.portable import portable

DEFAULT = {"rope_type": "default", "rope_theta": 777.0}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 777.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 777.0,
    "partial_rotary_factor": 0.5,
    "short_factor": [1.0, 1.5],
    "long_factor": [2.0, 3.0],
}
BY_TYPE = {
    "full_attention": {"rope_type": "linear", "rope_theta": 777.0, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 55.0},
}
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("llama", {"rope_parameters": DEFAULT}, {"rope_theta": 777.0}),
    (
        "llama",
        {"rope_parameters": LLAMA3},
        {
            "rope_theta": 777.0,
            "rope_scaling": {key: value for key, value in LLAMA3.items() if key != "rope_theta"},
        },
    ),
    (
        "phi3",
        {"rope_parameters": LONG, "original_max_position_embeddings": 16, "pad_token_id": None},
        {
            "rope_theta": 777.0,
            "partial_rotary_factor": 0.5,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": [1.0, 1.5],
                "long_factor": [2.0, 3.0],
            },
        },
    ),
    (
        "gemma3_text",
        {"rope_parameters": BY_TYPE, "head_dim": 8, "sliding_window_pattern": 2},
        {
            "rope_theta": 777.0,
            "rope_local_base_freq": 55.0,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
    ),
]


@pytest.mark.parametrize(("family", "values", "added"), CASES)
def test_the_older_keys_are_added_and_version_5_reads_the_same(
    family: str, values: dict[str, Any], added: dict[str, Any]
) -> None:
    shape = {
        "vocab_size": 40,
        "hidden_size": 32,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    config = AutoConfig.for_model(family, **shape, **values)
    saved = {"model_type": family, **config.to_diff_dict()}
    both = portable(saved)
    assert {key: value for key, value in both.items() if key not in saved} == added
    again = AutoConfig.for_model(**both)
    assert {**config.rope_parameters, **again.rope_parameters} == again.rope_parameters
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    other = AutoModelForCausalLM.from_config(again).eval()
    other.load_state_dict(model.state_dict())
    ids = torch.arange(24)[None]
    with torch.inference_mode():
        torch.testing.assert_close(other(ids).logits, model(ids).logits, atol=0, rtol=0)


@pytest.mark.parametrize("config", [{"rope_theta": 5e5}, {"rope_parameters": None}, {}])
def test_a_config_in_the_older_form_stays(config: dict[str, Any]) -> None:
    assert portable(config) == config
