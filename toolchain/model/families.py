"""What a family's config means, and where things are in its transformers modules.

All architecture knowledge is in here, in `family.py` (what is to be known of a family), in
`family_table.py` (the families) and in `decoder_layer.py` (what is inside of a layer): nothing else
in the project writes a name such as `self_attn.q_proj`. All are torch-free at import, so that
`plan` and `info` can use them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from runtime_py.schema import LayerShape
from toolchain.errors import BadRequestError
from toolchain.model.family import Family as Family  # noqa: PLC0414 - importers' names
from toolchain.model.family_table import FAMILIES as FAMILIES  # noqa: PLC0414
from toolchain.model.family_table import family_of as family_of  # noqa: PLC0414

if TYPE_CHECKING:
    from torch import Tensor, nn

SLIDING, FULL = "sliding_attention", "full_attention"
"""transformers' words for a layer with and without a sliding window."""

ADAPTIVE = "paredown"
"""config.json's key for the widths of layers that differ; `adaptive.py` writes and reads it."""


def _family(model: nn.Module) -> Family:
    """The family of a transformers model."""
    return FAMILIES[str(model.config.model_type)]  # type: ignore[union-attr]


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The layers of a transformers model."""
    return model.get_submodule(_family(model).layers)  # type: ignore[return-value]


def set_decoder_layers_(model: nn.Module, layers: nn.ModuleList) -> None:
    """Replace the layers of `model`."""
    owner, _, attribute = _family(model).layers.rpartition(".")
    setattr(model.get_submodule(owner), attribute, layers)


def embedding(model: nn.Module) -> nn.Module:
    """The token embedding."""
    return model.get_submodule(_family(model).embedding)


def embed(model: nn.Module, token_ids: Tensor) -> Tensor:
    """Hidden states before the first layer, [b, t, hidden_size] of ids [b, t] from position 0.

    The scale of an embedding, learned positions, segments (all tokens are in the first one) and
    the norm of the sum are included.
    """
    family = _family(model)
    hidden: Tensor = embedding(model)(token_ids)
    if family.segments is not None:
        segments: Tensor = model.get_submodule(family.segments).weight  # type: ignore[assignment]
        hidden = hidden + segments[0]
    table = position_table(model)
    if table is not None:
        hidden = hidden + table[: token_ids.shape[1]]
    if family.embedding_norm is not None:
        hidden = model.get_submodule(family.embedding_norm)(hidden)
    return hidden


def position_table(model: nn.Module) -> Tensor | None:
    """Learned positions [positions, hidden_size] from position 0 on; None where there are none."""
    family = _family(model)
    if family.positions is None:
        return None
    table: Tensor = model.get_submodule(family.positions).weight  # type: ignore[assignment]
    return table[family.position_offset :]


def final_norm(model: nn.Module) -> nn.Module:
    """The norm before the head."""
    return model.get_submodule(_family(model).final_norm)


def head(model: nn.Module) -> nn.Module:
    """The output projection to the vocabulary."""
    return model.get_submodule(_family(model).head)


def logits(model: nn.Module, normed: Tensor) -> Tensor:
    """Logits [..., vocab_size] of hidden states that passed the final norm, soft cap included."""
    out: Tensor = head(model)(normed)
    return capped(out, logit_cap(model))


def logit_cap(model: nn.Module) -> float | None:
    """The soft cap of a loaded model's logits; None where there is none."""
    return getattr(model.config, "final_logit_softcapping", None)


def capped(values: Tensor, cap: float | None) -> Tensor:
    """cap * tanh(values / cap), which Gemma 2 does to its logits; `values` without a cap."""
    return values if cap is None else (values / cap).tanh() * cap


def auto_class(config: dict[str, Any]) -> str:
    """The class of transformers that loads a checkpoint, from its parsed config.json."""
    if FAMILIES[config["model_type"]].causal:
        return "AutoModelForCausalLM"
    masked = any("ForMaskedLM" in str(name) for name in config.get("architectures") or [])
    return "AutoModelForMaskedLM" if masked else "AutoModel"


def soft_cap(config: dict[str, Any]) -> float | None:
    """The soft cap of the logits, from a parsed config.json; None where there is none."""
    cap = FAMILIES[config["model_type"]].read(config, "final_logit_softcapping")
    return float(cap) if cap else None


def rotary_embedding(model: nn.Module) -> nn.Module | None:
    """The module that makes (cos, sin) from position ids; None where positions are learned."""
    name = _family(model).rotary
    return None if name is None else model.get_submodule(name)


