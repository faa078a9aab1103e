"""One decoder for every export: transformers' weights and modules, our own attention and cache.

The decoder code is shared; the two wrappers differ in where keys and values live. `StaticDecoder`
keeps them in buffers (ExecuTorch), `FunctionalDecoder` takes and returns them (ONNX). Widths and
head counts may differ from layer to layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from runtime_py.schema import LayerShape
from toolchain.errors import BadRequestError
from toolchain.model import families
from toolchain.model.checkpoint import Checkpoint

FIXED_ROPE_TYPES = ("default", "linear", "llama3", "yarn")
"""Rotary embeddings whose frequencies do not depend on the length of the sequence."""

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, query [1,S,H,D], key [1,S,K,D], value [1,S,K,D]) -> [1,S,H,D]; keeps the cache."""


def check_rope(config: dict[str, Any], name: str) -> None:
    """Refuse a rotary embedding that changes with the length of the sequence.

    Args:
        config: the parsed config.json.
        name: the model's name, for the message.

    Raises:
        BadRequestError: naming the type and the supported ones.
    """
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = str(rope.get("rope_type") or rope.get("type") or "default")
    if kind not in FIXED_ROPE_TYPES:
        raise BadRequestError(
            f"{name} uses the rotary embedding '{kind}', which cannot be exported",
            f"supported: {', '.join(FIXED_ROPE_TYPES)}",
        )


class Decoder(nn.Module):
    """Embedding, decoder layers, final norm and head of a checkpoint, with attention left open."""

    cos: Tensor
    sin: Tensor

    def __init__(self, checkpoint: Checkpoint, context: int) -> None:
        super().__init__()
        model = checkpoint.load()
        self.family = checkpoint.family
        self.shapes: tuple[LayerShape, ...] = checkpoint.spec.layers
        self.context = context
        self.embedding = families.embedding(model)
        self.layers = families.decoder_layers(model)
        self.norm = families.final_norm(model)
        self.head = families.head(model)
        if checkpoint.spec.tie_word_embeddings:
            self.head.weight = self.embedding.weight
        half = self.shapes[0].head_dim // 2
        cos, sin = families.rotary_embedding(model)(
            torch.zeros(1, dtype=torch.float32), torch.arange(context)[None]
        )
        # Both halves of a rotary table are equal: keep one.
        self.register_buffer("cos", cos[0, :, :half].contiguous(), persistent=False)
        self.register_buffer("sin", sin[0, :, :half].contiguous(), persistent=False)

    def forward(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Logits of every position.

        Args:
            tokens: int64 [1,S].
            positions: int64 [S], below the context length.
            attend: attention with a cache.

        Returns:
            float32 [1,S,V].
        """
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        hidden = self.embedding(tokens)
        for index, layer in enumerate(self.layers):
            normed = layer.get_submodule(self.family.attention_norm)(hidden)
            query, key, value = self._query_key_value(index, layer, normed)
            mixed = attend(index, _rotate(query, cos, sin), _rotate(key, cos, sin), value)
            hidden = hidden + layer.get_submodule(self.family.output)(mixed.flatten(2))
            normed = layer.get_submodule(self.family.mlp_norm)(hidden)
            hidden = hidden + layer.get_submodule(self.family.mlp)(normed)
        logits: Tensor = self.head(self.norm(hidden))
        return logits

    def _query_key_value(
        self, index: int, layer: nn.Module, hidden: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        shape = self.shapes[index]
        parts = (
            (self.family.query, shape.num_attention_heads),
            (self.family.key, shape.num_key_value_heads),
            (self.family.value, shape.num_key_value_heads),
        )
        query, key, value = (
            layer.get_submodule(name)(hidden).unflatten(-1, (heads, shape.head_dim))
            for name, heads in parts
        )
        if self.family.query_key_norm:
            query = layer.get_submodule(self.family.query_norm)(query)
            key = layer.get_submodule(self.family.key_norm)(key)
        return query, key, value


def _rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of [1,S,H,D] by tables [S,1,D/2], pairs (i, i + D/2) as in transformers."""
    first, second = heads.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class StaticDecoder(nn.Module):
    """Keys and values in buffers [1, context, kv_heads, head_dim], through ExecuTorch's own ops.

    Attention sees positions 0..input_pos+S-1 only, so what an earlier sequence left behind does not
    matter: starting again at `input_pos` 0 is a reset.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder
        for index, shape in enumerate(decoder.shapes):
            size = (1, decoder.context, shape.num_key_value_heads, shape.head_dim)
            self.register_buffer(f"key_{index}", torch.zeros(size), persistent=False)
            self.register_buffer(f"value_{index}", torch.zeros(size), persistent=False)

    def forward(self, tokens: Tensor, input_pos: Tensor) -> Tensor:
        """Logits float32 [1,S,V] of `tokens` int64 [1,S] that start at `input_pos` int64 [1]."""
        start = input_pos[0].item()
        length = tokens.shape[1]
        torch._check(start >= 0)
        torch._check(start + length <= self.decoder.context)
        ops = torch.ops.llama

        def attend(index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys, values = self.get_buffer(f"key_{index}"), self.get_buffer(f"value_{index}")
            ops.update_cache(key, keys, start)
            ops.update_cache(value, values, start)
            mixed: Tensor = ops.custom_sdpa(query, keys, values, start, None, 0.0, True)
            return mixed

        positions = torch.arange(length) + input_pos
        logits: Tensor = self.decoder(tokens, positions, attend)
        return logits


class FunctionalDecoder(nn.Module):
    """Keys and values as inputs and outputs [1, kv_heads, P, head_dim]; P may be 0."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, input_ids: Tensor, past_key_values: list[Tensor]) -> tuple[Tensor, ...]:
        """One step.

        Args:
            input_ids: int64 [1,S].
            past_key_values: for each layer key and value, float32 [1,kv_heads,P,head_dim].

        Returns:
            Logits float32 [1,S,V], then each layer's key and value [1,kv_heads,P+S,head_dim].
        """
        past, length = past_key_values[0].shape[2], input_ids.shape[1]
        positions = torch.arange(length) + past
        mask = torch.arange(past + length) <= positions[:, None]
        present: list[Tensor] = []

        def attend(index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys = torch.cat((past_key_values[2 * index], key.transpose(1, 2)), dim=2)
            values = torch.cat((past_key_values[2 * index + 1], value.transpose(1, 2)), dim=2)
            present.extend((keys, values))
            mixed = functional.scaled_dot_product_attention(
                query.transpose(1, 2), keys, values, attn_mask=mask, enable_gqa=True
            )
            return mixed.transpose(1, 2)

        logits = self.decoder(input_ids, positions, attend)
        return (logits, *present)
