"""One decoder for every export: transformers' weights and modules, our own attention and cache.

The decoder code is shared; the two wrappers differ in where keys and values live. `StaticDecoder`
keeps them in buffers (ExecuTorch), `FunctionalDecoder` takes and returns them (ONNX). Widths and
head counts may differ from layer to layer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from toolchain.model import decoder_layer, families
from toolchain.model.spec import ModelSpec

Rotate = Callable[[int, Tensor], Tensor]
"""(layer, queries or keys [1,S,heads,head_dim]) -> the same, turned by the positions of this
call."""

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, query [1,S,H,D], key [1,S,K,D], value [1,S,K,D]) -> [1,S,H,D]; keeps the cache. Scores
are scaled by head_dim^-1/2; a layer in `Decoder.caps` has its scores capped."""

SCALE_ROUNDING = 1e-12
"""A factor of the queries closer to 1 than this is none."""

Table = tuple[Tensor, Tensor]
"""Rotary cos and sin, [positions, rotated dimensions of a head / 2]."""


class Decoder(nn.Module):
    """Embedding, layers, final norm and head of a loaded model; rotation and attention left open.

    Args:
        model: what `Checkpoint.load` returns; its modules are shared, not copied. A Conv1D becomes
            the Linear that computes the same.
        spec: its shapes.
        context: positions that the tables cover.
    """

    positions: Tensor | None

    def __init__(self, model: nn.Module, spec: ModelSpec, context: int) -> None:
        super().__init__()
        family = self.family = spec.family
        self.shapes = spec.layers
        self.vocab_size = spec.vocab_size
        self.context = context
        self.embedding = families.embedding(model)
        self.layers = families.decoder_layers(model)
        self.norm = families.final_norm(model)
        self.head = families.head(model)
        self.logit_cap = families.logit_cap(model)
        self.caps = [decoder_layer.attention_cap(family, layer) for layer in self.layers]
        self.rotaries = [decoder_layer.rotary_table(family, layer) for layer in self.layers]
        if spec.tie_word_embeddings:
            self.head.weight = self.embedding.weight  # one tensor, so that ONNX stores it once
        if family.transposed:
            for layer in self.layers:
                decoder_layer.make_linear_(family, layer)
        self._register_tables(model)

    def _register_tables(self, model: nn.Module) -> None:
        rotary = families.rotary_embedding(model)
        for name in {name for name in self.rotaries if name is not None}:
            assert rotary is not None  # noqa: S101 - else no layer names a table
            kind = (name,) if name else ()
            cos, sin = rotary(torch.zeros(1), torch.arange(self.context)[None], *kind)
            # The two halves of a rotary table are equal: keep one.
            half = cos.shape[-1] // 2
            self.register_buffer(f"cos_{name}", cos[0, :, :half].contiguous(), persistent=False)
            self.register_buffer(f"sin_{name}", sin[0, :, :half].contiguous(), persistent=False)
        positions = families.position_table(model)
        if positions is not None:
            positions = positions[: self.context].clone()
        self.register_buffer("positions", positions, persistent=False)

    def tables(self) -> dict[str, Table]:
        """The rotary tables of all positions, by their names in `rotaries`."""
        names = sorted({name for name in self.rotaries if name is not None})
        return {n: (self.get_buffer(f"cos_{n}"), self.get_buffer(f"sin_{n}")) for n in names}

    def forward(self, tokens: Tensor, positions: Tensor, rotate: Rotate, attend: Attend) -> Tensor:
        """Logits float32 [1,S,V] after each of `tokens` int64 [1,S] at `positions` int64 [S]."""
        hidden = self.embedding(tokens)
        if self.positions is not None:
            hidden = hidden + self.positions[positions]
        family = self.family
        for index, layer in enumerate(self.layers):
            normed = _normed(layer, family.attention_norm, hidden)
            query, key, value = self._query_key_value(index, layer, normed)
            mixed = attend(index, rotate(index, query), rotate(index, key), value)
            output = layer.get_submodule(family.output)(_join(mixed))
            hidden = hidden + _normed(layer, family.attention_post_norm, output)
            output = decoder_layer.run_mlp(family, layer, _normed(layer, family.mlp_norm, hidden))
            hidden = hidden + _normed(layer, family.mlp_post_norm, output)
        return families.capped(self.head(self.norm(hidden)), self.logit_cap)

    def _query_key_value(
        self, index: int, layer: nn.Module, hidden: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        family, shape = self.family, self.shapes[index]
        query, key, value = self._projected(index, layer, hidden)
        spans, norms = family.norm_spans_heads, family.query_key_norm
        if norms and spans:
            query = layer.get_submodule(family.query_norm)(query)
            key = layer.get_submodule(family.key_norm)(key)
        query = _split(query, shape.num_attention_heads)
        key = _split(key, shape.num_key_value_heads)
        if norms and not spans:
            query = layer.get_submodule(family.query_norm)(query)
            key = layer.get_submodule(family.key_norm)(key)
        # The engines scale by the head's width; another scale is a factor of the queries.
        factor = decoder_layer.attention_scale(family, layer) * shape.head_dim**0.5
        if abs(factor - 1) > SCALE_ROUNDING:
            query = query * factor
        return query, key, _split(value, shape.num_key_value_heads)

    def _projected(
        self, index: int, layer: nn.Module, hidden: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        family, shape = self.family, self.shapes[index]
        query: Tensor = layer.get_submodule(family.query)(hidden)
        if family.key != family.query:
            key, value = (layer.get_submodule(n)(hidden) for n in (family.key, family.value))
            return query, key, value
        keys = shape.num_key_value_heads * shape.head_dim
        widths = [shape.num_attention_heads * shape.head_dim, keys, keys]
        query, key, value = torch.split(query, widths, dim=-1)
        return query, key, value


def _normed(layer: nn.Module, norm: str | None, hidden: Tensor) -> Tensor:
    if norm is None:
        return hidden
    normed: Tensor = layer.get_submodule(norm)(hidden)
    return normed


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
        for layer in decoder.layers:
            decoder_layer.spell_out_gelu_(decoder.family, layer)
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
        decoder = self.decoder
        rows = {
            name: (cos[positions][:, None], sin[positions][:, None])
            for name, (cos, sin) in decoder.tables().items()
        }
        ops = torch.ops.llama

        def rotate(index: int, heads: Tensor) -> Tensor:
            name = decoder.rotaries[index]
            return heads if name is None else _turned(heads, *rows[name])

        def attend(index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys, values = self.get_buffer(f"key_{index}"), self.get_buffer(f"value_{index}")
            ops.update_cache(key, keys, start)
            ops.update_cache(value, values, start)
            cap = decoder.caps[index]
            if cap is not None:
                cached = (keys[0].transpose(0, 1), values[0].transpose(0, 1))
                visible = torch.arange(decoder.context) <= positions[:, None]
                return _capped_attention(query, *cached, visible, cap)
            mixed: Tensor = ops.custom_sdpa(query, keys, values, start, None, 0.0, True)
            return mixed

        logits: Tensor = decoder(tokens, positions, rotate, attend)
        return logits


def _turned(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of [1,S,H,D] by [S,1,R/2]; dimensions beyond the first R stay."""
    half = cos.shape[-1]
    first, second, rest = torch.split(heads, [half, half, heads.shape[3] - 2 * half], dim=-1)
    turned = [first * cos - second * sin, second * cos + first * sin]
    return torch.cat([*turned, rest] if rest.shape[3] else turned, dim=-1)


def _capped_attention(
    query: Tensor, keys: Tensor, values: Tensor, visible: Tensor, cap: float
) -> Tensor:
    """Attention [1,S,H,D] with soft-capped scores, in plain operators.

    ExecuTorch's attention has no cap, and ONNX's (opset 23) caps after it has masked, so that
    masked positions count.

    Args:
        query: [1,S,H,D].
        keys: [K,T,D].
        values: [K,T,D].
        visible: bool [S,T].
        cap: scores become cap * tanh(scores / cap).
    """
    heads, width = query.shape[2:]
    groups, per_group = keys.shape[0], heads // keys.shape[0]
    # [K, S * heads per group, D]: a group's queries side by side.
    grouped = query[0].view(-1, groups, per_group, width).permute(1, 0, 2, 3)
    grouped = grouped.reshape(groups, -1, width)
    scores = families.capped(torch.bmm(grouped, keys.transpose(1, 2)) * width**-0.5, cap)
    scores = scores.view(groups, -1, per_group, keys.shape[1])
    scores = scores.masked_fill(~visible[None, :, None], float("-inf")).softmax(-1)
    mixed = torch.bmm(scores.view(groups, -1, keys.shape[1]), values)
    mixed = mixed.view(groups, -1, per_group, width).permute(1, 0, 2, 3)
    return mixed.reshape(1, -1, heads, width)


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
        decoder = self.decoder
        tables = decoder.tables()
        present: list[Tensor] = []

        def rotate(index: int, heads: Tensor) -> Tensor:
            name = decoder.rotaries[index]
            if name is None:
                return heads
            cos, sin = tables[name]
            partial = 2 * cos.shape[1] if 2 * cos.shape[1] < heads.shape[3] else 0
            turned = torch.onnx.ops.rotary_embedding(
                _join(heads),
                cos,
                sin,
                positions[None],
                num_heads=heads.shape[2],
                rotary_embedding_dim=partial,
            )
            return _split(turned, heads.shape[2])

        def attend(index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            cap = decoder.caps[index]
            if cap is not None:
                new = (key.transpose(1, 2), value.transpose(1, 2))
                past_layer = past_key_values[2 * index : 2 * index + 2]
                keys, values = (torch.cat(pair, 2) for pair in zip(past_layer, new, strict=True))
                present.extend((keys, values))
                return _capped_attention(query, keys[0], values[0], mask, cap)
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

        logits = decoder(input_ids, positions, rotate, attend)
        return (logits, *present)
