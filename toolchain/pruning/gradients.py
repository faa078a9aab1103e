"""What gradients say about every projection: one pass over calibration text before pruning.

The dense model runs forward and backward layer by layer (`toolchain.pruning.backward`). Each layer
leaves a few sums for its attention and its MLP, which stay in memory or wait in a file for the
layer's turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from runtime_py.schema import LayerShape
from toolchain.calibrate.stats import exact_matmul
from toolchain.model.compact import (
    ATTENTION,
    PARTS,
    read_projection,
    save_tensors,
    slices,
    unit_count,
)
from toolchain.model.family import Family
from toolchain.model.likelihood import padded_batches
from toolchain.progress import SILENT, Progress
from toolchain.pruning.backward import (
    Decoder,
    backward,
    forward,
    text_loss,
)
from toolchain.pruning.memory import FLOAT_BYTES


@dataclass
class ProjectionGradients:
    """Sums over N calibration tokens for a projection Y = XW with X [N, d] and W [d, m].

    On the CPU; L is the loss summed over all predicted tokens.
    """

    taylor: Tensor
    """Σ w ∂L/∂w over what a unit (neuron or query head) alone owns, float64 [units]: the rows of
    its producers, biases included, and its columns of the output projection."""
    taylor_shared: Tensor
    """The same over the key and value rows that a KV group shares, float64 [groups]. Where a group
    has one unit, as in an MLP, it is a part of that unit's."""
    energy: Tensor
    """Σ_o W_jo² Σ_n G_njo², float64 [d], with G_n the gradient of sequence n with respect to W."""
    fisher: Tensor
    """Γ = Σ_t g_t g_tᵀ, float32 [m, m], with g_t = ∂L/∂y_t at token t."""
    tokens: int = 0

    @classmethod
    def zeros(cls, shape: LayerShape, part: str, width: int, outputs: int) -> ProjectionGradients:
        """Empty sums for `part` of a layer of `shape`, d = `width` and m = `outputs`."""
        units = unit_count(shape, part)
        groups = shape.num_key_value_heads if part == ATTENTION else units
        return cls(
            taylor=torch.zeros(units, dtype=torch.float64),
            taylor_shared=torch.zeros(groups, dtype=torch.float64),
            energy=torch.zeros(width, dtype=torch.float64),
            fisher=torch.zeros(outputs, outputs),
        )

    def update_(self, inputs: Tensor, gradient: Tensor, weight: Tensor, mask: Tensor) -> None:
        """Add sequences.

        Args:
            inputs: X, [b, t, d].
            gradient: ∂L/∂Y, [b, t, m]; zero at padding.
            weight: W, [d, m].
            mask: bool [b, t], False at padding.
        """
        rows = gradient[mask]
        with exact_matmul():
            self.fisher += (rows.T @ rows).cpu()
            for x, g in zip(inputs, gradient, strict=True):
                self.energy += (weight * (x.T @ g)).square().sum(1).cpu()
        self.tokens += int(mask.sum())

    def update_taylor_(self, rows: Tensor) -> None:
        """Add w ∂L/∂w of a coupled tensor, summed over its other dimension, float64.

        Args:
            rows: in the order of the units; those of a fused tensor one producer after the other.
                The first [d] belong to the units; keys and values, which are fewer or come after,
                to the groups.
        """
        width = len(self.energy)
        owned = width if len(rows) >= width else 0
        if owned:
            self.taylor += rows[:owned].reshape(len(self.taylor), -1).sum(1)
        shared = rows[owned:].reshape(-1, len(self.taylor_shared), width // len(self.taylor))
        self.taylor_shared += shared.sum((0, 2))


Key = tuple[int, str]
"""Layer index and part."""


class GradientStore:
    """Gradient sums by layer and part, in memory or, with a folder, one file each."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._held: dict[Key, ProjectionGradients] = {}
        self._finished = folder is not None and self._marker(folder).is_file()

    @property
    def finished(self) -> bool:
        """Whether the pass that fills it came to its end, in this process or an earlier one."""
        return self._finished

    def clear_(self) -> None:
        """Forget what an interrupted pass left."""
        self._held.clear()
        for file in self._folder.glob("*.safetensors") if self._folder else ():
            file.unlink()

    def finish_(self) -> None:
        """The pass is at its end."""
        self._finished = True
        if self._folder is not None:
            self._marker(self._folder).touch()

    @staticmethod
    def _marker(folder: Path) -> Path:
        return folder / "finished"

    def __contains__(self, key: Key) -> bool:
        return key in self._held if self._folder is None else self._path(key).is_file()

    def __getitem__(self, key: Key) -> ProjectionGradients:
        if self._folder is None:
            return self._held[key]
        from safetensors.torch import load_file

        tensors = load_file(self._path(key))
        tokens = int(tensors.pop("tokens"))
        return ProjectionGradients(**tensors, tokens=tokens)

    def __setitem__(self, key: Key, gradients: ProjectionGradients) -> None:
        if self._folder is None:
            self._held[key] = gradients
            return
        self._folder.mkdir(exist_ok=True)
        tensors = {field.name: getattr(gradients, field.name) for field in fields(gradients)}
        tensors["tokens"] = torch.tensor(gradients.tokens)
        save_tensors(self._path(key), tensors, {})

    def _path(self, key: Key) -> Path:
        assert self._folder is not None  # noqa: S101 - asked for by callers that have one
        return self._folder / f"gradients-{key[0]:05d}-{key[1]}.safetensors"


@dataclass(frozen=True)
class GradientPass:
    """How the pass over the text is done."""

    batch_tokens: int = 2048
    """Most tokens in one graph."""
    max_bytes: int = 1 << 30
    """Hidden states between layers at a time; more text is taken in several rounds."""


@dataclass(frozen=True)
class DenseModel:
    """The model whose gradients are taken."""

    decoder: Decoder
    read_layer: Callable[[int], nn.Module]
    family: Family
    shapes: Sequence[LayerShape]


def collect_gradients(
    model: DenseModel,
    sequences: Sequence[Sequence[int]],
    store: GradientStore,
    how: GradientPass,
    progress: Progress = SILENT,
) -> None:
    """Run forward and backward over the text and leave the sums in `store`.

    A store that is finished already stays as it is; one that is not is filled anew. Every layer is
    read twice for each round of text; one layer, the gradients of its weights and its graph over
    one batch are in memory at a time.

    Args:
        model: the dense model.
        sequences: token ids.
        store: filled for every layer and part.
        how: settings.
        progress: one step per layer and round.
    """
    if store.finished:
        return
    store.clear_()
    decoder = model.decoder
    rounds = _rounds(decoder, padded_batches(sequences, how.batch_tokens), how.max_bytes)
    with progress.task("taking gradients", len(rounds) * decoder.layer_count) as task:
        for chosen in rounds:
            starts = [decoder.embed(ids) for ids, _ in chosen]
            states = forward(decoder, lambda i: partial(decoder.run, model.read_layer(i)), starts)
            gradients = [
                text_loss(decoder, hidden, ids, mask).gradient
                for hidden, (ids, mask) in zip(states[-1], chosen, strict=True)
            ]
            masks = [mask for _, mask in chosen]
            opener = _Opener(model, store, masks, task.advance)
            backward(decoder, opener, states, gradients)
    store.finish_()


def _rounds(
    decoder: Decoder, batches: Sequence[tuple[list[int], Tensor, Tensor]], max_bytes: int
) -> list[list[tuple[Tensor, Tensor]]]:
    """(ids, mask) of batches whose states between all layers fit into `max_bytes` together."""
    width = decoder.embed(batches[0][1][:1, :1]).shape[-1]
    rounds: list[list[tuple[Tensor, Tensor]]] = []
    size = max_bytes
    for _, ids, mask in batches:
        added = FLOAT_BYTES * ids.numel() * width * (decoder.layer_count + 1)
        if size + added > max_bytes:
            rounds.append([])
            size = 0
        rounds[-1].append((ids, mask))
        size += added
    return rounds


@dataclass(frozen=True)
class _Opener:
    model: DenseModel
    store: GradientStore
    masks: Sequence[Tensor]
    advance: Callable[[], None]

    def __call__(self, index: int) -> _GradientLayer:
        return _GradientLayer(self, index)


class _GradientLayer:
    """The `LayerGraph` of a dense layer that adds up the sums of its two projections."""

    def __init__(self, opener: _Opener, index: int) -> None:
        self._opener = opener
        self._index = index
        self._layer = opener.model.read_layer(index)
        self._weights: dict[str, Tensor] = {}
        self._coupled: dict[str, list[tuple[str, int, Tensor]]] = {}
        self._sums: dict[str, ProjectionGradients] = {}
        self._inputs: list[Tensor] = []
        for part in PARTS:
            self._open(part, opener.model.shapes[index])

    def _open(self, part: str, shape: LayerShape) -> None:
        family = self._opener.model.family
        known = dict(self._layer.named_parameters())
        rows = slices(family, shape, part, torch.arange(unit_count(shape, part)))
        self._coupled[part] = [(name, along, i) for name, along, _, i in rows if name in known]
        for name, _, _ in self._coupled[part]:
            self._weights[name] = known[name].requires_grad_()
        key = (self._index, part)
        if key in self._opener.store:
            self._sums[part] = self._opener.store[key]
        else:
            width, outputs = read_projection(known, family, part).shape
            self._sums[part] = ProjectionGradients.zeros(shape, part, width, outputs)

    def trace(self, hidden: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The layer, with the outputs of both projections and all coupled weights as wanted."""
        outputs = []
        self._inputs = []
        for block in self._opener.model.decoder.blocks:
            inputs, output = block.branch(self._layer, hidden)
            self._inputs.append(inputs.detach())
            outputs.append(output)
            hidden = block.join(self._layer, hidden, output)
        return hidden, [*outputs, *self._weights.values()]

    def take(self, batch: int, wanted: list[Tensor], gradients: list[Tensor]) -> None:
        """Add a batch to the sums."""
        del wanted
        mask = self._opener.masks[batch].to(gradients[0].device)
        by_name = dict(zip(self._weights, gradients[len(PARTS) :], strict=True))
        for position, (part, sums) in enumerate(self._sums.items()):
            weights = {name: tensor.detach() for name, tensor in self._weights.items()}
            weight = read_projection(weights, self._opener.model.family, part)
            sums.update_(self._inputs[position], gradients[position], weight, mask)
            for name, along, indices in self._coupled[part]:
                product = (weights[name] * by_name[name]).movedim(along, 0)
                rows = product.reshape(len(product), -1).sum(1)
                sums.update_taylor_(rows.cpu().double()[indices])

    def done(self) -> None:
        """Hand the sums over."""
        for part, sums in self._sums.items():
            self._opener.store[self._index, part] = sums
        self._opener.advance()
