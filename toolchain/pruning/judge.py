"""The held-out judge: how far a half-pruned model is from the dense one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

from torch import Tensor, nn

from toolchain.model.block import Block
from toolchain.model.likelihood import Perplexity
from toolchain.model.outer import Entrance
from toolchain.pruning.flow import DENSE, Batch, pass_through_
from toolchain.pruning.rulers import ruler_for


class Judge:
    """Compares hidden states that went through the dense rest of the model with the dense ones.

    Only the dense model's final hidden states are kept; logits exist for a part of the vocabulary
    and of the positions at a time.
    """

    def __init__(
        self,
        outer: Entrance,
        blocks: Sequence[Block],
        read_layer: Callable[[int], nn.Module],
        layer_count: int,
        device: str,
    ) -> None:
        self._ruler = ruler_for(outer)
        self._blocks = blocks
        self._read_layer = read_layer
        self._layer_count = layer_count
        self._device = device
        self._reference: list[Tensor] = []

    def set_reference(self, batches: Sequence[Batch]) -> None:
        """Run the dense model on the held-out text; `batches` stand before the first layer."""
        ends = self._finish([{DENSE: batch.hidden[DENSE]} for batch in batches], 0)
        self._reference = [end[DENSE] for end in ends]

    def for_layers(self, read_layer: Callable[[int], nn.Module], layer_count: int) -> Judge:
        """A judge with the same reference, for models with these layers still to come."""
        out = copy(self)
        out._read_layer = read_layer
        out._layer_count = layer_count
        return out

    def reference_perplexity(self, batches: Sequence[Batch]) -> Perplexity | None:
        """Perplexity of the dense model on the held-out text, which `batches` hold."""
        return self._ruler.perplexity(batches, self._reference)

    def divergences(
        self,
        batches: Sequence[Batch],
        candidates: Sequence[dict[str, Tensor]],
        layer: int,
    ) -> dict[str, float]:
        """How far candidates are from the dense model, after the dense rest of the model.

        KL(dense ‖ candidate) in nats per predicted token, or for an encoder the cosine distance of
        embeddings (see `toolchain.pruning.rulers`).

        Args:
            batches: the batches that `set_reference` saw, or the first sequences of them.
            candidates: per batch, hidden states [b, t, hidden_size] by candidate name.
            layer: index of the first layer that is still to come.
        """
        ends = self._finish(candidates, layer)
        reference = [
            whole[: len(batch.mask)] for whole, batch in zip(self._reference, batches, strict=False)
        ]
        return self._ruler.divergences(batches, reference, ends)

    def perplexity(self, batches: Sequence[Batch], stream: str) -> Perplexity | None:
        """Perplexity on the held-out text of a stream that has passed the last layer."""
        return self._ruler.perplexity(batches, [batch.hidden[stream] for batch in batches])

    def _finish(self, hidden: Sequence[dict[str, Tensor]], first: int) -> list[dict[str, Tensor]]:
        ends = [dict(states) for states in hidden]
        for index in range(first, self._layer_count):
            pass_through_(ends, self._blocks, self._read_layer(index), self._device)
        return ends


def judged_part(batches: Sequence[Batch], most_tokens: int) -> list[Batch]:
    """The first sequences of the batches, up to `most_tokens`, and at least one."""
    chosen: list[Batch] = []
    left = most_tokens
    for batch in batches:
        tokens = batch.mask.sum(1).cumsum(0)
        count = int((tokens <= left).sum())
        if not chosen:
            count = max(count, 1)
        if count:
            chosen.append(batch.first(count))
        if count < len(tokens):
            break
        left -= int(tokens[-1])
    return chosen
