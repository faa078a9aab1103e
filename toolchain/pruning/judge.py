"""The held-out judge: how far a half-pruned model is from the dense one, in nats per token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from toolchain.model import families
from toolchain.model.block import Block
from toolchain.model.likelihood import Perplexity, negative_log_likelihood, predicted
from toolchain.pruning.flow import DENSE, Batch
from toolchain.pruning.memory import CHUNK_LOGITS


class Judge:
    """Compares hidden states that went through the dense rest of the model with the dense ones.

    Only the dense model's final hidden states are kept; logits exist for a chunk of positions at a
    time.
    """

    def __init__(
        self,
        outer: nn.Module,
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

    def divergences(
        self,
        batches: Sequence[Batch],
        candidates: Sequence[dict[str, Tensor]],
        layer: int,
        rest_of_layer: Sequence[tuple[Block, nn.Module]] = (),
    ) -> dict[str, float]:
        """KL(dense ‖ candidate) in nats per predicted token, after the dense rest of the model.

        Args:
            batches: the held-out text.
            candidates: per batch, hidden states [b, t, hidden_size] by candidate name.
            layer: index of the first whole layer that is still to come.
            rest_of_layer: blocks that come before it.
        """
        ends = self._finish(candidates, layer, rest_of_layer)
        totals = dict.fromkeys(candidates[0], 0.0)
        tokens = 0
        for batch, reference, end in zip(batches, self._reference, ends, strict=True):
            wanted = predicted(batch.mask)
            tokens += int(wanted.sum())
            ours = {name: hidden[:, :-1][wanted] for name, hidden in end.items()}
            for name, total in self._summed(reference[:, :-1][wanted], ours).items():
                totals[name] += total
        return {name: total / tokens for name, total in totals.items()}

    def perplexity(self, batches: Sequence[Batch], stream: str) -> Perplexity:
        """Perplexity on the held-out text of a stream that has passed the last layer."""
        nlls = []
        for batch in batches:
            for row in range(len(batch.mask)):
                wanted = predicted(batch.mask)[row]
                hidden = batch.hidden[stream][row, :-1][wanted]
                targets = batch.token_ids[row, 1:][wanted].to(self._device)
                nats = [
                    negative_log_likelihood(self._logits(hidden[chunk]), targets[chunk])
                    for chunk in self._chunks(len(hidden))
                ]
                nlls.append(torch.cat([torch.empty(0), *nats]).double().numpy())
        return Perplexity.of(nlls)

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

    def _logits(self, hidden: Tensor) -> Tensor:
        normed = families.final_norm(self._outer)(hidden.to(self._device))
        logits: Tensor = families.head(self._outer)(normed)
        return logits

    def _chunks(self, count: int) -> list[slice]:
        """Slices of `count` positions whose logits fit into CHUNK_LOGITS."""
        weight = families.head(self._outer).weight
        assert isinstance(weight, Tensor)  # noqa: S101 - a projection's
        size = max(1, CHUNK_LOGITS // weight.shape[0])
        return [slice(start, start + size) for start in range(0, count, size)]

    def _summed(self, dense: Tensor, candidates: dict[str, Tensor]) -> dict[str, float]:
        """KL summed over positions, from final hidden states [n, hidden_size]."""
        totals = dict.fromkeys(candidates, 0.0)
        for chunk in self._chunks(len(dense)):
            p = torch.log_softmax(self._logits(dense[chunk]), -1)
            weights = p.exp()
            for name, hidden in candidates.items():
                q = torch.log_softmax(self._logits(hidden[chunk]), -1)
                totals[name] += float((weights * (p - q)).sum(-1).cpu().double().sum())
        return totals
