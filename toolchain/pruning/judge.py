"""The held-out judge: how far a half-pruned model is from the dense one, in nats per token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.model.block import Block
from toolchain.model.likelihood import Perplexity, predicted
from toolchain.model.outer import Outer
from toolchain.model.sizes import STEP_TOKENS
from toolchain.pruning.flow import DENSE, Batch


class Judge:
    """Compares hidden states that went through the dense rest of the model with the dense ones.

    Only the dense model's final hidden states are kept; logits exist for a part of the vocabulary
    and of the positions at a time.
    """

    def __init__(
        self,
        outer: Outer,
        blocks: Sequence[Block],
        read_layer: Callable[[int], nn.Module],
        layer_count: int,
        device: str,
    ) -> None:
        self._outer = outer
        self._blocks = blocks
        self._read_layer = read_layer
        self._layer_count = layer_count
        self._device = device
        self._reference: list[Tensor] = []

    def set_reference(self, batches: Sequence[Batch]) -> None:
        """Run the dense model on the held-out text; `batches` stand before the first layer."""
        ends = self._finish([{DENSE: batch.hidden[DENSE]} for batch in batches], 0, [])
        self._reference = [end[DENSE] for end in ends]

    def for_layers(self, read_layer: Callable[[int], nn.Module], layer_count: int) -> Judge:
        """A judge with the same reference, for models with these layers still to come."""
        out = copy(self)
        out._read_layer = read_layer
        out._layer_count = layer_count
        return out

    def reference_perplexity(self, batches: Sequence[Batch]) -> Perplexity:
        """Perplexity of the dense model on the held-out text, which `batches` hold."""
        return self._perplexity(batches, self._reference)

    def divergences(
        self,
        batches: Sequence[Batch],
        candidates: Sequence[dict[str, Tensor]],
        layer: int,
        rest_of_layer: Sequence[tuple[Block, nn.Module]] = (),
    ) -> dict[str, float]:
        """KL(dense ‖ candidate) in nats per predicted token, after the dense rest of the model.

        Args:
            batches: the first of the batches that `set_reference` saw, or all of them.
            candidates: per batch, hidden states [b, t, hidden_size] by candidate name.
            layer: index of the first whole layer that is still to come.
            rest_of_layer: blocks that come before it.
        """
        ends = self._finish(candidates, layer, rest_of_layer)
        wanted = [predicted(batch.mask) for batch in batches]
        references = self._reference[: len(batches)]
        found = self._outer.divergences(
            _rows(references, wanted),
            {name: _rows([end[name] for end in ends], wanted) for name in ends[0]},
        )
        return {name: float(values.mean()) for name, values in found.items()}

    def perplexity(self, batches: Sequence[Batch], stream: str) -> Perplexity:
        """Perplexity on the held-out text of a stream that has passed the last layer."""
        return self._perplexity(batches, [batch.hidden[stream] for batch in batches])

    def _perplexity(self, batches: Sequence[Batch], ends: Sequence[Tensor]) -> Perplexity:
        wanted = [predicted(batch.mask) for batch in batches]
        hidden = _rows(ends, wanted)
        targets = [b.token_ids[:, 1:][w] for b, w in zip(batches, wanted, strict=True)]
        nlls = self._outer.negative_log_likelihood(hidden, torch.cat(targets))
        ends_of_rows = torch.cat([mask.sum(1) for mask in wanted]).cumsum(0)
        return Perplexity.of(np.split(nlls.numpy(), ends_of_rows[:-1].numpy()))

    def _finish(
        self,
        hidden: Sequence[dict[str, Tensor]],
        first: int,
        rest_of_layer: Sequence[tuple[Block, nn.Module]],
    ) -> list[dict[str, Tensor]]:
        ends = [dict(states) for states in hidden]
        for block, layer in rest_of_layer:
            self._through_(ends, block, layer)
        for index in range(first, self._layer_count):
            layer = self._read_layer(index)
            for block in self._blocks:
                self._through_(ends, block, layer)
        return ends

    def _through_(self, ends: list[dict[str, Tensor]], block: Block, layer: nn.Module) -> None:
        for states in ends:
            for name, hidden in states.items():
                states[name] = block.apply(layer, hidden.to(self._device)).cpu()


def judged_part(batches: Sequence[Batch]) -> list[Batch]:
    """The first of the batches, up to STEP_TOKENS: what single steps are judged on."""
    tokens = 0
    chosen: list[Batch] = []
    for batch in batches:
        if chosen and tokens + int(batch.mask.sum()) > STEP_TOKENS:
            break
        chosen.append(batch)
        tokens += int(batch.mask.sum())
    return chosen


def _rows(hidden: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """The hidden states that predict a token, [n, hidden_size], of batches [b, t, hidden_size]."""
    return torch.cat([h[:, :-1][w] for h, w in zip(hidden, wanted, strict=True)])
