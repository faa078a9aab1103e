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
from typing import Protocol

import torch
from torch import Tensor, nn

from toolchain.calibrate.stats import exact_matmul
from toolchain.model.block import Block
from toolchain.model.head_loss import HeadLoss, cross_entropy, distillation
from toolchain.model.likelihood import predicted
from toolchain.model.outer import Entrance, Outer
from toolchain.pruning.rulers import embedding_loss

Run = Callable[[Tensor], Tensor]
"""A layer as a function of the residual stream [b, t, hidden_size]."""


@dataclass(frozen=True)
class Decoder:
    """What surrounds the layers, and how one layer computes; an encoder's too."""

    outer: Entrance
    blocks: Sequence[Block]
    """The residual branches of a layer, in the order in which they compute."""
    layer_count: int
    device: str

    @property
    def causal(self) -> bool:
        """Whether it has logits; an encoder, which has none, must not be given padding."""
        return isinstance(self.outer, Outer)

    def embed(self, token_ids: Tensor) -> Tensor:
        """Hidden states [b, t, hidden_size] before the first layer, of ids [b, t]."""
        with torch.no_grad():
            return self.outer.embed(token_ids.to(self.device))

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


def final_states(
    decoder: Decoder, open_layer: Callable[[int], Run], starts: Sequence[Tensor]
) -> list[Tensor]:
    """The last of what `forward` gives, without keeping the others."""
    states = list(starts)
    with torch.no_grad():
        for index in range(decoder.layer_count):
            run = open_layer(index)
            states = [run(hidden.to(decoder.device)).cpu() for hidden in states]
            del run
    return states


def text_loss(decoder: Decoder, hidden: Tensor, token_ids: Tensor, mask: Tensor) -> HeadLoss:
    """Cross-entropy of the text's next tokens, summed, and its gradient.

    Args:
        decoder: the model around the layers.
        hidden: final hidden states, [b, t, hidden_size].
        token_ids: [b, t].
        mask: bool [b, t], False at padding.

    Returns:
        The loss, and its gradient [b, t, hidden_size] with respect to `hidden`.
    """
    assert isinstance(decoder.outer, Outer)  # noqa: S101 - an encoder predicts nothing
    wanted = predicted(mask)
    rows = hidden[:, :-1][wanted].to(decoder.device)
    found = cross_entropy(decoder.outer, rows, token_ids[:, 1:][wanted])
    return _placed(found, hidden, wanted)


def distillation_loss(decoder: Decoder, hidden: Tensor, teacher: Tensor, mask: Tensor) -> HeadLoss:
    """KL(teacher ‖ model) at every predicted position, summed, and its gradient.

    `teacher` holds the teacher's final hidden states like `hidden`; otherwise as `text_loss`. Of an
    encoder it is 1 - cos(teacher, model) of the texts' embeddings, summed over texts.
    """
    if not isinstance(decoder.outer, Outer):
        return embedding_loss(hidden, teacher, mask)
    wanted = predicted(mask)
    rows, dense = (states[:, :-1][wanted].to(decoder.device) for states in (hidden, teacher))
    return _placed(distillation(decoder.outer, rows, dense), hidden, wanted)


def _placed(found: HeadLoss, hidden: Tensor, wanted: Tensor) -> HeadLoss:
    """The gradient where it belongs, zero elsewhere."""
    gradient = torch.zeros_like(hidden)
    gradient[:, :-1][wanted] = found.gradient.to(hidden.device)
    return HeadLoss(found.total, gradient)


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
