"""Prune a checkpoint: search what is open, go through the layers, polish, measure, write."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from runtime_py.sensors import peak_rss_bytes
from toolchain import store
from toolchain.model.checkpoint import Checkpoint
from toolchain.model.pad import pad_layer
from toolchain.model.shards import save_weights
from toolchain.progress import SILENT, Progress
from toolchain.pruning.layers import LayerStore, plain_layer, with_zero_biases
from toolchain.pruning.polish import polish
from toolchain.pruning.request import check_request, saved_shapes
from toolchain.pruning.result import Outcome, PruneResult, write_companions
from toolchain.pruning.search import Search
from toolchain.pruning.step import NONE
from toolchain.pruning.stream import Pruner
from toolchain.pruning.structure import Structure
from toolchain.pruning.workbench import Tensors, Workbench
from toolchain.recipe import PruneSettings

RECOVERED, UNRECOVERED = "recovered", "unrecovered"


def prune_checkpoint(
    source: Checkpoint, settings: PruneSettings, out: Path, progress: Progress = SILENT
) -> PruneResult:
    """Prune `source` into a compact checkpoint.

    An interrupted call leaves its finished layers and drafts beside `out`; the next call with the
    same inputs goes on after them and ends with the same weights, byte for byte.

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
    with store.resumable_directory(out, request.inputs_sha256) as folder, torch.no_grad():
        work = folder / "work"
        work.mkdir(exist_ok=True)
        bench = Workbench(request, work, progress)
        outcome, read = _prune(bench)
        save_weights(folder, _tensor_groups(bench, outcome.choice.structure, read))
        seconds = time.monotonic() - started
        record = write_companions(folder, request, outcome, seconds, peak_rss_bytes())
        shutil.rmtree(work)
    return PruneResult(out, source.spec, outcome, record)


def _prune(bench: Workbench) -> tuple[Outcome, Callable[[int], Tensors]]:
    """What the pruning came to, and the tensors of the layer at each place of the result."""
    search = Search(bench)
    choice = search.best()
    structure = choice.structure
    finished = LayerStore(bench.work / "layers")
    pruner = Pruner(bench, structure, search.method(choice), finished)
    layers = pruner.run(bench.progress, "pruning layers")
    del pruner  # and with it the activations

    readers: dict[str, Callable[[int], Tensors]] = {
        RECOVERED: lambda place: finished.load(structure.layers[place]).tensors
    }
    if choice.recovery != NONE:
        readers[UNRECOVERED] = partial(_plain, bench, structure, finished)
    measured = {name: bench.measure(structure, read) for name, read in readers.items()}
    best = min(measured, key=lambda name: measured[name].kl)
    polished = polish(bench, structure, readers[best])
    for name, read in polished.readers.items():
        readers[name] = read
        measured[name] = bench.measure(structure, read)
    best = min(measured, key=lambda name: measured[name].kl)
    outcome = Outcome(
        choice=choice,
        drafts=list(search.tried.values()),
        kept=[layer.kept for layer in layers],
        decisions=[decision for layer in layers for decision in layer.decisions],
        polish=polished.records,
        measured=measured,
        best=best,
        before=bench.dense_perplexity,
    )
    return outcome, readers[best]


def _plain(bench: Workbench, structure: Structure, finished: LayerStore, place: int) -> Tensors:
    """The layer at `place`, cut with no recovery."""
    index = structure.layers[place]
    shape = bench.source.spec.layers[index]
    tensors = bench.scaled_tensors(structure, place)
    plain = plain_layer(tensors, bench.source.family, shape, finished.load(index).kept)
    return with_zero_biases(plain, structure.spec)


def _tensor_groups(
    bench: Workbench, structure: Structure, read: Callable[[int], Tensors]
) -> Iterator[dict[str, Tensor]]:
    """The result's tensors by full name: the outer ones, then layer by layer."""
    source, family = bench.source, bench.source.family
    yield {source.saved_name(name): value for name, value in source.outer_tensors().items()}
    saved = saved_shapes(source, structure, bench.settings)
    for place, (shape, target) in enumerate(zip(structure.spec.layers, saved, strict=True)):
        tensors = read(place)
        if shape != target:
            tensors = pad_layer(tensors, family, shape, target)
        prefix = family.layer_prefix(place)
        yield {source.saved_name(f"{prefix}{name}"): value for name, value in tensors.items()}
