"""Train a few parameters of a pruned model towards the dense one, layers read one at a time.

What is trained, and how it folds into the weights, is an `Adaptation`; loss, optimiser, schedule
and guard are the same for all of them. The loss is KL(dense ‖ pruned) on calibration text; a
result that is not better on held-out text is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from toolchain.model.likelihood import padded_batches, predicted
from toolchain.model.outer import Outer
from toolchain.progress import SILENT, Progress
from toolchain.pruning.backward import (
    Decoder,
    LayerGraph,
    Run,
    backward,
    distillation_loss,
    final_states,
    forward,
)
from toolchain.pruning.effort import BATCH_SEQUENCES, KEPT_LAYERS_BYTES
from toolchain.pruning.flow import Batch
from toolchain.pruning.rulers import embedding_loss

Parameters = dict[str, Tensor]
"""Trainable tensors of one layer, by name."""


class Adaptation(Protocol):
    """What is trainable in a layer and how it folds. Stateless."""

    def start(self, tensors: Mapping[str, Tensor], generator: torch.Generator) -> Parameters:
        """Parameters, float32, with which `apply` changes nothing.

        Args:
            tensors: the layer's, by name within the layer.
            generator: for random starts.
        """
        ...

    def apply(self, tensors: Mapping[str, Tensor], parameters: Parameters) -> dict[str, Tensor]:
        """The tensors that the parameters change, differentiable with respect to these."""
        ...


def fold(
    adaptation: Adaptation, tensors: Mapping[str, Tensor], parameters: Parameters
) -> dict[str, Tensor]:
    """The layer's tensors with the parameters in them, each in its own dtype and on its device."""
    out = dict(tensors)
    with torch.no_grad():
        floats = {name: tensor.float() for name, tensor in tensors.items()}
        for name, changed in adaptation.apply(floats, parameters).items():
            out[name] = changed.to(tensors[name]).contiguous()
    return out


@dataclass(frozen=True)
class PrunedModel:
    """A pruned decoder whose layers can be read again and again."""

    decoder: Decoder
    read_tensors: Callable[[int], dict[str, Tensor]]
    """A layer's tensors as they would be saved, by name within the layer."""
    build: Callable[[int, dict[str, Tensor]], nn.Module]
    """A float32 layer module on the decoder's device from such tensors."""


@dataclass(frozen=True)
class Lesson:
    """One sequence and what the dense model makes of it."""

    token_ids: list[int]
    read_teacher: Callable[[], Tensor]
    """The dense model's final hidden states, [t, hidden_size]; they may wait in a file."""

    @property
    def teacher(self) -> Tensor:
        """The dense model's final hidden states, [t, hidden_size]."""
        return self.read_teacher()


@dataclass(frozen=True)
class Training:
    """How long and how fast."""

    steps: int
    """Steps of the optimiser, of `batch_sequences` lessons each."""
    learning_rate: float
    """Adam's at the start; it falls to zero along a cosine."""
    batch_sequences: int = BATCH_SEQUENCES
    seed: int = 0
    max_bytes: int = KEPT_LAYERS_BYTES
    """Layers stay in memory if all of them together fit into this; else they are read each time,
    which takes little beside what a step computes."""


@dataclass(frozen=True)
class Check:
    """A look at the held-out text."""

    step: int
    """Steps done by then."""
    held_out_kl: float
    """KL(dense ‖ pruned) of the model as it would be saved, nats per predicted token; of an encoder
    the cosine distance."""
    training_kl: float | None
    """Mean over the steps since the check before; None at the start."""


@dataclass(frozen=True)
class Trained:
    """The best parameters and how they were found."""

    parameters: list[Parameters]
    """By layer, on the CPU; those of the start where training did not help."""
    best: Check
    checks: list[Check]
    """At the start, after each pass over the lessons, and at the end, while all was finite."""


def lessons(batches: Sequence[Batch], stream: str) -> list[Lesson]:
    """The sequences of `batches`, whose `stream` has passed the last layer of the dense model."""

    def reader(batch: Batch, row: int, length: int) -> Callable[[], Tensor]:
        return lambda: batch.hidden[stream][row, :length]

    return [
        Lesson(batch.token_ids[row, :length].tolist(), reader(batch, row, length))
        for batch in batches
        for row, length in enumerate(batch.mask.sum(1).tolist())
    ]


