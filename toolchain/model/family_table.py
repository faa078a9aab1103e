"""The supported families, and what is refused by name. Torch-free.

A new family of a known build is one entry in here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from toolchain.errors import BadRequestError, did_you_mean
from toolchain.model.family import Family

_GEMMA2 = Family(
    "gemma2",
    "Gemma2ForCausalLM",
    query_key_value_bias="attention_bias",
    output_bias="attention_bias",
    norm_offset=1.0,
    sliding_window=True,
    heads_divide_hidden=True,
    eager_attention=True,
    defaults={
        "head_dim": 256,
        "num_key_value_heads": 4,
        "sliding_window": 4096,
        "tie_word_embeddings": True,
        "query_pre_attn_scalar": 256,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "sliding_window_pattern": 2,
    },
    attention_post_norm="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
)

FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Family(
            "llama",
            "LlamaForCausalLM",
            query_key_value_bias="attention_bias",
            output_bias="attention_bias",
            mlp_bias="mlp_bias",
            heads_divide_hidden=True,
            stand_in="mistral",
        ),
        Family(
            "mistral",
            "MistralForCausalLM",
            sliding_window=True,
            defaults={"sliding_window": 4096},
        ),
        Family(
            "qwen2",
            "Qwen2ForCausalLM",
            query_key_value_bias=True,
            sliding_window=True,
            defaults={"sliding_window": 4096, "max_window_layers": 28},
        ),
        Family(
            "qwen3",
            "Qwen3ForCausalLM",
            query_key_value_bias="attention_bias",
            output_bias="attention_bias",
            query_key_norm=True,
            sliding_window=True,
            defaults={"head_dim": 128, "sliding_window": 4096, "max_window_layers": 28},
        ),
        Family(
            "smollm3",
            "SmolLM3ForCausalLM",
            query_key_value_bias="attention_bias",
            output_bias="attention_bias",
            mlp_bias="mlp_bias",
            sliding_window=True,
            defaults={
                "num_key_value_heads": 4,
                "no_rope_layer_interval": 4,
                "tie_word_embeddings": True,
            },
        ),
        Family(
            "phi3",
            "Phi3ForCausalLM",
            sliding_window=True,
            query="self_attn.qkv_proj",
            key="self_attn.qkv_proj",
            value="self_attn.qkv_proj",
            gate="mlp.gate_up_proj",
            up="mlp.gate_up_proj",
            activation="mlp.activation_fn",
        ),
        Family(
            "olmo2",
            "Olmo2ForCausalLM",
            query_key_value_bias="attention_bias",
            output_bias="attention_bias",
            query_key_norm=True,
            norm_spans_heads=True,
            attention_norm=None,
            attention_post_norm="post_attention_layernorm",
            mlp_norm=None,
            mlp_post_norm="post_feedforward_layernorm",
        ),
        _GEMMA2,
        replace(
            _GEMMA2,
            model_type="gemma3_text",
            architecture="Gemma3ForCausalLM",
            query_key_norm=True,
            eager_attention=False,
            rotary_by_layer_type=True,
            defaults={
                "head_dim": 256,
                "num_key_value_heads": 4,
                "sliding_window": 4096,
                "tie_word_embeddings": True,
                "query_pre_attn_scalar": 256,
                "sliding_window_pattern": 6,
            },
        ),
        Family(
            "opt",
            "OPTForCausalLM",
            query_key_value_bias="enable_bias",
            output_bias="enable_bias",
            mlp_bias="enable_bias",
            norm_bias=True,
            head_dim_in_config=False,
            position_offset=2,
            config_keys={"intermediate_size": "ffn_dim"},
            defaults={
                "do_layer_norm_before": True,
                "enable_bias": True,
                "layer_norm_elementwise_affine": True,
                "tie_word_embeddings": True,
            },
            output="self_attn.out_proj",
            gate=None,
            up="fc1",
            down="fc2",
            activation="activation_fn",
            attention_norm="self_attn_layer_norm",
            mlp_norm="final_layer_norm",
            layers="model.decoder.layers",
            embedding="model.decoder.embed_tokens",
            positions="model.decoder.embed_positions",
            final_norm="model.decoder.final_layer_norm",
            rotary=None,
        ),
        Family(
            "gpt2",
            "GPT2LMHeadModel",
            query_key_value_bias=True,
            output_bias=True,
            mlp_bias=True,
            norm_bias=True,
            head_dim_in_config=False,
            wide_by_default=True,
            transposed=True,
            config_keys={
                "hidden_size": "n_embd",
                "intermediate_size": "n_inner",
                "max_position_embeddings": "n_positions",
                "num_attention_heads": "n_head",
                "num_hidden_layers": "n_layer",
            },
            defaults={"tie_word_embeddings": True},
            query="attn.c_attn",
            key="attn.c_attn",
            value="attn.c_attn",
            output="attn.c_proj",
            gate=None,
            up="mlp.c_fc",
            down="mlp.c_proj",
            attention="attn",
            activation="mlp.act",
            attention_norm="ln_1",
            mlp_norm="ln_2",
            base="transformer",
            layers="transformer.h",
            embedding="transformer.wte",
            positions="transformer.wpe",
            final_norm="transformer.ln_f",
            rotary=None,
        ),
        Family(
            "bert",
            "BertModel",
            causal=False,
            also=("BertForMaskedLM",),
            query_key_value_bias=True,
            output_bias=True,
            mlp_bias=True,
            norm_bias=True,
            head_dim_in_config=False,
            defaults={
                "position_embedding_type": "absolute",
                "tie_word_embeddings": True,
                "type_vocab_size": 2,
            },
            query="attention.self.query",
            key="attention.self.key",
            value="attention.self.value",
            output="attention.output.dense",
            gate=None,
            up="intermediate.dense",
            down="output.dense",
            attention="attention.self",
            activation="intermediate.intermediate_act_fn",
            attention_norm=None,
            attention_sum_norm="attention.output.LayerNorm",
            mlp_norm=None,
            mlp_sum_norm="output.LayerNorm",
            base="bert",
            layers="encoder.layer",
            embedding="embeddings.word_embeddings",
            positions="embeddings.position_embeddings",
            segments="embeddings.token_type_embeddings",
            embedding_norm="embeddings.LayerNorm",
            rotary=None,
        ),
    )
}

MIXTURE_KEYS = (
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "moe_num_experts",
    "num_routed_experts",
)
"""Config keys that count experts."""
MIXTURE_TYPES = ("mixtral", "dbrx", "jamba", "deepseek_v2", "deepseek_v3", "gpt_oss", "arctic")
"""Mixtures of experts whose model_type does not say so."""


def family_of(config: dict[str, Any], name: str) -> Family:
    """The family of a parsed config.json.

    Args:
        config: the parsed config.json.
        name: the model's name, for the message.

    Raises:
        BadRequestError: neither a causal language model nor a known encoder, a mixture of experts,
            or a family that is not supported; the message lists the supported ones.
    """
    model_type = str(config.get("model_type", ""))
    _refuse_experts(config, model_type, name)
    architectures = [str(a) for a in config.get("architectures") or []]
    family = FAMILIES.get(model_type)
    if architectures:
        _check_architectures(architectures, family, name)
    if family is None:
        raise BadRequestError(
            f"{name} has the unsupported model_type '{model_type}'",
            did_you_mean(model_type, FAMILIES),
        )
    _refuse_variants(config, family, name)
    return family


def _check_architectures(architectures: list[str], family: Family | None, name: str) -> None:
    if family is not None and not family.causal:
        known = (family.architecture, *family.also)
        if not any(architecture in known for architecture in architectures):
            raise BadRequestError(
                f"{name} is {architectures[0]}, which paredown cannot prune",
                f"of {family.model_type} it knows {' and '.join(known)}",
            )
    elif not any(a.endswith(("ForCausalLM", "LMHeadModel")) for a in architectures):
        raise BadRequestError(
            f"{name} is {architectures[0]}, not a causal language model",
            f"supported families: {', '.join(sorted(FAMILIES))}",
        )


def _refuse_variants(config: dict[str, Any], family: Family, name: str) -> None:
    """Refuse what a supported family's config may ask for and we cannot do."""
    width = config.get("word_embed_proj_dim")
    for refused, what in (
        (not family.read(config, "do_layer_norm_before"), "norms after the residual sum"),
        (not family.read(config, "layer_norm_elementwise_affine"), "norms without weights"),
        (config.get("_remove_final_layer_norm"), "no final norm"),
        (width not in (None, config.get("hidden_size")), "embeddings of another width"),
    ):
        if family.model_type == "opt" and refused:
            raise _unsupported_variant(name, what)
    positions = family.read(config, "position_embedding_type")
    if not family.causal and positions != "absolute":
        raise _unsupported_variant(name, f"positions of the type '{positions}'")
    if not family.causal and config.get("is_decoder"):
        raise _unsupported_variant(name, "causal attention in an encoder's layers")
    for key, what in (
        ("add_cross_attention", "cross-attention"),
        ("use_bidirectional_attention", "bidirectional attention"),
    ):
        if config.get(key):
            raise _unsupported_variant(name, what)


def _unsupported_variant(name: str, what: str) -> BadRequestError:
    return BadRequestError(
        f"{name} has {what}, which paredown cannot prune", "use another model of its family"
    )


def _refuse_experts(config: dict[str, Any], model_type: str, name: str) -> None:
    counts = [config.get(key) for key in MIXTURE_KEYS]
    counted = any(isinstance(count, int) and count > 1 for count in counts)
    if counted or "moe" in model_type or model_type in MIXTURE_TYPES:
        raise BadRequestError(
            f"{name} is a mixture of experts ({model_type}), which paredown cannot prune",
            f"use a dense model of one of the families {', '.join(sorted(FAMILIES))}",
        )
