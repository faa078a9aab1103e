"""What is tuned over all layers together once every layer is pruned: masks, and `--tune`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from toolchain.pruning.distil import (
    Adaptation,
    Lesson,
    PrunedModel,
    Training,
    fold,
    lessons,
    train,
)
from toolchain.pruning.effort import BATCH_SEQUENCES, MASK_PASSES, tunes_masks
from toolchain.pruning.flow import DENSE
from toolchain.pruning.joint import Masks
from toolchain.pruning.layers import TensorStore
from toolchain.pruning.structure import Structure
from toolchain.pruning.tune import Lora, Norms
from toolchain.pruning.workbench import Tensors, Workbench
from toolchain.store import write_json

JOINT_MASKS = "joint_masks"
MASK_LEARNING_RATE = 3e-3
NORM_LEARNING_RATE = 3e-3
LORA_LEARNING_RATE = 1e-3

Read = Callable[[int], Tensors]


@dataclass
class Polished:
    """What each stage made of the layers, and its record."""

    readers: dict[str, Read] = field(default_factory=dict)
    """Tensors of the layer at each place, by stage; only stages that helped."""
    records: list[dict[str, Any]] = field(default_factory=list)


def polish(bench: Workbench, structure: Structure, read: Read) -> Polished:
    """Tune the pruned model whose layer at each place `read` gives, as the settings ask.

    Each stage starts from what the one before left, and is dropped where held-out text does not
    prefer it. A stage that is finished already is not done again.
    """
    out = Polished()
    text: tuple[list[Lesson], list[Lesson]] | None = None
    for name, (adaptation, how) in _stages(bench).items():
        store = TensorStore(bench.work / name)
        done = bench.work / f"{name}.json"
        if not done.is_file():
            text = text or _taught(bench)
            record = _tuned(bench, structure, read, adaptation, how, text, store)
            write_json(done, {"stage": name, **record})
        out.records.append(json.loads(done.read_text(encoding="utf-8")))
        if out.records[-1]["best"]["step"] > 0:
            read = out.readers[name] = store.load
    return out


def _stages(bench: Workbench) -> dict[str, tuple[Adaptation, Training]]:
    settings, family = bench.settings, bench.source.family
    stages: dict[str, tuple[Adaptation, Training]] = {}
    if tunes_masks(bench.source.spec, settings, bench.device):
        each = math.ceil(len(bench.samples.training) / BATCH_SEQUENCES)
        how = Training(MASK_PASSES * each, MASK_LEARNING_RATE, seed=settings.seed)
        stages[JOINT_MASKS] = Masks(family), how
    if settings.tune != "none":
        adaptation: Adaptation = Norms(family) if settings.tune == "norms" else Lora(family)
        rate = NORM_LEARNING_RATE if settings.tune == "norms" else LORA_LEARNING_RATE
        how = Training(settings.steps, rate, seed=settings.seed)
        stages[settings.tune] = adaptation, how
    return stages


def _taught(bench: Workbench) -> tuple[list[Lesson], list[Lesson]]:
    """Calibration and held-out text with what the dense model makes of it."""
    text = []
    samples = bench.samples
    for name, sequences in (("taught", samples.training), ("examined", samples.held_out)):
        batches = bench.batches(sequences, [DENSE], name)
        for index in range(bench.layer_count):
            bench.through_(batches, DENSE, bench.dense_layer(index))
        text.append(lessons(batches, DENSE))
    return text[0], text[1]


def _tuned(
    bench: Workbench,
    structure: Structure,
    read: Read,
    adaptation: Adaptation,
    how: Training,
    text: tuple[list[Lesson], list[Lesson]],
    store: TensorStore,
) -> dict[str, Any]:
    """Train, write the folded layers where it helped, and say what happened."""

    model = PrunedModel(
        bench.decoder(len(structure.layers)),
        read,
        lambda place, tensors: bench.source.layer_from(
            structure.layers[place], tensors, bench.device
        ),
    )
    trained = train(model, adaptation, *text, how, bench.progress)
    if trained.best.step > 0:
        for place, parameters in enumerate(trained.parameters):
            store.save(place, fold(adaptation, read(place), parameters))
    return {
        "steps": how.steps,
        "batch_sequences": how.batch_sequences,
        "learning_rate": how.learning_rate,
        "best": asdict(trained.best),
        "checks": [asdict(check) for check in trained.checks],
    }
