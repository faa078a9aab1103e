"""One decoder for every export: transformers' weights and modules, our own attention and cache.

The decoder code is shared; the two wrappers differ in where keys and values live. `StaticDecoder`
keeps them in buffers (ExecuTorch), `FunctionalDecoder` takes and returns them (ONNX). Widths and
head counts may differ from layer to layer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from toolchain.model import families
from toolchain.model.spec import ModelSpec

Rotate = Callable[[Tensor], Tensor]
"""Rotary embedding of queries or keys [1,S,heads,head_dim] at the positions of this call."""

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, query [1,S,H,D], key [1,S,K,D], value [1,S,K,D]) -> [1,S,H,D]; keeps the cache."""


class Decoder(nn.Module):
    """Embedding, layers, final norm and head of a loaded model; rotation and attention left open.

    Args:
        model: what `Checkpoint.load` returns; its modules are shared, not copied.
        spec: its shapes.
        context: positions that the rotary tables cover.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, model: nn.Module, spec: ModelSpec, context: int) -> None:
        super().__init__()
        self.family = spec.family
        self.shapes = spec.layers
        self.vocab_size = spec.vocab_size
        self.context = context
        self.embedding = families.embedding(model)
        self.layers = families.decoder_layers(model)
        self.norm = families.final_norm(model)
        self.head = families.head(model)
        if spec.tie_word_embeddings:
            self.head.weight = self.embedding.weight  # one tensor, so that ONNX stores it once
        half = self.shapes[0].head_dim // 2
        cos, sin = families.rotary_embedding(model)(torch.zeros(1), torch.arange(context)[None])
        # The two halves of a rotary table are equal: keep one, [context, head_dim / 2].
        self.register_buffer("cos", cos[0, :, :half].contiguous(), persistent=False)
        self.register_buffer("sin", sin[0, :, :half].contiguous(), persistent=False)

    def forward(self, tokens: Tensor, rotate: Rotate, attend: Attend) -> Tensor:
        """Logits float32 [1,S,V] after each of `tokens` int64 [1,S]."""
        hidden = self.embedding(tokens)
        for index, layer in enumerate(self.layers):
            normed = layer.get_submodule(self.family.attention_norm)(hidden)
            query, key, value = self._query_key_value(index, layer, normed)
            mixed = attend(index, rotate(query), rotate(key), value)
            hidden = hidden + layer.get_submodule(self.family.output)(_join(mixed))
            normed = layer.get_submodule(self.family.mlp_norm)(hidden)
            hidden = hidden + layer.get_submodule(self.family.mlp)(normed)
        logits: Tensor = self.head(self.norm(hidden))
        return logits

    def _query_key_value(
        self, index: int, layer: nn.Module, hidden: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        shape = self.shapes[index]
        query = _split(layer.get_submodule(self.family.query)(hidden), shape.num_attention_heads)
        key = _split(layer.get_submodule(self.family.key)(hidden), shape.num_key_value_heads)
        value = _split(layer.get_submodule(self.family.value)(hidden), shape.num_key_value_heads)
        if self.family.query_key_norm:
            query = layer.get_submodule(self.family.query_norm)(query)
            key = layer.get_submodule(self.family.key_norm)(key)
        return query, key, value


def _split(rows: Tensor, heads: int) -> Tensor:
    """[1,S,H*D] -> [1,S,H,D]; -1 for S, because XNNPACK takes no symbolic shape."""
    return rows.view(1, -1, heads, rows.shape[2] // heads)


def _join(heads: Tensor) -> Tensor:
    """[1,S,H,D] -> [1,S,H*D]."""
    return heads.view(1, -1, heads.shape[2] * heads.shape[3])


class StaticDecoder(nn.Module):
    """Keys and values in buffers [1, context, kv_heads, head_dim], through ExecuTorch's LLM ops.

    Attention sees positions 0..input_pos+S-1 only, so what an earlier sequence left behind does not
    matter: starting again at `input_pos` 0 is a reset. The ops must have been registered by
    importing `executorch.extension.llm.custom_ops.custom_ops`.
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
        torch._check(start >= 0)  # type: ignore[no-untyped-call]
        torch._check(start + length <= self.decoder.context)  # type: ignore[no-untyped-call]
        positions = torch.arange(length) + input_pos
        cos, sin = self.decoder.cos[positions][:, None], self.decoder.sin[positions][:, None]
        ops = torch.ops.llama

        def rotate(heads: Tensor) -> Tensor:
            first, second = heads.chunk(2, dim=-1)
            turned = (first * cos - second * sin, second * cos + first * sin)
            return torch.cat(turned, dim=-1)

        def attend(index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys, values = self.get_buffer(f"key_{index}"), self.get_buffer(f"value_{index}")
            ops.update_cache(key, keys, start)
            ops.update_cache(value, values, start)
            mixed: Tensor = ops.custom_sdpa(query, keys, values, start, None, 0.0, True)
            return mixed

        logits: Tensor = self.decoder(tokens, rotate, attend)
        return logits


class FunctionalDecoder(nn.Module):
    """Keys and values as inputs and outputs [1, kv_heads, P, head_dim], in ONNX's own operators."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, input_ids: Tensor, past_key_values: list[Tensor]) -> tuple[Tensor, ...]:
        """Append S tokens to the P that `past_key_values` holds.

        Args:
            input_ids: int64 [1,S].
            past_key_values: each layer's key and value, float32 [1,kv_heads,P,head_dim], P >= 0.

        Returns:
            Logits float32 [1,S,V], then each layer's key and value [1,kv_heads,P+S,head_dim].
        """
        past, length = past_key_values[0].shape[2], input_ids.shape[1]
        positions = torch.arange(length) + past
        mask = torch.arange(past + length) <= positions[:, None]
        present: list[Tensor] = []

        def rotate(heads: Tensor) -> Tensor:
            turned = torch.onnx.ops.rotary_embedding(
                _join(heads),
                self.decoder.cos,
                self.decoder.sin,
                positions[None],
                num_heads=heads.shape[2],
            )
            return _split(turned, heads.shape[2])

        def attend(index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            mixed, keys, values, _ = torch.onnx.ops.attention(
                _join(query),
                _join(key),
                _join(value),
                mask,
                past_key_values[2 * index],
                past_key_values[2 * index + 1],
                q_num_heads=query.shape[2],
                kv_num_heads=key.shape[2],
            )
            present.extend((keys, values))
            return _split(mixed, query.shape[2])

        logits = self.decoder(input_ids, rotate, attend)
        return (logits, *present)
