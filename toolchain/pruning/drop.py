"""The layer stage: which whole layers go first.

A layer's block influence, 1 - E cos(h_l, h_{l+1}) (ShortGPT, Men et al. 2024, arXiv 2403.03853),
says which layers change the residual stream least; of those few, held-out text says which one is
next. A dropped layer no longer lengthens the stream; later layers would add too much to it. Their
branches are therefore divided by alpha = E |h_{l+1}| / |h_l|, folded into the weights. That is the
same function as lengthening the stream in front of them (magnitude compensation, Chen et al. 2025,
arXiv 2507.18212), but for the norms' epsilon, and leaves a tied head tied. Where the stream itself
is normalised after every sum, as in an encoder, there is nothing to compensate for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from toolchain.errors import BadRequestError
from toolchain.pruning.flow import DENSE, Batch
from toolchain.pruning.workbench import Workbench

SHORTLIST = 3
"""Layers of least influence that held-out text chooses from."""
INFLUENCE_SAMPLES = 32
PLAIN, COMPENSATED = "plain", "compensated"


@dataclass(frozen=True)
class Dropped:
    """A model without some of its layers, the others dense."""

    kept: tuple[int, ...]
    scales: tuple[float, ...]
    """By what the branches of each kept layer are multiplied."""
    held_out_kl: float
    compensated: bool


@dataclass(frozen=True)
class Influence:
    """What one layer does to the residual stream."""

    distance: float
    """Block influence."""
    growth: float
    """alpha, the growth of the stream's norm."""


class LayerStage:
    """Drops one layer after the other."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._judge = bench.dense_judge
        self._influences = self._measure()
        self.steps = [self._without(())]
        """The dense model, then with one layer less each time."""

    def dropped(self, count: int) -> Dropped:
        """The model with `count` layers less; the first and the last layer stay.

        Raises:
            BadRequestError: only these two are left.
        """
        if count > self._bench.layer_count - 2:
            raise BadRequestError(f"{count} layers are too many to drop", "use a smaller --layers")
        while len(self.steps) <= count:
            self.steps.append(self._next())
        return self.steps[count]

    def _next(self) -> Dropped:
        kept = self.steps[-1].kept
        gone = tuple(i for i in range(self._bench.layer_count) if i not in kept)
        by_influence = sorted(kept[1:-1], key=lambda i: (self._influences[i].distance, i))
        candidates = [(*gone, index) for index in by_influence[:SHORTLIST]]
        progress = self._bench.progress
        with progress.task(f"choosing layer {len(gone) + 1} to drop", None):
            found = [self._without(c) for c in candidates]
            divergences = self._divergences(found)
        for index, candidate in enumerate(found):
            plain, compensated = (
                divergences[f"{PLAIN}{index}"],
                divergences[f"{COMPENSATED}{index}"],
            )
            if plain <= compensated:
                ones = (1.0,) * len(candidate.kept)
                found[index] = replace(candidate, scales=ones, held_out_kl=plain, compensated=False)
            else:
                found[index] = replace(candidate, held_out_kl=compensated)
        return min(found, key=lambda candidate: candidate.held_out_kl)

    def _without(self, gone: Sequence[int]) -> Dropped:
        """The compensated model without the layers `gone`; its KL is not known yet."""
        scale, kept, scales = 1.0, [], []
        grows = not self._bench.source.family.normalises_stream
        for index in range(self._bench.layer_count):
            if index in gone:
                scale /= self._influences[index].growth if grows else 1.0
            else:
                kept.append(index)
                scales.append(scale)
        return Dropped(tuple(kept), tuple(scales), 0.0, bool(gone))

    def _divergences(self, models: Sequence[Dropped]) -> dict[str, float]:
        """Held-out KL of each model, compensated and not, in one pass over the layers."""
        bench = self._bench
        names = [f"{kind}{i}" for i in range(len(models)) for kind in (PLAIN, COMPENSATED)]
        batches = bench.batches(bench.samples.held_out, names, "dropping")
        for index in range(bench.layer_count):
            layer = bench.dense_layer(index)
            for block in bench.blocks:
                for batch in batches:
                    for name in names:
                        model = models[names.index(name) // 2]
                        if index not in model.kept:
                            continue
                        hidden = batch.hidden[name].to(bench.device)
                        added = block.apply(layer, hidden) - hidden
                        if name.startswith(COMPENSATED):
                            added = added * model.scales[model.kept.index(index)]
                        batch.hidden[name] = (hidden + added).cpu()
        ends = [{name: batch.hidden[name] for name in names} for batch in batches]
        return self._judge.divergences(batches, ends, bench.layer_count)

    def _measure(self) -> list[Influence]:
        bench = self._bench
        batches = bench.batches(bench.samples.training[:INFLUENCE_SAMPLES], [DENSE], "influence")
        found = []
        with bench.progress.task("measuring layers", bench.layer_count) as task:
            for index in range(bench.layer_count):
                layer = bench.dense_layer(index)
                before = [batch.hidden[DENSE] for batch in batches]
                bench.through_(batches, DENSE, layer)
                found.append(_influence(batches, before))
                task.advance()
        return found


def _influence(batches: Sequence[Batch], before: Sequence[Tensor]) -> Influence:
    cosine = growth = 0.0
    tokens = 0
    for batch, hidden in zip(batches, before, strict=True):
        old, new = hidden[batch.mask].double(), batch.hidden[DENSE][batch.mask].double()
        tokens += len(old)
        cosine += float(torch.cosine_similarity(old, new, dim=-1).sum())
        growth += float((new.norm(dim=-1) / old.norm(dim=-1).clamp_min(1e-12)).sum())
    return Influence(1 - cosine / tokens, growth / tokens)
