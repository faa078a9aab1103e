"""The decoder over onnxruntime's GroupQueryAttention: rotation inside, cache in place."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from runtime_py.schema import LayerShape
from toolchain.exporting.wrapper import Decoder, join_heads, last_rows, rotated, split_heads

Attribute = (
    int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]
)
"""What an operator's attribute may be."""

HEAD_DIM_MULTIPLE = 8
"""The operator refuses other head widths."""

ROTARY_MULTIPLE = 16
"""The operator turns heads only if their width and the part that turns are multiples of this."""


def can_share_cache(shapes: Sequence[LayerShape]) -> bool:
    """Whether GroupQueryAttention takes the heads of all layers."""
    return all(shape.head_dim % HEAD_DIM_MULTIPLE == 0 for shape in shapes)


class SharedDecoder(nn.Module):
    """Keys and values in buffers [1, kv_heads, capacity, head_dim] that are input and output alike.

    The names and meaning of inputs and outputs are those of onnxruntime-genai's decoders. Exists to
    be exported: eager torch has no GroupQueryAttention.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        past_key_values: list[Tensor],
        logits_to_keep: Tensor,
    ) -> tuple[Tensor, ...]:
        """Append S tokens to the T-S that the cache holds.

        Args:
            input_ids: int64 [1,S].
            attention_mask: int64 [1,T], all ones.
            past_key_values: each layer's keys and values, float32 [1,kv_heads,C,head_dim].
            logits_to_keep: int64 [1]: at how many last positions logits are wanted; 0: all.

        Returns:
            Logits float32 [1,S,V] or of the kept positions only, then each layer's keys and values
            [1,kv_heads,max(C,T),head_dim]; bound to the very buffers of `past_key_values`, they are
            updated in place.
        """
        decoder, tables = self.decoder, self.decoder.tables()
        last = attention_mask.sum(1) - 1
        total = torch.tensor(attention_mask.shape[1], dtype=torch.int32)
        lengths = last.to(torch.int32)
        positions = torch.arange(input_ids.shape[1]) + (last + 1 - input_ids.shape[1])
        present: list[Tensor] = []

        def rotate(index: int, heads: Tensor) -> Tensor:
            name = decoder.rotaries[index]
            if name is None or _turns_inside(decoder, index):
                return heads
            return rotated(heads, tables[name], positions)

        def attend(index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            inside = _turns_inside(decoder, index)
            table = tables[str(decoder.rotaries[index])] if inside else (None, None)
            past = past_key_values[2 * index : 2 * index + 2]
            flat = join_heads(query)
            attributes: dict[str, Attribute] = {
                "num_heads": query.shape[2],
                "kv_num_heads": key.shape[2],
                "do_rotary": int(inside),
            }
            cap = decoder.caps[index]
            if cap is not None:
                attributes["softcap"] = cap
            mixed, keys, values = torch.onnx.ops.symbolic_multi_out(
                "com.microsoft::GroupQueryAttention",
                (flat, join_heads(key), join_heads(value), *past, lengths, total, *table),
                attributes,
                dtypes=(flat.dtype,) * 3,
                shapes=(flat.shape, past[0].shape, past[1].shape),
                version=1,
            )
            present.extend((keys, values))
            return split_heads(mixed, query.shape[2])

        select = functools.partial(last_rows, count=logits_to_keep)
        logits = decoder(input_ids, positions, rotate, attend, select)
        return (logits, *present)


def _turns_inside(decoder: Decoder, index: int) -> bool:
    """Whether the attention operator turns queries and keys of a layer itself."""
    name = decoder.rotaries[index]
    if name is None:
        return False
    turned = 2 * decoder.get_buffer(f"cos_{name}").shape[1]
    width = decoder.shapes[index].head_dim
    return width % ROTARY_MULTIPLE == 0 and turned % ROTARY_MULTIPLE == 0
