"""Forward and backward through a decoder whose layers are read one at a time.

Forward keeps only the hidden states between layers. Backward goes from the last layer to the first:
the layer is read again, computed again with a graph, and its vector-Jacobian product taken; then
the graph and the layer are gone. So memory holds the states between layers, one layer and one
layer's graph over one batch, and never the model (layer-wise checkpointing, after Chen et al. 2016,
arXiv 1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from toolchain.calibrate.stats import exact_matmul
from toolchain.model import families
from toolchain.model.block import Block
from toolchain.model.likelihood import predicted
from toolchain.pruning.memory import CHUNK_LOGITS

Run = Callable[[Tensor], Tensor]
"""A layer as a function of the residual stream [b, t, hidden_size]."""
PositionLoss = Callable[[Tensor, slice], Tensor]
"""Loss summed over a slice of the predicted positions, from their logits [n, vocabulary]."""


@dataclass(frozen=True)
class Decoder:
    """What surrounds the layers, and how one layer computes."""

    embed: Callable[[Tensor], Tensor]
    """Token ids [b, t] to hidden states [b, t, hidden_size]."""
    logits: Callable[[Tensor], Tensor]
    """Final hidden states [n, hidden_size] to logits [n, vocabulary]; final norm included."""
    blocks: Sequence[Block]
    """The residual branches of a layer, in the order in which they compute."""
    layer_count: int
    device: str

    @classmethod
    def around(
        cls, outer: nn.Module, blocks: Sequence[Block], layer_count: int, device: str
    ) -> Decoder:
        """The decoder of a model without its layers, as `Checkpoint.outer` gives it."""

        def logits(hidden: Tensor) -> Tensor:
            return families.logits(outer, families.final_norm(outer)(hidden))

        return cls(partial(families.embed, outer), logits, blocks, layer_count, device)

    def run(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """The residual stream after `layer`."""
        for block in self.blocks:
            hidden = block.apply(layer, hidden)
        return hidden


class LayerGraph(Protocol):
    """One layer as backward sees it; made when its turn comes, dropped afterwards."""

    def trace(self, hidden: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Compute the layer at `hidden` [b, t, hidden_size] with a graph.

        Returns:
            Its output, and the tensors of the graph whose gradients are wanted.
        """
        ...

    def take(self, batch: int, wanted: list[Tensor], gradients: list[Tensor]) -> None:
        """Receive those gradients of one batch."""
        ...

    def done(self) -> None:
        """All batches are through."""
        ...


@dataclass(frozen=True)
class End:
    """A loss and where its gradient starts."""

    total: float
    """The loss, summed over all predicted positions, nats."""
    gradient: Tensor
    """[b, t, hidden_size] with respect to the final hidden states."""
    outer: list[Tensor]
    """Gradients of the outer tensors that were asked for."""


def forward(
    decoder: Decoder, open_layer: Callable[[int], Run], starts: Sequence[Tensor]
) -> list[list[Tensor]]:
    """Hidden states between the layers.

    Args:
        decoder: the model around the layers.
        open_layer: reads a layer; called in order, each layer dropped before the next.
        starts: embedded batches, [b, t, hidden_size] each.

    Returns:
        [layer_count + 1] lists of batches on the CPU: before each layer, and after the last.
    """
    states = [[start.cpu() for start in starts]]
    with torch.no_grad():
        for index in range(decoder.layer_count):
            run = open_layer(index)
            states.append([run(hidden.to(decoder.device)).cpu() for hidden in states[-1]])
            del run
    return states


def loss_end(
    decoder: Decoder,
    hidden: Tensor,
    mask: Tensor,
    loss: PositionLoss,
    outer: Sequence[Tensor] = (),
) -> End:
    """The loss at the final hidden states and its gradient, a chunk of positions at a time.

    Args:
        decoder: the model around the layers.
        hidden: final hidden states, [b, t, hidden_size].
        mask: bool [b, t], False at padding.
        loss: summed over a slice of the predicted positions, which come row by row.
        outer: tensors used by `decoder.logits` whose gradients are wanted too.
    """
    wanted = predicted(mask)
    rows = hidden[:, :-1][wanted].to(decoder.device)
    total = 0.0
    gradients = torch.zeros_like(rows)
    sums = [torch.zeros_like(tensor) for tensor in outer]
    for chunk in _position_chunks(decoder, rows):
        leaf = rows[chunk].detach().requires_grad_()
        with torch.enable_grad(), exact_matmul():
            value = loss(decoder.logits(leaf), chunk)
            found = torch.autograd.grad(value, [leaf, *outer])
        total += float(value.detach())
        gradients[chunk] = found[0]
        sums = [before + new for before, new in zip(sums, found[1:], strict=True)]
    whole = torch.zeros(hidden.shape, dtype=rows.dtype, device=decoder.device)
    whole[:, :-1][wanted] = gradients
    return End(total, whole, sums)


