"""All architecture knowledge: which families there are and where their weights sit.

Nothing else in the project writes a name such as `self_attn.q_proj`. The module is torch-free at
import, so that `plan` and `info` can use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolchain.errors import BadRequestError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Family:
    """One decoder architecture, as transformers names its parts.

    Projection names are relative to a decoder layer. Slicing a neuron or a head touches exactly the
    tensors named here.
    """

    model_type: str
    query_key_value_bias: str | bool
    """Config key that switches biases on q, k and v, or a constant."""
    output_bias: str | bool
    """The same for o_proj."""
    mlp_bias: str | bool
    """The same for gate, up and down."""
    query_key_norm: bool = False
    """Whether q and k are normalised per head before the rotary embedding."""
    sliding_window: bool = False
    """Whether the family's config may name a sliding attention window."""
    heads_divide_hidden: bool = False
    """Whether the family's config demands hidden_size % num_attention_heads == 0."""

    query: str = "self_attn.q_proj"
    key: str = "self_attn.k_proj"
    value: str = "self_attn.v_proj"
    output: str = "self_attn.o_proj"
    query_norm: str = "self_attn.q_norm"
    key_norm: str = "self_attn.k_norm"
    gate: str = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    down: str = "mlp.down_proj"
    attention: str = "self_attn"
    mlp: str = "mlp"
    attention_norm: str = "input_layernorm"
    mlp_norm: str = "post_attention_layernorm"

    def has_bias(self, flag: str | bool, config: dict[str, Any]) -> bool:
        """Resolve a bias field of this class against a config dictionary."""
        return bool(config.get(flag, False)) if isinstance(flag, str) else flag


FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Family(
            "llama",
            query_key_value_bias="attention_bias",
            output_bias="attention_bias",
            mlp_bias="mlp_bias",
            heads_divide_hidden=True,
        ),
        Family(
            "mistral",
            query_key_value_bias=False,
            output_bias=False,
            mlp_bias=False,
            sliding_window=True,
        ),
        Family(
            "qwen2",
            query_key_value_bias=True,
            output_bias=False,
            mlp_bias=False,
            sliding_window=True,
        ),
        Family(
            "qwen3",
            query_key_value_bias="attention_bias",
            output_bias="attention_bias",
            mlp_bias=False,
            query_key_norm=True,
            sliding_window=True,
        ),
    )
}


def family_of(config: dict[str, Any], name: str) -> Family:
    """The family of a parsed config.json.

    Args:
        config: the parsed config.json.
        name: the model's name, for the message.

    Raises:
        BadRequestError: not a causal language model, a mixture of experts, or a family that is not
            supported; the message lists the supported ones.
    """
    model_type = str(config.get("model_type", ""))
    architectures = [str(a) for a in config.get("architectures") or []]
    if architectures and not any(a.endswith("ForCausalLM") for a in architectures):
        raise BadRequestError(
            f"{name} is {architectures[0]}, not a causal language model",
            f"supported families: {', '.join(sorted(FAMILIES))}",
        )
    if model_type not in FAMILIES:
        raise BadRequestError(
            f"{name} has the unsupported model_type '{model_type}'",
            did_you_mean(model_type, FAMILIES),
        )
    return FAMILIES[model_type]


def layer_prefix(index: int) -> str:
    """Prefix of decoder layer `index` in a state dict, with the final dot."""
    return f"model.layers.{index}."


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The decoder layers of a transformers causal language model."""
    return model.get_submodule("model.layers")  # type: ignore[return-value]


def embedding(model: nn.Module) -> nn.Module:
    """The token embedding."""
    return model.get_submodule("model.embed_tokens")


def final_norm(model: nn.Module) -> nn.Module:
    """The norm before the head."""
    return model.get_submodule("model.norm")


def head(model: nn.Module) -> nn.Module:
    """The output projection to the vocabulary."""
    return model.get_submodule("lm_head")


def rotary_embedding(model: nn.Module) -> nn.Module:
    """The module that makes (cos, sin) from position ids."""
    return model.get_submodule("model.rotary_emb")


def set_rotary_embedding_(model: nn.Module, module: nn.Module) -> None:
    """Replace the rotary embedding of `model`."""
    model.get_submodule("model").rotary_emb = module


def saved_model_type(
    family: Family, hidden_size: int, num_attention_heads: int, biased: bool
) -> str:
    """The model_type that can hold `family`'s mathematics with that many heads.

    Raises:
        BadRequestError: a Llama with biases, whose head count does not divide its hidden size.
    """
    if not (family.heads_divide_hidden and hidden_size % num_attention_heads):
        return family.model_type
    if biased:
        raise BadRequestError(
            f"{num_attention_heads} heads do not divide hidden_size {hidden_size}, "
            "and a Llama with biases cannot be saved otherwise",
            "use another --ratio or a recovery without biases",
        )
    return "mistral"


def bias_keys(family: Family, *, output: bool, mlp: bool) -> set[str]:
    """Config keys that switch on a bias of o_proj or of the MLP where it is not always there.

    Raises:
        BadRequestError: the family has no such key.
    """
    wanted = [flag for want, flag in ((output, family.output_bias), (mlp, family.mlp_bias)) if want]
    if not all(wanted):
        raise BadRequestError(
            f"recovery 'bias' adds biases, which a {family.model_type} cannot hold",
            "use --recovery mask_tuning or least_squares",
        )
    return {flag for flag in wanted if isinstance(flag, str)}


def with_shape(
    config: dict[str, Any],
    *,
    num_attention_heads: int,
    num_key_value_heads: int,
    intermediate_size: int,
) -> dict[str, Any]:
    """The config.json of the same model with other (uniform) widths.

    `head_dim` becomes explicit. A Llama whose head count no longer divides the hidden size, which
    LlamaConfig refuses, becomes a Mistral without sliding window: the same mathematics.

    Raises:
        BadRequestError: that Llama has biases, which a Mistral cannot hold.
    """
    family = FAMILIES[config["model_type"]]
    out = dict(config)
    out["head_dim"] = head_dim(config)
    out["num_attention_heads"] = num_attention_heads
    out["num_key_value_heads"] = num_key_value_heads
    out["intermediate_size"] = intermediate_size
    biased = any(family.has_bias(f, config) for f in (family.output_bias, family.mlp_bias))
    saved_type = saved_model_type(family, config["hidden_size"], num_attention_heads, biased)
    if saved_type != family.model_type:
        out["model_type"] = saved_type
        out["architectures"] = ["MistralForCausalLM"]
        out["sliding_window"] = None
        for key in ("attention_bias", "mlp_bias", "pretraining_tp"):
            out.pop(key, None)
    return out


def head_dim(config: dict[str, Any]) -> int:
    """Width of one attention head."""
    explicit = config.get("head_dim")
    if explicit:
        return int(explicit)
    if config["model_type"] == "qwen3":
        return 128  # Qwen3Config's own default
    return int(config["hidden_size"]) // int(config["num_attention_heads"])


def attention_window(config: dict[str, Any]) -> int | None:
    """Tokens that the narrowest layer can look back; None when every layer sees everything."""
    family = FAMILIES[config["model_type"]]
    if not family.sliding_window:
        return None
    if config["model_type"] == "mistral":
        window = config.get("sliding_window", 4096)
    else:
        window = config.get("sliding_window") if config.get("use_sliding_window") else None
    return int(window) if window else None
