"""What every pass over one model shares: its outer parts, its text and the held-out judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from toolchain.model.block import Block, Rotary
from toolchain.model.checkpoint import Checkpoint
from toolchain.model.compact import PARTS, scale_branches
from toolchain.model.likelihood import Perplexity
from toolchain.model.outer import Entrance, Outer
from toolchain.progress import Progress
from toolchain.pruning.backward import Decoder
from toolchain.pruning.effort import step_tokens
from toolchain.pruning.flow import DENSE, Batch, HiddenStates, advance_, batch_tokens, start_batches
from toolchain.pruning.judge import Judge
from toolchain.pruning.request import Request
from toolchain.pruning.structure import Structure

RESULT = "result"
"""The stream of a whole model that is being measured."""

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Measured:
    """A whole model on the held-out text."""

    kl: float
    """KL(dense ‖ model), nats per predicted token; of an encoder the cosine distance."""
    perplexity: Perplexity | None
    """None for an encoder."""


class Workbench:
    """One dense model, ready to be pruned again and again.

    The dense model's final hidden states on the held-out text are computed once.
    """

    def __init__(self, request: Request, work: Path, progress: Progress) -> None:
        self.source: Checkpoint = request.source
        self.settings = request.settings
        self.samples = request.samples
        self.device = request.device
        self.max_bytes = request.max_bytes
        self.work = work
        self.progress = progress
        self.layer_count = len(self.source.spec.layers)
        self.step_tokens = step_tokens(self.source.spec, self.device)
        outer = Outer if self.source.family.causal else Entrance
        self.outer: Entrance = outer(self.source, self.device)
        rotary = Rotary(self.outer.rotary_embedding, self.device)
        self.blocks = [Block(self.source.family, part, rotary) for part in PARTS]
        self.dense_judge = Judge(
            self.outer, self.blocks, self.dense_layer, self.layer_count, self.device
        )
        batches = self.batches(self.samples.held_out, [DENSE])
        with progress.task("running the dense model", None):
            self.dense_judge.set_reference(batches)
        self.dense_perplexity = self.dense_judge.reference_perplexity(batches)

    def batches(
        self, sequences: Sequence[Sequence[int]], streams: Sequence[str], name: str = "states"
    ) -> list[Batch]:
        """Batches of `sequences` before the first layer; what is too large waits under `name`."""
        states = None
        if self.max_bytes is not None:
            states = HiddenStates(self.max_bytes, self.work / name)
        return start_batches(
            sequences,
            self.outer.embed,
            streams,
            self.device,
            states=states,
            most_tokens=batch_tokens(max(s.intermediate_size for s in self.source.spec.layers)),
            padded=self.source.family.causal,
        )

    def later_blocks(self, block: Block) -> Sequence[Block]:
        """The blocks of a layer that come after `block`."""
        return self.blocks[self.blocks.index(block) + 1 :]

    def dense_layer(self, index: int) -> nn.Module:
        """Layer `index` of the dense model on the device."""
        return self.source.layer(index, self.device)

    def through_(self, batches: Sequence[Batch], stream: str, layer: nn.Module) -> None:
        """Move one stream of `batches` through the whole of `layer`."""
        for block in self.blocks:
            advance_(batches, block, {stream: layer}, self.device)

    def scaled_tensors(self, structure: Structure, place: int) -> Tensors:
        """The dense tensors of the layer at `place` of `structure`, its branches scaled."""
        tensors = self.source.layer_tensors(structure.layers[place])
        scale = structure.scales[place]
        return tensors if scale == 1 else scale_branches(tensors, self.source.family, scale)

    def decoder(self, layer_count: int) -> Decoder:
        """What surrounds the layers of a model with that many."""
        return Decoder(self.outer, self.blocks, layer_count, self.device)

    def judge(self, structure: Structure) -> Judge:
        """A judge for models of `structure`: layers that are still to come are dense ones."""

        def read(place: int) -> nn.Module:
            index = structure.layers[place]
            tensors = self.scaled_tensors(structure, place)
            return self.source.layer_from(index, tensors, self.device)

        return self.dense_judge.for_layers(read, len(structure.layers))

    def measure(self, structure: Structure, read: Callable[[int], Tensors]) -> Measured:
        """A whole model, whose layer at each place has the tensors that `read` gives."""
        batches = self.batches(self.samples.held_out, [RESULT], RESULT)
        for place, index in enumerate(structure.layers):
            layer = self.source.layer_from(index, read(place), self.device)
            self.through_(batches, RESULT, layer)
        judge = self.judge(structure)
        ends = [{RESULT: batch.hidden[RESULT]} for batch in batches]
        kl = judge.divergences(batches, ends, len(structure.layers))[RESULT]
        return Measured(kl, judge.perplexity(batches, RESULT))
