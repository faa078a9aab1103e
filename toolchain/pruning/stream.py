"""Prune a checkpoint layer by layer, with one layer, its statistics and activations in memory.

Per layer: statistics at o_proj, prune, recover, run again; statistics at down_proj, prune, recover,
run again; write the layer. Inputs always come from the pruned prefix.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from runtime_py.sensors import peak_rss_bytes
from toolchain import store
from toolchain.model import families
from toolchain.model.block import Block, Rotary
from toolchain.model.checkpoint import Checkpoint
from toolchain.model.compact import PARTS, Kept, cut, expand, save_weights, unit_count, unit_width
from toolchain.progress import SILENT, Progress
from toolchain.pruning.flow import (
    DENSE,
    PLAIN,
    PRUNED,
    advance_,
    start_batches,
)
from toolchain.pruning.judge import Judge
from toolchain.pruning.layers import FinishedLayer, LayerStore, plain_layer, with_zero_biases
from toolchain.pruning.request import Request, check_request
from toolchain.pruning.result import Outcome, PruneResult, write_companions
from toolchain.pruning.step import (
    NONE,
    Decision,
    as_stored,
    candidates,
    choose_units,
    collect,
)
from toolchain.recipe import PruneSettings

LAYERS = "layers"
"""Folder of finished layers inside the work directory; gone from the result."""


def prune_checkpoint(
    source: Checkpoint, settings: PruneSettings, out: Path, progress: Progress = SILENT
) -> PruneResult:
    """Prune `source` into a compact checkpoint that transformers loads with no custom code.

    An interrupted call leaves its finished layers beside `out`; the next call with the same inputs
    goes on after them and ends with the same weights, byte for byte.

    Args:
        source: the dense checkpoint.
        settings: what to remove and how to recover.
        out: the new folder; replaced if paredown wrote it.
        progress: one step per layer.

    Raises:
        BadRequestError: anything wrong with the request, found before any work, or NaN or Inf in
            the weights; nothing half-written stays.
        MissingError: the calibration text cannot be had here.
    """
    with progress.task("reading the calibration text", None):
        request = check_request(source, settings, out)
    started = time.monotonic()
    with store.resumable_directory(out, request.inputs_sha256) as work, torch.inference_mode():
        finished = LayerStore(work / LAYERS)
        outcome = Pruner(request, finished, progress).run()
        save_weights(work, _tensor_groups(request, finished, outcome.recovered))
        record = write_companions(
            work, request, outcome, time.monotonic() - started, peak_rss_bytes()
        )
        shutil.rmtree(work / LAYERS)
    return PruneResult(out, source.spec, request.after, outcome, record)


def _tensor_groups(
    request: Request, finished: LayerStore, recovered: bool
) -> Iterator[dict[str, Tensor]]:
    """The result's tensors by full name: the outer ones, then layer by layer."""
    source = request.source
    yield source.outer_tensors()
    for index, shape in enumerate(source.spec.layers):
        layer = finished.load(index)
        tensors = layer.tensors
        if not recovered:
            dense = source.layer_tensors(index)
            plain = plain_layer(dense, source.family, shape, layer.kept)
            tensors = with_zero_biases(plain, request.after)
        prefix = families.layer_prefix(index)
        yield {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


class Pruner:
    """The loop over the layers; holds the activations between them."""

    def __init__(self, request: Request, finished: LayerStore, progress: Progress) -> None:
        self._request = request
        self._finished = finished
        self._progress = progress
        self._source = request.source
        self._device = request.device
        self._count = len(request.after.layers)
        outer = self._source.outer(self._device)
        rotary = Rotary(families.rotary_embedding(outer), self._device)
        self._blocks = [Block(self._source.family, part, rotary) for part in PARTS]
        self._judge = Judge(outer, self._blocks, self._dense_layer, self._count, self._device)
        self._has_plain = request.settings.recovery != NONE
        embedding = families.embedding(outer)
        streams = [DENSE, PRUNED]
        samples = request.samples
        self._calibration = start_batches(samples.training, embedding, streams, self._device)
        streams += [PLAIN] * self._has_plain
        self._held_out = start_batches(samples.held_out, embedding, streams, self._device)

    def run(self) -> Outcome:
        """Prune every layer, or replay it where it is finished, then judge the whole."""
        done = sum(self._finished.has(index) for index in range(self._count))
        if done:
            self._progress.note(f"going on after {done} finished layers")
        with self._progress.task("running the dense model", None):
            self._judge.set_reference(self._held_out)
        kept: list[Kept] = []
        decisions: list[Decision] = []
        with self._progress.task("pruning layers", self._count) as task:
            for index in range(self._count):
                layer = self._layer(index)
                kept.append(layer.kept)
                decisions += layer.decisions
                task.advance()
        return self._judged(kept, decisions)

    def _judged(self, kept: list[Kept], decisions: list[Decision]) -> Outcome:
        names = [PRUNED, PLAIN] if self._has_plain else [PRUNED]
        ends = [{name: batch.hidden[name] for name in names} for batch in self._held_out]
        divergence = self._judge.divergences(self._held_out, ends, self._count)
        best = min(names, key=divergence.__getitem__)
        return Outcome(
            kept=kept,
            decisions=decisions,
            held_out_kl=divergence[best],
            held_out_kl_recovered=divergence[PRUNED],
            held_out_kl_unrecovered=divergence[names[-1]],
            recovered=best == PRUNED,
            before=self._judge.perplexity(self._held_out, DENSE),
            after=self._judge.perplexity(self._held_out, best),
        )

    def _dense_layer(self, index: int) -> nn.Module:
        return self._source.layer(index, self._device)

    def _layer(self, index: int) -> FinishedLayer:
        tensors = self._source.layer_tensors(index)
        dense = self._source.layer_from(index, tensors, self._device)
        if self._finished.has(index):
            layer = self._finished.load(index)
            for block in self._blocks:
                self._advance_(block, index, dense, layer.tensors)
        else:
            layer = self._prune_layer(index, tensors, dense)
            self._finished.save(index, layer)
        if self._has_plain:
            shape = self._source.spec.layers[index]
            cut_only = plain_layer(tensors, self._source.family, shape, layer.kept)
            plain = self._source.layer_from(index, cut_only, self._device)
            for block in self._blocks:
                advance_(self._held_out, block, {PLAIN: plain}, self._device)
        return layer

    def _prune_layer(
        self, index: int, tensors: dict[str, Tensor], dense: nn.Module
    ) -> FinishedLayer:
        # From the start, so that a resumed run computes with the very same operations.
        tensors = with_zero_biases(tensors, self._request.after)
        kept = {}
        decisions = []
        for block in self._blocks:
            tensors, units, decision = self._step(index, block, tensors, dense)
            kept[block.part] = units
            decisions.append(decision)
            self._advance_(block, index, dense, tensors)
        return FinishedLayer(tensors, Kept(*(kept[part] for part in PARTS)), decisions)

    def _advance_(
        self, block: Block, index: int, dense: nn.Module, tensors: dict[str, Tensor]
    ) -> None:
        pruned = self._source.layer_from(index, tensors, self._device)
        for batches in (self._calibration, self._held_out):
            advance_(batches, block, {DENSE: dense, PRUNED: pruned}, self._device)

    def _step(
        self, index: int, block: Block, tensors: dict[str, Tensor], dense: nn.Module
    ) -> tuple[dict[str, Tensor], Tensor, Decision]:
        """Prune and recover one block: the layer's new tensors, the kept units, the record."""
        part = block.part
        shape, after = self._source.spec.layers[index], self._request.after.layers[index]
        before, count = unit_count(shape, part), unit_count(after, part)
        if count == before:
            note = "every unit stays; nothing to recover"
            decision = Decision(index, part, count, before, NONE, notes=[note])
            return tensors, torch.arange(before), decision
        statistics = collect(block, dense, self._calibration, self._device)
        projection = block.projection(dense)
        weight = projection.weight.cpu().double().T
        score = partial(self._request.score, statistics, weight)
        units = choose_units(score, shape, after, part)
        columns = expand(units, unit_width(shape, part))
        narrow = cut(tensors, self._source.family, shape, part, units)
        found, notes = candidates(
            self._request.recover, statistics, weight, columns, projection.bias is not None
        )
        results, overflows = as_stored(narrow, block.projection_name, found)
        divergences = self._compare(index, block, dense, columns, results)
        chosen = min(divergences, key=divergences.__getitem__)
        notes += overflows
        decision = Decision(index, part, count, before, chosen, divergences, notes)
        return results[chosen], units, decision

    def _compare(
        self,
        index: int,
        block: Block,
        dense: nn.Module,
        columns: Tensor,
        results: dict[str, dict[str, Tensor]],
    ) -> dict[str, float]:
        """Held-out KL of each candidate, with the rest of the model still dense."""
        rows = columns.to(self._device)
        ends = []
        for batch in self._held_out:
            hidden = batch.hidden[PRUNED].to(self._device)
            inputs = block.branch(dense, hidden)[0][..., rows]
            ends.append(
                {
                    name: block.join(dense, hidden, block.project(inputs, tensors)).cpu()
                    for name, tensors in results.items()
                }
            )
        later = self._blocks[self._blocks.index(block) + 1 :]
        rest = [(next_block, dense) for next_block in later]
        return self._judge.divergences(self._held_out, ends, index + 1, rest)
