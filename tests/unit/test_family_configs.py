"""What a config says and leaves out, against transformers' own reading; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from transformers import AutoConfig

from toolchain.errors import BadRequestError
from toolchain.model import families
from toolchain.model.families import FAMILIES
from toolchain.model.spec import spec_from_config

SIZES = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 9,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": None,
}
OWN: dict[str, dict[str, Any]] = {
    "opt": {
        "vocab_size": 64,
        "hidden_size": 64,
        "ffn_dim": 96,
        "num_hidden_layers": 9,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
    },
    "gpt2": {"vocab_size": 64, "n_embd": 64, "n_layer": 9, "n_head": 4, "n_positions": 128},
    "bert": {key: value for key, value in SIZES.items() if "key_value" not in key},
}
CONFIGS: list[dict[str, Any]] = [
    {"model_type": name, **OWN.get(name, SIZES)} for name in sorted(FAMILIES)
]
CONFIGS += [
    {"model_type": "llama", **SIZES, "num_key_value_heads": None},
    {"model_type": "mistral", **SIZES, "sliding_window": None},
    {"model_type": "mistral", **SIZES, "sliding_window": 32, "head_dim": 8},
    {"model_type": "qwen2", **SIZES, "use_sliding_window": True, "max_window_layers": 4},
    {"model_type": "qwen3", **SIZES, "use_sliding_window": True, "max_window_layers": 0},
    {"model_type": "qwen3", **SIZES, "head_dim": 32, "sliding_window": 8},
    {"model_type": "smollm3", **SIZES, "no_rope_layer_interval": 3},
    {"model_type": "smollm3", **SIZES, "use_sliding_window": True, "sliding_window": 16},
    {"model_type": "smollm3", **SIZES, "no_rope_layers": [1, 0, 0, 1, 1, 1, 0, 1, 1]},
    {"model_type": "phi3", **SIZES, "sliding_window": 64},
    {"model_type": "gemma2", **SIZES, "final_logit_softcapping": None},
    {"model_type": "gemma3_text", **SIZES, "sliding_window_pattern": 2, "sliding_window": 32},
    {"model_type": "gemma3_text", **SIZES, "layer_types": ["full_attention"] * 9},
    {"model_type": "gpt2", **OWN["gpt2"], "n_inner": 96, "tie_word_embeddings": False},
]


def label(config: dict[str, Any]) -> str:
    usual = {**SIZES, **OWN.get(config["model_type"], {})}
    changes = [f"{k}={v}" for k, v in config.items() if usual.get(k) != v and k != "model_type"]
    return " ".join([config["model_type"], *changes])


def layers_of(config: Any) -> tuple[list[str] | None, list[bool] | None]:
    """(layer_types, whether each layer rotates) as transformers has them; None: it has none."""
    rotates = getattr(config, "no_rope_layers", None)
    return getattr(config, "layer_types", None), rotates and [bool(flag) for flag in rotates]


@pytest.mark.parametrize("config", CONFIGS, ids=label)
def test_a_config_means_what_transformers_reads(config: dict[str, Any]) -> None:
    theirs = AutoConfig.for_model(**config)
    spec = spec_from_config(config, "tiny")
    shape = spec.layers[0]
    assert spec.tie_word_embeddings == theirs.tie_word_embeddings
    assert len(spec.layers) == theirs.num_hidden_layers
    heads = theirs.num_attention_heads
    assert shape.num_attention_heads == heads
    assert shape.num_key_value_heads == getattr(theirs, "num_key_value_heads", heads)
    head_dim = getattr(theirs, "head_dim", None) or theirs.hidden_size // heads
    assert shape.head_dim == head_dim
    assert families.soft_cap(config) == getattr(theirs, "final_logit_softcapping", None)
    kinds, rotates = layers_of(theirs)
    if kinds is not None:
        assert families.layer_types(config) == kinds
    if rotates is not None:
        assert families.rotary_layers(config) == rotates
    sliding = kinds is None and getattr(theirs, "sliding_window", None)
    if sliding or families.SLIDING in (kinds or []):
        assert families.attention_window(config) == theirs.sliding_window
    else:
        assert families.attention_window(config) is None


@pytest.mark.parametrize("config", CONFIGS, ids=label)
@pytest.mark.parametrize("kept", [[0], [8], [0, 2, 3, 7], [1, 3, 5, 7], list(range(9))], ids=str)
def test_layers_that_stay_are_what_they_were(config: dict[str, Any], kept: list[int]) -> None:
    whole = AutoConfig.for_model(**config)
    part = AutoConfig.for_model(**families.with_layers(config, kept))
    assert part.num_hidden_layers == len(kept)
    for before, after in zip(layers_of(whole), layers_of(part), strict=True):
        assert (before is None) == (after is None)
        if before is not None and after is not None:
            assert after == [before[index] for index in kept]
    if kept == list(range(9)):
        assert families.attention_window(families.with_layers(config, kept)) == (
            families.attention_window(config)
        )


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_a_model_of_full_size_has_as_many_parameters(model_type: str) -> None:
    """transformers' default sizes, which are those of a published model of each family."""
    config = AutoConfig.for_model(model_type)
    with torch.device("meta"):
        model = getattr(transformers, families.auto_class(config.to_dict())).from_config(config)
    assert spec_from_config(config.to_dict(), model_type).parameters == model.num_parameters()


