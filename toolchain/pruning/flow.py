"""Activations that flow from layer to layer: the dense model's beside the pruned one's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.model.block import Block
from toolchain.model.likelihood import BATCH_TOKENS, padded_batches
from toolchain.model.sizes import WIDEST_ACTIVATION

DENSE = "dense"
PRUNED = "pruned"


class HiddenStates:
    """Hidden states by batch and stream: in memory up to a number of bytes, the others in files.

    A place is in memory or in a file once and for all, so nothing is moved back and forth. Files
    are read and written whole: what is mapped would count as memory of this process.
    """

    def __init__(self, max_bytes: int | None = None, folder: Path | None = None) -> None:
        """`max_bytes` None: everything in memory. Otherwise `folder` takes what is above it."""
        if max_bytes is not None and folder is None:
            raise ValueError("a limit needs a folder for what is above it")
        self._max_bytes = max_bytes
        self._folder = folder
        self._batches = 0
        self._memory: dict[tuple[str, int], Tensor] = {}
        self._memory_bytes = 0
        self._files: dict[tuple[str, int], torch.Size] = {}

    def batch(self) -> BatchStates:
        """The states of a new batch, none yet."""
        self._batches += 1
        return BatchStates(self, self._batches - 1)

    def get(self, stream: str, batch: int) -> Tensor:
        """float32 [b, t, hidden_size] on the CPU.

        Raises:
            KeyError: the stream was never put for this batch.
        """
        place = (stream, batch)
        if place in self._memory:
            return self._memory[place]
        shape = self._files[place]
        return torch.from_numpy(np.fromfile(self._path(place), dtype=np.float32)).view(shape)

    def put(self, stream: str, batch: int, hidden: Tensor) -> None:
        """Keep `hidden`, float32 [b, t, hidden_size] on the CPU, the same shape every time."""
        place = (stream, batch)
        if place not in self._memory and place not in self._files:
            self._settle(place, hidden)
        if place in self._memory:
            self._memory[place] = hidden
        else:
            hidden.contiguous().numpy().tofile(self._path(place))

    def streams(self, batch: int) -> list[str]:
        """Names of the streams of a batch."""
        return [name for name, index in (*self._memory, *self._files) if index == batch]

    def drop(self, stream: str, batch: int) -> None:
        """Forget a stream of a batch."""
        place = (stream, batch)
        if place in self._memory:
            self._memory_bytes -= _bytes(self._memory.pop(place))
        else:
            del self._files[place]
            self._path(place).unlink()

    def _settle(self, place: tuple[str, int], hidden: Tensor) -> None:
        if self._max_bytes is None or self._memory_bytes + _bytes(hidden) <= self._max_bytes:
            self._memory[place] = hidden
            self._memory_bytes += _bytes(hidden)
        else:
            self._files[place] = hidden.shape

    def _path(self, place: tuple[str, int]) -> Path:
        assert self._folder is not None  # noqa: S101 - see __init__
        self._folder.mkdir(parents=True, exist_ok=True)
        stream, batch = place
        return self._folder / f"{stream}-{batch:05d}.f32"


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


class BatchStates(MutableMapping[str, Tensor]):
    """The hidden states of one batch by stream, wherever they are kept."""

    def __init__(self, states: HiddenStates, batch: int) -> None:
        self._states = states
        self._batch = batch

    def __getitem__(self, stream: str) -> Tensor:
        return self._states.get(stream, self._batch)

    def __setitem__(self, stream: str, hidden: Tensor) -> None:
        self._states.put(stream, self._batch, hidden)

    def __delitem__(self, stream: str) -> None:
        self._states.drop(stream, self._batch)

    def __iter__(self) -> Iterator[str]:
        return iter(self._states.streams(self._batch))

    def __len__(self) -> int:
        return len(self._states.streams(self._batch))


@dataclass
class Batch:
    """Right-padded sequences and their hidden states in each stream; unpadded for an encoder."""

    token_ids: Tensor
    """int64 [b, t], padded with 0."""
    mask: Tensor
    """bool [b, t], False at padding."""
    hidden: MutableMapping[str, Tensor]
    """float32 [b, t, hidden_size] on the CPU, by stream."""

    def first(self, count: int) -> Batch:
        """The first `count` sequences alone; the batch itself where those are all."""
        if count == len(self.mask):
            return self
        hidden = {stream: states[:count] for stream, states in self.hidden.items()}
        return Batch(self.token_ids[:count], self.mask[:count], hidden)


def batch_tokens(intermediate_size: int) -> int:
    """Tokens in a batch of a model whose widest MLP has that many neurons."""
    return min(BATCH_TOKENS, max(1, WIDEST_ACTIVATION // intermediate_size))


def start_batches(
    sequences: Sequence[Sequence[int]],
    embedding: Callable[[Tensor], Tensor],
    streams: Sequence[str],
    device: str,
    *,
    states: HiddenStates | None = None,
    most_tokens: int = BATCH_TOKENS,
    padded: bool = True,
) -> list[Batch]:
    """Batches of embedded sequences, every stream alike.

    Args:
        sequences: token ids.
        embedding: hidden states before the first layer, from ids [b, t] on `device`.
        streams: what to start.
        device: where `embedding` computes.
        states: where the hidden states are kept; all in memory by default.
        most_tokens: in a batch, padding included.
        padded: whether sequences of different lengths may share a batch, which an encoder, whose
            tokens see what comes after them, must not be given.
    """
    states = HiddenStates() if states is None else states
    batches = []
    for _, ids, mask in padded_batches(sequences, most_tokens, padded=padded):
        batch = Batch(ids, mask, states.batch())
        hidden = embedding(ids.to(device)).cpu()
        for stream in streams:
            batch.hidden[stream] = hidden
        batches.append(batch)
    return batches


def advance_(
    batches: Sequence[Batch], block: Block, layers: dict[str, nn.Module], device: str
) -> None:
    """Move each stream named in `layers` through `block` of its own layer."""
    for batch in batches:
        for stream, layer in layers.items():
            batch.hidden[stream] = block.apply(layer, batch.hidden[stream].to(device)).cpu()


def pass_through_(
    states: Sequence[dict[str, Tensor]], blocks: Sequence[Block], layer: nn.Module, device: str
) -> None:
    """Move hidden states, by name for each batch, through `blocks` of one layer."""
    for block in blocks:
        for hidden in states:
            for name, state in hidden.items():
                hidden[name] = block.apply(layer, state.to(device)).cpu()