def train(
    model: PrunedModel,
    adaptation: Adaptation,
    training: Sequence[Lesson],
    held_out: Sequence[Lesson],
    how: Training,
    progress: Progress = SILENT,
) -> Trained:
    """Adam on KL(dense ‖ pruned) over the adaptation's parameters of all layers, weights frozen.

    Held-out KL is taken with the parameters folded in the dtype that will be saved, before
    training and after each pass; the best is kept, so the result is never worse than the start.
    The same inputs and seed give the same result. Memory holds one step's hidden states between
    the layers, and one layer's graph at a time.

    Args:
        model: the pruned model.
        adaptation: what is trained.
        training: sequences to learn from.
        held_out: sequences to choose by.
        how: settings.
        progress: one step per optimiser step.
    """
    trainer = _Trainer(model, adaptation, how)
    parameters = trainer.snapshot()
    checks = [Check(0, trainer.held_out_kl(held_out), None)]
    best = checks[0]
    with progress.task("distilling", how.steps) as task:
        for losses in trainer.passes(training, task.advance):
            mean = sum(losses) / len(losses)
            divergence = trainer.held_out_kl(held_out)
            if not math.isfinite(divergence + mean):
                progress.note(f"distilling stopped: not finite after {trainer.steps_done} steps")
                break
            checks.append(Check(trainer.steps_done, divergence, mean))
            if checks[-1].held_out_kl < best.held_out_kl:
                best, parameters = checks[-1], trainer.snapshot()
    return Trained(parameters, best, checks)


