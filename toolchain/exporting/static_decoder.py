"""The decoder as ExecuTorch runs it: keys and values in buffers that outlive a call."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolchain.exporting.wrapper import Decoder
from toolchain.model import decoder_layer, families


class StaticDecoder(nn.Module):
    """Logits of new tokens; the keys and values of all tokens so far stay in buffers.

    Attention sees positions 0..input_pos+S-1 only, so what an earlier sequence left behind does not
    matter: starting again at `input_pos` 0 is a reset.

    Layers use `llama.update_cache` and `llama.custom_sdpa`, with buffers
    [1, context, kv_heads, head_dim], which must have been registered by importing
    `executorch.extension.llm.custom_ops.custom_ops`. With `core_only`, and where a layer caps its
    scores, which those operators cannot, they use torch's core operators alone, with keys
    [kv_heads, head_dim, context] and values [kv_heads, context, head_dim].

    Args:
        decoder: shares its modules; its tanh GELUs are spelled out.
        core_only: no operator that ExecuTorch's plain runtime lacks.
    """

    def __init__(self, decoder: Decoder, *, core_only: bool = False) -> None:
        super().__init__()
        self.decoder = decoder
        for layer in decoder.layers:
            decoder_layer.spell_out_gelu_(decoder.family, layer)
        self.core = [core_only or cap is not None for cap in decoder.caps]
        for index, shape in enumerate(decoder.shapes):
            heads, width, context = shape.num_key_value_heads, shape.head_dim, decoder.context
            keys, values = (1, context, heads, width), (1, context, heads, width)
            if self.core[index]:
                keys, values = (heads, width, context), (heads, context, width)  # type: ignore[assignment]
            self.register_buffer(f"key_{index}", torch.zeros(keys), persistent=False)
            self.register_buffer(f"value_{index}", torch.zeros(values), persistent=False)

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
        hidden = _hidden_positions(positions, decoder.context) if any(self.core) else None

        def rotate(index: int, heads: Tensor) -> Tensor:
            name = decoder.rotaries[index]
            return heads if name is None else _turned(heads, *rows[name])

        def attend(index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys, values = self.get_buffer(f"key_{index}"), self.get_buffer(f"value_{index}")
            if hidden is not None and self.core[index]:
                keys.index_copy_(2, positions, key[0].permute(1, 2, 0))
                values.index_copy_(1, positions, value[0].transpose(0, 1))
                return _core_attention(query, keys, values, hidden, decoder.caps[index])
            ops = torch.ops.llama
            ops.update_cache(key, keys, start)
            ops.update_cache(value, values, start)
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


def _hidden_positions(positions: Tensor, context: int) -> Tensor:
    """Added to scores: 0 where `positions` [S] may look, -inf later; float32 [S,context]."""
    later = torch.arange(context) > positions[:, None]
    return torch.zeros(later.shape).masked_fill(later, float("-inf"))


def _core_attention(
    query: Tensor, keys: Tensor, values: Tensor, hidden: Tensor, cap: float | None
) -> Tensor:
    """Attention [1,S,H,D] in core operators.

    Args:
        query: [1,S,H,D].
        keys: [K,D,T].
        values: [K,T,D].
        hidden: [S,T], added to the scores.
        cap: scores become cap * tanh(scores / cap) before that.
    """
    heads, width = query.shape[2:]
    groups, per_group = keys.shape[0], heads // keys.shape[0]
    # [K, heads per group * S, D]: a group's heads below each other.
    grouped = query[0].view(-1, groups, per_group, width).permute(1, 2, 0, 3)
    grouped = grouped.reshape(groups, -1, width) * width**-0.5
    scores = families.capped(torch.bmm(grouped, keys), cap)
    scores = (scores.view(groups, per_group, -1, keys.shape[2]) + hidden).softmax(-1)
    mixed = torch.bmm(scores.view(groups, -1, keys.shape[2]), values)
    mixed = mixed.view(groups, per_group, -1, width).permute(2, 0, 1, 3)
    return mixed.reshape(1, -1, heads * width).view(1, -1, heads, width)
