"""Shapes and sizes of a model, from its config alone. Torch-free, reads no weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runtime_py.schema import LayerShape
from toolchain.errors import BadRequestError
from toolchain.model.adaptive import layer_shapes
from toolchain.model.families import FAMILIES, config_shape, family_of
from toolchain.model.family import Family

BYTES_PER_ELEMENT = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class ModelSpec:
    """Everything about a model's size; `layers` may differ from one another."""

    name: str
    model_type: str
    hidden_size: int
    vocab_size: int
    max_position_embeddings: int
    tie_word_embeddings: bool
    """True for an encoder: whatever head it has is not ours."""
    query_key_value_bias: bool
    output_bias: bool
    mlp_bias: bool
    dtype: str
    layers: tuple[LayerShape, ...]
    segments: int = 0
    """Rows of the table of segment embeddings."""
    head_parameters: int = 0
    """Of an encoder's pooler or head, which stay as they are."""

    @property
    def family(self) -> Family:
        """Architecture knowledge."""
        return FAMILIES[self.model_type]

    def attention_parameters(self, shape: LayerShape) -> int:
        """Parameters of one attention block without its norm."""
        queries = shape.num_attention_heads * shape.head_dim
        keys = shape.num_key_value_heads * shape.head_dim
        count = self.hidden_size * (2 * queries + 2 * keys)
        count += (queries + 2 * keys) * self.query_key_value_bias
        count += self.hidden_size * self.output_bias
        norms = queries + keys if self.family.norm_spans_heads else 2 * shape.head_dim
        return count + norms * self.family.query_key_norm

    def mlp_parameters(self, shape: LayerShape) -> int:
        """Parameters of one MLP without its norm."""
        inputs = self.family.mlp_matrices - 1
        count = (inputs + 1) * self.hidden_size * shape.intermediate_size
        return count + (inputs * shape.intermediate_size + self.hidden_size) * self.mlp_bias

    def layer_parameters(self, shape: LayerShape) -> int:
        """Parameters of one layer, with its norms."""
        norms = len(self.family.layer_norms) * self._norm_parameters
        return self.attention_parameters(shape) + self.mlp_parameters(shape) + norms

    @property
    def _norm_parameters(self) -> int:
        return self.hidden_size * (2 if self.family.norm_bias else 1)

    @property
    def block_parameters(self) -> int:
        """Parameters of attention and MLP over all layers: what pruning can reach."""
        return sum(self.attention_parameters(s) + self.mlp_parameters(s) for s in self.layers)

    @property
    def parameters(self) -> int:
        """All parameters; a tied head counts once."""
        rows = self.vocab_size * (1 if self.tie_word_embeddings else 2) + self.segments
        if self.family.positions is not None:
            rows += self.max_position_embeddings + self.family.position_offset
        outside = rows * self.hidden_size + self._norm_parameters + self.head_parameters
        return outside + sum(map(self.layer_parameters, self.layers))

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights as stored."""
        return self.parameters * BYTES_PER_ELEMENT[self.dtype]

    def kv_cache_bytes(self, context_length: int, bytes_per_element: int = 4) -> int:
        """Bytes of keys and values for `context_length` tokens, batch 1."""
        per_token = sum(2 * s.num_key_value_heads * s.head_dim for s in self.layers)
        return per_token * context_length * bytes_per_element


def spec_from_config(config: dict[str, Any], name: str) -> ModelSpec:
    """Read a ModelSpec from a parsed config.json.

    Raises:
        BadRequestError: not a supported model, or a config without its shapes.
    """
    family = family_of(config, name)
    try:
        shape = config_shape(config)
        return ModelSpec(
            name=name,
            model_type=family.model_type,
            hidden_size=family.size(config, "hidden_size"),
            vocab_size=family.size(config, "vocab_size"),
            max_position_embeddings=family.size(config, "max_position_embeddings"),
            tie_word_embeddings=_tied(family, config),
            query_key_value_bias=family.has_bias(family.query_key_value_bias, config),
            output_bias=family.has_bias(family.output_bias, config),
            mlp_bias=family.has_bias(family.mlp_bias, config),
            dtype=_dtype(config),
            layers=layer_shapes(config, shape, family.size(config, "num_hidden_layers")),
            segments=0 if family.causal else family.size(config, "type_vocab_size"),
            head_parameters=0 if family.causal else _head_parameters(family, config),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadRequestError(f"config.json of {name} is incomplete: {error}") from error


def _tied(family: Family, config: dict[str, Any]) -> bool:
    return not family.causal or bool(family.read(config, "tie_word_embeddings"))


def _head_parameters(family: Family, config: dict[str, Any]) -> int:
    """What transformers puts onto the encoder: a pooler, or the head of a masked language model.

    The latter is a dense layer with a norm, and a bias beside the table that it shares (or a table
    and a bias more).
    """
    hidden, vocab = family.size(config, "hidden_size"), family.size(config, "vocab_size")
    dense = hidden * (hidden + 1)
    if (config.get("architectures") or [family.architecture])[0] == family.architecture:
        return dense
    own_table = 0 if family.read(config, "tie_word_embeddings") else vocab * (hidden + 1)
    return dense + 2 * hidden + vocab + own_table


def _dtype(config: dict[str, Any]) -> str:
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    dtype = dtype.removeprefix("torch.")
    if dtype not in BYTES_PER_ELEMENT:
        raise BadRequestError(
            f"config.json names the dtype '{dtype}'",
            f"supported: {', '.join(BYTES_PER_ELEMENT)}; quantised checkpoints cannot be pruned",
        )
    return dtype