class _Trainer:
    def __init__(self, model: PrunedModel, adaptation: Adaptation, how: Training) -> None:
        self._model = model
        self._decoder = model.decoder
        self._adaptation = adaptation
        self._how = how
        self._generator = torch.Generator().manual_seed(how.seed)
        self._kept: dict[int, nn.Module] = {}
        self._parameters = []
        size = 0
        for index in range(self._decoder.layer_count):
            tensors = model.read_tensors(index)
            size += sum(4 * tensor.numel() for tensor in tensors.values())
            self._parameters.append(self._started(tensors))
        self._fits = size <= how.max_bytes
        flat = [tensor for layer in self._parameters for tensor in layer.values()]
        self._optimiser = torch.optim.Adam(flat, lr=how.learning_rate)
        self.steps_done = 0

    def _started(self, tensors: dict[str, Tensor]) -> Parameters:
        start = self._adaptation.start(tensors, self._generator)
        device = self._decoder.device
        return {name: value.float().to(device).requires_grad_() for name, value in start.items()}

    def snapshot(self) -> list[Parameters]:
        """A copy of all parameters, on the CPU."""
        return [
            {name: value.detach().cpu().clone() for name, value in layer.items()}
            for layer in self._parameters
        ]

    def passes(
        self, training: Sequence[Lesson], advance: Callable[[], None]
    ) -> Iterator[list[float]]:
        """Train; yields the steps' losses after each pass over the lessons and at the end."""
        size = self._how.batch_sequences
        while self.steps_done < self._how.steps:
            losses = []
            order = torch.randperm(len(training), generator=self._generator).tolist()
            for start in range(0, len(order), size)[: self._how.steps - self.steps_done]:
                losses.append(self._step([training[i] for i in order[start : start + size]]))
                advance()
            yield losses

    def _step(self, batch: Sequence[Lesson]) -> float:
        """One step of Adam; returns the batch's KL per predicted token, or distance per text."""
        decoder, groups = self._decoder, self._groups(batch)
        states = forward(decoder, self._run, [decoder.embed(ids) for ids, _, _ in groups])
        ends = [
            distillation_loss(decoder, hidden, teacher, mask)
            for hidden, (_, mask, teacher) in zip(states[-1], groups, strict=True)
        ]
        count = sum(self._judged(mask) for _, mask, _ in groups)
        self._optimiser.zero_grad()
        backward(decoder, self._graph, states, [end.gradient / count for end in ends])
        decay = (1 + math.cos(math.pi * self.steps_done / self._how.steps)) / 2
        for group in self._optimiser.param_groups:
            group["lr"] = self._how.learning_rate * decay
        self._optimiser.step()
        self.steps_done += 1
        return sum(end.total for end in ends) / count

    def _groups(self, batch: Sequence[Lesson]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """`_padded` of the batch; of an encoder's, which must not be padded, by length."""
        if self._decoder.causal:
            return [_padded(batch)]
        lengths = dict.fromkeys(len(lesson.token_ids) for lesson in batch)
        return [_padded([one for one in batch if len(one.token_ids) == n]) for n in lengths]

    def _judged(self, mask: Tensor) -> int:
        """Over how many the loss of a batch is a mean: predicted tokens, or texts."""
        return int(predicted(mask).sum()) if self._decoder.causal else len(mask)

    def held_out_kl(self, held_out: Sequence[Lesson]) -> float:
        """KL(dense ‖ pruned), nats per predicted token, of the model as it would be saved.

        Of an encoder the distance per text.
        """
        ids_of = [lesson.token_ids for lesson in held_out]
        rows = padded_batches(ids_of, padded=self._decoder.causal)
        text = [_padded([held_out[index] for index in chosen]) for chosen, _, _ in rows]
        starts = [self._decoder.embed(ids) for ids, _, _ in text]
        ends = final_states(self._decoder, self._folded, starts)
        total, count = 0.0, 0
        for hidden, (_, mask, teacher) in zip(ends, text, strict=True):
            total += self._distance(hidden, teacher, mask)
            count += self._judged(mask)
        return total / count

    def _distance(self, hidden: Tensor, teacher: Tensor, mask: Tensor) -> float:
        """The loss without its gradient."""
        outer = self._decoder.outer
        if not isinstance(outer, Outer):
            return embedding_loss(hidden, teacher, mask).total
        wanted = predicted(mask)
        dense, ours = (states[:, :-1][wanted] for states in (teacher, hidden))
        return float(outer.divergences(dense, {"": ours})[""].sum())

    def _layer(self, index: int) -> nn.Module:
        layer = self._kept.get(index)
        if layer is None:
            layer = self._model.build(index, self._model.read_tensors(index))
            if self._fits:
                self._kept[index] = layer
        return layer

    def _run(self, index: int) -> Run:
        return _AdaptedLayer(
            self._decoder, self._layer(index), self._adaptation, self._parameters[index]
        ).run

    def _graph(self, index: int) -> LayerGraph:
        return _AdaptedLayer(
            self._decoder, self._layer(index), self._adaptation, self._parameters[index]
        )

    def _folded(self, index: int) -> Run:
        tensors = self._model.read_tensors(index)
        parameters = {n: v.detach().cpu() for n, v in self._parameters[index].items()}
        layer = self._model.build(index, fold(self._adaptation, tensors, parameters))
        return partial(self._decoder.run, layer)


class _AdaptedLayer(nn.Module):
    """A layer computed with its adapted weights; gradients go to the parameters alone."""

    def __init__(
        self, decoder: Decoder, layer: nn.Module, adaptation: Adaptation, parameters: Parameters
    ) -> None:
        super().__init__()
        self.layer = layer
        self._decoder = decoder
        self._adaptation = adaptation
        self._trained = parameters

    def run(self, hidden: Tensor) -> Tensor:
        """The residual stream after the adapted layer."""
        frozen = {name: tensor.detach() for name, tensor in self.layer.named_parameters()}
        changed = self._adaptation.apply(frozen, self._trained)
        named = {f"layer.{name}": tensor for name, tensor in changed.items()}
        output: Tensor = functional_call(self, named, (hidden,))
        return output

    def forward(self, hidden: Tensor) -> Tensor:
        return self._decoder.run(self.layer, hidden)

    def trace(self, hidden: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Output and trained parameters."""
        return self.run(hidden), list(self._trained.values())

    def take(self, batch: int, wanted: list[Tensor], gradients: list[Tensor]) -> None:
        """Leave the gradients where the optimiser finds them: the sum over batches."""
        del batch
        for parameter, gradient in zip(wanted, gradients, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def done(self) -> None:
        """Nothing is left to do."""


def _padded(chosen: Sequence[Lesson]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids [b, t], mask [b, t] and teacher states [b, t, hidden_size], padded on the right."""
    longest = max(len(lesson.token_ids) for lesson in chosen)
    ids = torch.zeros(len(chosen), longest, dtype=torch.int64)
    mask = torch.zeros(len(chosen), longest, dtype=torch.bool)
    teacher = torch.zeros(len(chosen), longest, chosen[0].teacher.shape[-1])
    for row, lesson in enumerate(chosen):
        length = len(lesson.token_ids)
        ids[row, :length] = torch.tensor(lesson.token_ids, dtype=torch.int64)
        mask[row, :length] = True
        teacher[row, :length] = lesson.teacher
    return ids, mask, teacher