def restore_constants_(model: nn.Module) -> None:
    """Compute anew what a model built on the meta device lacks and no checkpoint stores.

    That is the frequencies of a rotary embedding, the scale of an embedding, and the positions and
    segments that an encoder assumes.
    """
    import torch

    rotary = rotary_embedding(model)
    if rotary is not None:
        owner, _, attribute = str(_family(model).rotary).rpartition(".")
        setattr(model.get_submodule(owner), attribute, type(rotary)(model.config))
    table = embedding(model)
    if hasattr(table, "embed_scale"):
        table.register_buffer(
            "embed_scale", torch.tensor(table.scalar_embed_scale), persistent=False
        )
    positions = position_table(model)
    if _family(model).segments is not None and positions is not None:
        embeddings = model.get_submodule(_family(model).embedding.rpartition(".")[0])
        ids = torch.arange(len(positions))[None]
        embeddings.register_buffer("position_ids", ids, persistent=False)
        embeddings.register_buffer("token_type_ids", torch.zeros_like(ids), persistent=False)


def layer_shape(
    family: Family, size_of: Callable[[str], Sequence[int]], head_dim: int
) -> LayerShape:
    """A decoder layer's shape, from the sizes of its tensors.

    Args:
        family: architecture knowledge.
        size_of: a stored tensor's size by its name within the layer.
        head_dim: width of one head.
    """
    outputs, inputs = (1, 0) if family.transposed else (0, 1)
    queries = size_of(f"{family.output}.weight")[inputs]
    keys = size_of(f"{family.key}.weight")[outputs]
    if family.key == family.query:
        keys = (keys - queries) // 2
    return LayerShape(
        num_attention_heads=queries // head_dim,
        num_key_value_heads=keys // head_dim,
        head_dim=head_dim,
        intermediate_size=size_of(f"{family.down}.weight")[inputs],
    )


def saved_model_type(
    family: Family, hidden_size: int, num_attention_heads: int, biased: bool
) -> str:
    """The model_type that can hold `family`'s mathematics with that many heads.

    Raises:
        BadRequestError: no family can, because the head count does not divide the hidden size.
    """
    if not (family.heads_divide_hidden and hidden_size % num_attention_heads):
        return family.model_type
    if family.stand_in is None or biased:
        raise BadRequestError(
            f"{num_attention_heads} heads do not divide hidden_size {hidden_size}, and a "
            f"{family.model_type}{' with biases' * biased} cannot be saved otherwise",
            "use another --ratio, --parts mlp" + " or a recovery without biases" * biased,
        )
    return family.stand_in


def check_heads(family: Family, before: LayerShape, after: LayerShape, *, uniform: bool) -> None:
    """Refuse to remove heads where the result would not be the same mathematics, or not be held.

    Args:
        family: architecture knowledge.
        before: a layer's shape.
        after: the shape that it shall have.
        uniform: whether transformers' own config has to hold the result.

    Raises:
        BadRequestError: the query norm spans all heads, or the family's config has no head_dim.
    """
    if after.num_attention_heads == before.num_attention_heads:
        return
    if family.norm_spans_heads:
        raise BadRequestError(
            f"the heads of {family.model_type} share one norm, so none of them can be removed",
            "use --parts mlp",
        )
    if uniform and not family.head_dim_in_config:
        raise BadRequestError(
            f"a config of {family.model_type} cannot hold fewer heads of the same width",
            "use --parts mlp or --layout adaptive",
        )


