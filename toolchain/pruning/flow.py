"""Activations that flow from layer to layer: the dense model's beside the pruned one's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from toolchain.model.block import Block
from toolchain.model.likelihood import padded_batches

DENSE = "dense"
PRUNED = "pruned"
PLAIN = "plain"
"""The stream with the pruned structure and no recovery; only held-out text has it."""


@dataclass
class Batch:
    """Right-padded sequences and their hidden states in each stream."""

    token_ids: Tensor
    """int64 [b, t], padded with 0."""
    mask: Tensor
    """bool [b, t], False at padding."""
    hidden: dict[str, Tensor] = field(default_factory=dict)
    """float32 [b, t, hidden_size] on the CPU, by stream."""


def start_batches(
    sequences: Sequence[Sequence[int]],
    embedding: Callable[[Tensor], Tensor],
    streams: Sequence[str],
    device: str,
) -> list[Batch]:
    """Batches of embedded sequences, every stream alike."""
    batches = []
    for _, ids, mask in padded_batches(sequences):
        hidden = embedding(ids.to(device)).cpu()
        batches.append(Batch(ids, mask, dict.fromkeys(streams, hidden)))
    return batches


def advance_(
    batches: Sequence[Batch], block: Block, layers: dict[str, nn.Module], device: str
) -> None:
    """Move each stream named in `layers` through `block` of its own layer."""
    for batch in batches:
        for stream, layer in layers.items():
            batch.hidden[stream] = block.apply(layer, batch.hidden[stream].to(device)).cpu()
