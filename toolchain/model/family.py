"""What one architecture looks like: names, orientation, biases, norms, config keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DIVERGENCES = {
    "kl": ("KL to the dense model", "nats per token"),
    "cosine_distance": ("cosine distance of embeddings to the dense model's", "mean over texts"),
}
"""What a distance from the dense model is, by its key in a record: words and unit."""


@dataclass(frozen=True)
class Family:
    """One decoder or encoder architecture, as transformers names its parts.

    Names of projections and norms are relative to a layer. Slicing a neuron or a head
    touches exactly the tensors named here. Projections that share a name are one fused tensor,
    whose rows come in the order query, key, value, or gate, up.
    """

    model_type: str
    architecture: str
    """The transformers class."""
    causal: bool = True
    """Whether it predicts the next token. An encoder reads in both directions, and what it is for
    are its final hidden states: any head is kept as it is."""
    also: tuple[str, ...] = ()
    """Other transformers classes around the same layers."""
    query_key_value_bias: str | bool = False
    """Config key that switches biases on q, k and v, or a constant."""
    output_bias: str | bool = False
    """The same for the attention's output projection."""
    mlp_bias: str | bool = False
    """The same for gate, up and down."""
    query_key_norm: bool = False
    """Whether q and k are normalised before the rotary embedding."""
    norm_spans_heads: bool = False
    """Whether that norm is one over all heads, so that removing a head changes the others."""
    norm_bias: bool = False
    """Whether the norms (LayerNorm) have a bias."""
    norm_offset: float = 0.0
    """What an RMS norm adds to its stored weight."""
    sliding_window: bool = False
    """Whether the family's config may name a sliding attention window."""
    heads_divide_hidden: bool = False
    """Whether the family's config demands hidden_size % num_attention_heads == 0."""
    stand_in: str | None = None
    """A family of the same mathematics without that demand."""
    head_dim_in_config: bool = True
    """Whether the config can hold a head_dim other than hidden_size / num_attention_heads."""
    wide_by_default: bool = False
    """Whether an MLP without a width in the config has four times hidden_size neurons."""
    transposed: bool = False
    """Whether a projection stores its weight as [inputs, outputs] (Conv1D)."""
    eager_attention: bool = False
    """Whether attention does what only transformers' own loop does, and needs a mask given."""
    rotary_by_layer_type: bool = False
    """Whether sliding and full attention layers have rotary embeddings of their own."""
    position_offset: int = 0
    """Row of the position table that belongs to position 0."""
    config_keys: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The family's own config keys, by transformers' usual word for the same."""
    defaults: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Values of usual words that its config.json may leave out."""

    query: str = "self_attn.q_proj"
    key: str = "self_attn.k_proj"
    value: str = "self_attn.v_proj"
    output: str = "self_attn.o_proj"
    query_norm: str = "self_attn.q_norm"
    key_norm: str = "self_attn.k_norm"
    gate: str | None = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    down: str = "mlp.down_proj"
    attention: str = "self_attn"
    activation: str = "mlp.act_fn"
    """The MLP's activation: of the gate, or of `up` where there is no gate."""
    attention_norm: str | None = "input_layernorm"
    attention_post_norm: str | None = None
    """Norm of the attention's output, before it joins the residual stream."""
    attention_sum_norm: str | None = None
    """Norm of the residual stream once the attention's output is in it."""
    mlp_norm: str | None = "post_attention_layernorm"
    mlp_post_norm: str | None = None
    mlp_sum_norm: str | None = None

    base: str = "model"
    """The model without its head; older checkpoints leave this prefix out. All names of an encoder
    are within it."""
    layers: str = "model.layers"
    embedding: str = "model.embed_tokens"
    positions: str | None = None
    """The table of learned positions; None where positions are rotary."""
    segments: str | None = None
    """The table of segment embeddings, whose row 0 every token gets."""
    embedding_norm: str | None = None
    """Norm of the sum of all embeddings."""
    final_norm: str = "model.norm"
    """An encoder has none, nor a head of ours."""
    head: str = "lm_head"
    rotary: str | None = "model.rotary_emb"

    def has_bias(self, flag: str | bool, config: Mapping[str, Any]) -> bool:
        """Resolve a bias field of this class against a config dictionary."""
        return bool(self.read(config, flag) or False) if isinstance(flag, str) else flag

    def config_key(self, word: str) -> str:
        """The family's config key for transformers' usual word."""
        return self.config_keys.get(word, word)

    def read(self, config: Mapping[str, Any], word: str) -> Any:
        """A config value by transformers' usual word: the family's default, or None, if absent."""
        key = self.config_key(word)
        return config[key] if key in config else self.defaults.get(word)

    def size(self, config: Mapping[str, Any], word: str) -> int:
        """A size that a config must have, by transformers' usual word.

        Raises:
            KeyError: it does not; the family's own key is named.
        """
        value = self.read(config, word)
        if value is None:
            raise KeyError(self.config_key(word))
        return int(value)

    def layer_prefix(self, index: int) -> str:
        """Prefix of decoder layer `index` in a state dict, with the final dot."""
        return f"{self.layers}.{index}."

    def full_name(self, stored: str) -> str | None:
        """A stored tensor's name as transformers saves it today; None for one that is no weight."""
        if stored.endswith((".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")):
            return None  # buffers that old releases stored
        if not self.causal:
            return self._encoder_name(stored)
        return (
            stored if stored.startswith((f"{self.base}.", self.head)) else f"{self.base}.{stored}"
        )

    def _encoder_name(self, stored: str) -> str | None:
        if stored.endswith(".position_ids"):
            return None
        name = stored.removeprefix(f"{self.base}.")
        return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
            "LayerNorm.beta", "LayerNorm.bias"
        )

    @property
    def divergence(self) -> str:
        """What distance from the dense model is: a key of DIVERGENCES."""
        return "kl" if self.causal else "cosine_distance"

    @property
    def normalises_stream(self) -> bool:
        """Whether the residual stream passes a norm after each sum."""
        return self.mlp_sum_norm is not None

    @property
    def targets_stream(self) -> bool:
        """Whether a projection's output joins the residual stream as it is.

        False where a norm comes in between: the drift of the stream is then no target for it.
        """
        return self.attention_post_norm is None

    @property
    def attention_inputs(self) -> tuple[str, ...]:
        """The projections that read the attention's input, each once."""
        return tuple(dict.fromkeys((self.query, self.key, self.value)))

    @property
    def mlp_inputs(self) -> tuple[str, ...]:
        """The projections that read the MLP's input, each once."""
        return tuple(dict.fromkeys(name for name in (self.gate, self.up) if name is not None))

    @property
    def mlp_matrices(self) -> int:
        """Matrices of an MLP, a fused one counted as two."""
        return 2 if self.gate is None else 3

    @property
    def layer_norms(self) -> tuple[str, ...]:
        """The norms of a decoder layer over the residual width."""
        norms = (
            self.attention_norm,
            self.attention_post_norm,
            self.attention_sum_norm,
            self.mlp_norm,
            self.mlp_post_norm,
            self.mlp_sum_norm,
        )
        return tuple(name for name in norms if name is not None)

    def outer_tensors(self, *, tied: bool) -> list[str]:
        """Full names of a decoder's tensors outside of the layers: embedding to (untied) head."""
        modules = [self.embedding, *([self.positions] if self.positions else []), self.final_norm]
        names = [f"{module}.weight" for module in modules]
        names += [f"{self.final_norm}.bias"] * self.norm_bias
        return names + [f"{self.head}.weight"] * (not tied)