def require_causal(family: Family, verb: str) -> None:
    """Refuse what works for language models alone.

    Raises:
        BadRequestError: an encoder.
    """
    if not family.causal:
        raise BadRequestError(
            f"{family.model_type} is an encoder, and {verb} is for language models",
            "an encoder can be pruned, exported and validated",
        )


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
        BadRequestError: the family, or this Llama with its biases, cannot be saved with that many
            heads.
    """
    family = FAMILIES[config["model_type"]]
    before = config_shape(config)
    after = LayerShape(num_attention_heads, num_key_value_heads, before.head_dim, intermediate_size)
    check_heads(family, before, after, uniform=True)
    if after.num_attention_heads != before.num_attention_heads:
        _check_rope_factors(config)
    out = {key: value for key, value in config.items() if key != ADAPTIVE}
    out[family.config_key("intermediate_size")] = intermediate_size
    if family.head_dim_in_config:
        out["head_dim"] = before.head_dim
        out["num_attention_heads"] = num_attention_heads
        out["num_key_value_heads"] = num_key_value_heads
    biased = any(family.has_bias(f, config) for f in (family.output_bias, family.mlp_bias))
    hidden_size = family.size(config, "hidden_size")
    saved_type = saved_model_type(family, hidden_size, num_attention_heads, biased)
    if saved_type != family.model_type:
        out["model_type"] = saved_type
        out["architectures"] = [FAMILIES[saved_type].architecture]
        out["sliding_window"] = None
        for key in ("attention_bias", "mlp_bias", "pretraining_tp"):
            out.pop(key, None)
    return out


def _check_rope_factors(config: dict[str, Any]) -> None:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if config["model_type"] == "phi3" and rope.get("long_factor"):
        raise BadRequestError(
            "a Phi3Config with rotary factors for long texts cannot hold fewer heads",
            "use --parts mlp or --layout adaptive",
        )


def config_shape(config: dict[str, Any]) -> LayerShape:
    """The shape that a config gives every layer.

    Raises:
        KeyError: a size is absent.
    """
    family = FAMILIES[config["model_type"]]
    heads = family.size(config, "num_attention_heads")
    return LayerShape(
        num_attention_heads=heads,
        num_key_value_heads=int(family.read(config, "num_key_value_heads") or heads),
        head_dim=head_dim(config),
        intermediate_size=intermediate_size(config),
    )


def layer_types(config: dict[str, Any]) -> list[str]:
    """`sliding_attention` or `full_attention` for each layer, as transformers would fill it in."""
    family = FAMILIES[config["model_type"]]
    count = family.size(config, "num_hidden_layers")
    explicit = config.get("layer_types")
    if explicit:
        return [str(kind) for kind in explicit]
    if not family.sliding_window or not family.read(config, "sliding_window"):
        return [FULL] * count
    slides = _slides(family, config, count)
    return [SLIDING if sliding else FULL for sliding in slides]


def _slides(family: Family, config: dict[str, Any], count: int) -> list[bool]:
    if family.model_type in ("qwen2", "qwen3"):
        first = family.size(config, "max_window_layers")
        return [bool(config.get("use_sliding_window")) and i >= first for i in range(count)]
    if family.model_type == "smollm3":
        rotates = rotary_layers(config)
        return [bool(config.get("use_sliding_window")) and not rotates[i] for i in range(count)]
    pattern = family.read(config, "sliding_window_pattern")
    return [pattern is None or (i + 1) % int(pattern) > 0 for i in range(count)]


def rotary_layers(config: dict[str, Any]) -> list[bool]:
    """Whether each layer turns its queries and keys by their positions."""
    family = FAMILIES[config["model_type"]]
    count = family.size(config, "num_hidden_layers")
    explicit = config.get("no_rope_layers")  # 1 is a layer with a rotary embedding, all the same
    if explicit:
        return [bool(flag) for flag in explicit[:count]]
    interval = family.read(config, "no_rope_layer_interval")
    return [interval is None or (i + 1) % int(interval) > 0 for i in range(count)]


def with_layers(config: dict[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """The config.json of the model with only the given layers, per-layer lists re-indexed.

    What a config derives from a layer's index (sliding windows from `max_window_layers` or a
    pattern, layers without rotary embedding) becomes an explicit list, so that each layer stays
    what it was.

    Args:
        config: the parsed config.json.
        kept: indices of the layers that stay, in increasing order.

    Raises:
        BadRequestError: a layer's mathematics depends on its index in a way that no list can say.
    """
    family = FAMILIES[config["model_type"]]
    count = family.size(config, "num_hidden_layers")
    if config.get("scale_attn_by_inverse_layer_idx") and list(kept) != list(range(count)):
        raise BadRequestError(
            "this model scales attention by a layer's index, so no layer can be removed",
            "use --layers 0",
        )
    out = {**config, family.config_key("num_hidden_layers"): len(kept)}
    out.pop("sliding_window_pattern", None)
    out.pop("_sliding_window_pattern", None)
    rotates = rotary_layers(config)
    if not all(rotates) or config.get("no_rope_layers"):
        out["no_rope_layers"] = [int(rotates[index]) for index in kept]
    kinds = layer_types(config)
    if config.get("layer_types") or len(set(kinds)) > 1:
        out["layer_types"] = [kinds[index] for index in kept]
    return out


def rope_types(config: dict[str, Any]) -> set[str]:
    """The kinds of rotary embedding that a config asks for; empty for learned positions."""
    family = FAMILIES[config["model_type"]]
    if family.rotary is None:
        return set()
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    nested = [value for value in rope.values() if isinstance(value, dict)]
    kinds = {str(r.get("rope_type") or r.get("type") or "default") for r in nested or [rope]}
    if family.model_type == "phi3":  # Phi3Config's own reading of older names
        kinds = {"longrope" if kind in ("su", "yarn") else kind for kind in kinds}
    return kinds


def head_dim(config: dict[str, Any]) -> int:
    """Width of one attention head."""
    family = FAMILIES[config["model_type"]]
    explicit = family.read(config, "head_dim") if family.head_dim_in_config else None
    if explicit:
        return int(explicit)
    return family.size(config, "hidden_size") // family.size(config, "num_attention_heads")


def intermediate_size(config: dict[str, Any]) -> int:
    """Neurons of one MLP."""
    family = FAMILIES[config["model_type"]]
    if family.wide_by_default and family.read(config, "intermediate_size") is None:
        return 4 * family.size(config, "hidden_size")
    return family.size(config, "intermediate_size")


def attention_window(config: dict[str, Any]) -> int | None:
    """Tokens that the narrowest layer can look back; None when every layer sees everything."""
    if SLIDING not in layer_types(config):
        return None
    return FAMILIES[config["model_type"]].size(config, "sliding_window")