@pytest.mark.parametrize("config", CONFIGS, ids=label)
def test_rotary_kinds_are_those_that_transformers_reads(config: dict[str, Any]) -> None:
    theirs = getattr(AutoConfig.for_model(**config), "rope_parameters", None)
    if config["model_type"] in OWN:
        assert theirs is None
        assert families.rope_types(config) == set()
    else:
        assert families.rope_types({**config, "rope_parameters": theirs}) == {"default"}
        assert families.rope_types(config) == {"default"}


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        ({"model_type": "phi3", "rope_scaling": {"type": "yarn"}}, {"longrope"}),
        ({"model_type": "phi3", "rope_scaling": {"type": "su"}}, {"longrope"}),
        ({"model_type": "llama", "rope_scaling": {"rope_type": "yarn"}}, {"yarn"}),
        (
            {
                "model_type": "gemma3_text",
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 8.0},
                    "sliding_attention": {"rope_type": "default"},
                },
            },
            {"linear", "default"},
        ),
    ],
)
def test_rotary_kinds_of_old_and_nested_configs(config: dict[str, Any], kinds: set[str]) -> None:
    assert families.rope_types(config) == kinds


def test_a_layer_scaled_by_its_index_cannot_move() -> None:
    config = {"model_type": "gpt2", **OWN["gpt2"], "scale_attn_by_inverse_layer_idx": True}
    with pytest.raises(BadRequestError, match="by a layer's index"):
        families.with_layers(config, [0, 2])
    assert families.with_layers(config, range(9)) == config


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "mixtral", "num_local_experts": 8},
        {"model_type": "qwen3_moe", "num_experts": 64},
        {"model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"]},
        {"model_type": "something_new", "n_routed_experts": 16},
        {"model_type": "gpt_oss"},
    ],
    ids=lambda config: str(config["model_type"]),
)
def test_a_mixture_of_experts_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError, match="is a mixture of experts") as caught:
        families.family_of(config, "big")
    assert "which paredown cannot prune" in str(caught.value)
    assert "use a dense model" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "opt", "do_layer_norm_before": False}, "norms after the residual sum"),
        ({"model_type": "opt", "word_embed_proj_dim": 32, "hidden_size": 64}, "another width"),
        ({"model_type": "opt", "layer_norm_elementwise_affine": False}, "norms without weights"),
        ({"model_type": "opt", "_remove_final_layer_norm": True}, "no final norm"),
        ({"model_type": "gpt2", "add_cross_attention": True}, "cross-attention"),
        ({"model_type": "gemma3_text", "use_bidirectional_attention": True}, "bidirectional"),
        ({"model_type": "gpt3"}, "did you mean 'gpt2'"),
        ({"model_type": "gemma3_txt"}, "did you mean 'gemma3_text'"),
        ({"model_type": "t5", "architectures": ["T5Model"]}, "not a causal language"),
    ],
)
def test_what_a_family_cannot_do_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        families.family_of(config, "tiny")
    assert message in f"{caught.value} {caught.value.hint}"


def test_experts_that_are_one_are_none() -> None:
    assert families.family_of({"model_type": "llama", "num_experts": 1}, "x").model_type == "llama"


@pytest.mark.parametrize(
    ("model_type", "heads", "message"),
    [
        ("olmo2", 2, "share one norm"),
        ("opt", 2, "cannot hold fewer heads"),
        ("gpt2", 2, "cannot hold fewer heads"),
        ("gemma2", 3, "3 heads do not divide hidden_size 64"),
    ],
)
def test_heads_that_cannot_go_are_refused(model_type: str, heads: int, message: str) -> None:
    config = {"model_type": model_type, **OWN.get(model_type, SIZES)}
    if model_type not in OWN:
        config["num_key_value_heads"] = 4
    with pytest.raises(BadRequestError, match=message) as caught:
        families.with_shape(
            config, num_attention_heads=heads, num_key_value_heads=heads, intermediate_size=96
        )
    assert "--parts mlp" in str(caught.value.hint)


def test_rotary_factors_of_long_texts_keep_the_heads() -> None:
    factors = [1.0] * 8
    rope = {"rope_type": "longrope", "short_factor": factors, "long_factor": factors}
    config = {"model_type": "phi3", **SIZES, "rope_scaling": rope}
    shape = {"num_key_value_heads": 1, "intermediate_size": 80}
    with pytest.raises(BadRequestError, match="factors for long texts"):
        families.with_shape(config, num_attention_heads=2, **shape)
    shape["num_key_value_heads"] = 2
    kept = families.with_shape(config, num_attention_heads=4, **shape)
    assert AutoConfig.for_model(**kept).intermediate_size == 80