def loss_sum(decoder: Decoder, hidden: Tensor, mask: Tensor, loss: PositionLoss) -> float:
    """The loss at the final hidden states [b, t, hidden_size] alone, nats."""
    rows = hidden[:, :-1][predicted(mask)].to(decoder.device)
    with torch.no_grad():
        chunks = _position_chunks(decoder, rows)
        return sum(float(loss(decoder.logits(rows[chunk]), chunk)) for chunk in chunks)


def _position_chunks(decoder: Decoder, rows: Tensor) -> list[slice]:
    """Slices of the positions of `rows` [n, hidden_size] whose logits fit into CHUNK_LOGITS."""
    with torch.no_grad():
        vocabulary = decoder.logits(rows[:1]).shape[-1]
    size = max(1, CHUNK_LOGITS // vocabulary)
    return [slice(start, start + size) for start in range(0, len(rows), size)]


def backward(
    decoder: Decoder,
    open_layer: Callable[[int], LayerGraph],
    states: list[list[Tensor]],
    gradients: Sequence[Tensor],
) -> list[Tensor]:
    """From the loss to the embedding, one layer's graph over one batch at a time.

    Args:
        decoder: the model around the layers.
        open_layer: reads a layer and says which gradients are wanted; called from the last to the
            first, each dropped before the next.
        states: what `forward` gave; emptied on the way.
        gradients: of the loss with respect to the final hidden states, by batch.

    Returns:
        The gradients with respect to the embedded batches.
    """
    flowing = list(gradients)
    states.pop()
    for index in reversed(range(decoder.layer_count)):
        graph = open_layer(index)
        for batch, hidden in enumerate(states.pop()):
            flowing[batch] = _step(decoder, graph, batch, hidden, flowing[batch])
        graph.done()
        del graph
    return flowing


def _step(
    decoder: Decoder, graph: LayerGraph, batch: int, hidden: Tensor, gradient: Tensor
) -> Tensor:
    leaf = hidden.to(decoder.device).detach().requires_grad_()
    with torch.enable_grad(), exact_matmul():
        output, wanted = graph.trace(leaf)
        first, *rest = torch.autograd.grad(output, [leaf, *wanted], gradient.to(decoder.device))
    graph.take(batch, wanted, rest)
    return first.cpu()


def text_loss(token_ids: Tensor, mask: Tensor) -> PositionLoss:
    """Cross-entropy of the next token of the text, ids and mask [b, t]."""
    targets = token_ids[:, 1:][predicted(mask)]

    def loss(logits: Tensor, chunk: slice) -> Tensor:
        wanted = targets[chunk].to(logits.device)
        return nn.functional.cross_entropy(logits.float(), wanted, reduction="sum")

    return loss


def sampled_loss(generator: torch.Generator) -> PositionLoss:
    """Cross-entropy of tokens drawn from the model's own distribution.

    Its gradient has the covariance of the Fisher information, which is the curvature of
    KL(model ‖ changed model); the gradient of that KL itself is zero here.
    """

    def loss(logits: Tensor, _: slice) -> Tensor:
        probabilities = torch.softmax(logits.detach().float(), -1).cpu()
        targets = torch.multinomial(probabilities, 1, generator=generator).squeeze(1)
        targets = targets.to(logits.device)
        return nn.functional.cross_entropy(logits.float(), targets, reduction="sum")

    return loss


def distillation_loss(decoder: Decoder, teacher: Tensor, mask: Tensor) -> PositionLoss:
    """KL(teacher ‖ model) from the teacher's final hidden states [b, t, hidden_size]."""
    rows = teacher[:, :-1][predicted(mask)]

    def loss(logits: Tensor, chunk: slice) -> Tensor:
        with torch.no_grad():
            reference = torch.log_softmax(teacher_logits(rows[chunk]), -1)
            weights = reference.exp()
        return (weights * (reference - torch.log_softmax(logits.float(), -1))).sum()

    def teacher_logits(hidden: Tensor) -> Tensor:
        return decoder.logits(hidden.to(decoder.device)).float()

    return loss
