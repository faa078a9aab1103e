"""One decoder for every export: transformers' weights and modules, our own attention and cache.

The decoder code is shared; the forms differ in where keys and values live. `StaticDecoder` (in
`static_decoder.py`) keeps them in buffers (ExecuTorch), `FunctionalDecoder` takes and returns them
(ONNX). Widths and head counts may differ from layer to layer.
"""

from __future__ import annotations

import functools
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
        self.hidden_size = spec.hidden_size
        self.context = context
        self.embedding = families.embedding(model)
        self.layers = families.decoder_layers(model)
        self.norm = families.final_norm(model)
        self.head = families.head(model)
        self.logit_cap = families.logit_cap(model)
        self.caps = [decoder_layer.attention_cap(family, layer) for layer in self.layers]
        self.rotaries = [decoder_layer.rotary_table(family, layer) for layer in self.layers]
        if spec.tie_word_embeddings and _equal(self.head, self.embedding):
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

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        rotate: Rotate,
        attend: Attend,
        select: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Logits float32 [1,S,V] after each of `tokens` int64 [1,S] at `positions` int64 [S].

        With `select`, only of the rows of the hidden states [1,S,hidden_size] that it returns.
        """
        hidden = self.embedding(tokens)
        if self.positions is not None:
            hidden = hidden + self.positions[positions]
        family = self.family
        for index, layer in enumerate(self.layers):
            normed = _normed(layer, family.attention_norm, hidden)
            query, key, value = self._query_key_value(index, layer, normed)
            mixed = attend(index, rotate(index, query), rotate(index, key), value)
            output = layer.get_submodule(family.output)(join_heads(mixed))
            hidden = hidden + _normed(layer, family.attention_post_norm, output)
            output = decoder_layer.run_mlp(family, layer, _normed(layer, family.mlp_norm, hidden))
            hidden = hidden + _normed(layer, family.mlp_post_norm, output)
        if select is not None:
            hidden = select(hidden)
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
        query = split_heads(query, shape.num_attention_heads)
        key = split_heads(key, shape.num_key_value_heads)
        if norms and not spans:
            query = layer.get_submodule(family.query_norm)(query)
            key = layer.get_submodule(family.key_norm)(key)
        # The engines scale by the head's width; another scale is a factor of the queries.
        factor = decoder_layer.attention_scale(family, layer) * shape.head_dim**0.5
        if abs(factor - 1) > SCALE_ROUNDING:
            query = query * factor
        return query, key, split_heads(value, shape.num_key_value_heads)

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


def _equal(head: nn.Module, table: nn.Module) -> bool:
    """Whether both hold the same floats; a preparation may have rounded each in its own way."""
    first, second = getattr(head, "weight", None), getattr(table, "weight", None)
    if type(first) is not nn.Parameter or type(second) is not nn.Parameter:
        return False
    return torch.equal(first, second)


def _normed(layer: nn.Module, norm: str | None, hidden: Tensor) -> Tensor:
    if norm is None:
        return hidden
    normed: Tensor = layer.get_submodule(norm)(hidden)
    return normed


def split_heads(rows: Tensor, heads: int) -> Tensor:
    """[1,S,H*D] -> [1,S,H,D]; -1 for S, because XNNPACK takes no symbolic shape."""
    return rows.view(1, -1, heads, rows.shape[2] // heads)


def join_heads(heads: Tensor) -> Tensor:
    """[1,S,H,D] -> [1,S,H*D]."""
    return heads.view(1, -1, heads.shape[2] * heads.shape[3])


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


def last_rows(hidden: Tensor, count: Tensor | None) -> Tensor:
    """The last `count` int64 [1] of the S rows of [1,S,H]; all for 0 or None.

    An exported graph slices, which torch's symbolic shapes cannot say of a count that is data.
    """
    if count is None or not torch.onnx.is_in_onnx_export():
        return hidden if count is None else hidden[:, -int(count) :]
    end, axis = torch.tensor([torch.iinfo(torch.int64).max]), torch.tensor([1])
    inputs = (hidden, -count, end, axis)
    return torch.onnx.ops.symbolic("Slice", inputs, dtype=hidden.dtype, shape=hidden.shape)


def rotated(heads: Tensor, table: Table, positions: Tensor) -> Tensor:
    """Rotary embedding of [1,S,H,D] at `positions` int64 [S], by ONNX's operator."""
    cos, sin = table
    partial = 2 * cos.shape[1] if 2 * cos.shape[1] < heads.shape[3] else 0
    turned = torch.onnx.ops.rotary_embedding(
        join_heads(heads),
        cos,
        sin,
        positions[None],
        num_heads=heads.shape[2],
        rotary_embedding_dim=partial,
    )
    return split_heads(turned, heads.shape[2])


class FunctionalDecoder(nn.Module):
    """Keys and values as inputs and outputs [1, kv_heads, P, head_dim], in ONNX's own operators."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self,
        input_ids: Tensor,
        past_key_values: list[Tensor],
        logits_to_keep: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Append S tokens to the P that `past_key_values` holds.

        Args:
            input_ids: int64 [1,S].
            past_key_values: each layer's key and value, float32 [1,kv_heads,P,head_dim], P >= 0.
            logits_to_keep: int64 [1]: at how many last positions logits are wanted; 0 or None: all.

        Returns:
            Logits float32 [1,S,V], or of the kept positions only, then each layer's key and value
            [1,kv_heads,P+S,head_dim].
        """
        past, length = past_key_values[0].shape[2], input_ids.shape[1]
        positions = torch.arange(length) + past
        mask = torch.arange(past + length) <= positions[:, None]
        decoder = self.decoder
        tables = decoder.tables()
        present: list[Tensor] = []

        def rotate(index: int, heads: Tensor) -> Tensor:
            name = decoder.rotaries[index]
            return heads if name is None else rotated(heads, tables[name], positions)

        def attend(index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            cap = decoder.caps[index]
            if cap is not None:
                new = (key.transpose(1, 2), value.transpose(1, 2))
                past_layer = past_key_values[2 * index : 2 * index + 2]
                keys, values = (torch.cat(pair, 2) for pair in zip(past_layer, new, strict=True))
                present.extend((keys, values))
                return _capped_attention(query, keys[0], values[0], mask, cap)
            mixed, keys, values, _ = torch.onnx.ops.attention(
                join_heads(query),
                join_heads(key),
                join_heads(value),
                mask,
                past_key_values[2 * index],
                past_key_values[2 * index + 1],
                q_num_heads=query.shape[2],
                kv_num_heads=key.shape[2],
            )
            present.extend((keys, values))
            return split_heads(mixed, query.shape[2])

        select = functools.partial(last_rows, count=logits_to_keep)
        logits = decoder(input_ids, positions, rotate, attend, select)
        return (logits, *present)
