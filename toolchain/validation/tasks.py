"""Paired tasks of the quality gate: which there are, both models' answers, the decision."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from toolchain.embedded import MODEL_DIR
from toolchain.errors import BadRequestError, MissingError, missing_modules
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.progress import SILENT, Progress
from toolchain.validation.evidence import (
    GENERATION,
    KNOWLEDGE,
    PairedCounts,
    TaskResult,
)
from toolchain.validation.items import read_task
from toolchain.validation.margins import task_margin
from toolchain.validation.noninferiority import POWER
from toolchain.validation.paired import PairedTest, paired_test
from toolchain.validation.parity import same_model
from toolchain.validation.story_tasks import STORY_TASKS, story_task
from toolchain.validation.verdict import FAIL, PASS, Finding, GateResult, Measure

if TYPE_CHECKING:
    from toolchain.validation.scoring import TextScorer

DEFAULT = "default"
NONE = "none"


class Task(Protocol):
    """Items that two models answer alike."""

    @property
    def name(self) -> str:
        """What it goes by in margins and tables."""
        ...

    @property
    def kind(self) -> str:
        """One of `evidence.KINDS`."""
        ...

    @property
    def source(self) -> str:
        """`builtin`, `lm-eval`, or the file."""
        ...

    @property
    def metric(self) -> str:
        """What makes an answer right."""
        ...

    @property
    def chance(self) -> float | None:
        """Accuracy of guessing, None where there is none."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of everything that decides the answers."""
        ...

    @property
    def size(self) -> int:
        """How many items."""
        ...

    def answers(self, scorer: TextScorer, progress: Progress = SILENT) -> list[bool]:
        """Which items a model has right, in order."""
        ...


def open_tasks(names: Sequence[str], reference: Checkpoint, limit: int | None) -> list[Task]:
    """The tasks that are asked for.

    Args:
        names: `default`, `none`, names of STORY_TASKS, JSON-lines files, or names that
            lm-evaluation-harness knows.
        reference: the dense model, for which `default` is the story tasks if it is the embedded
            one, and nothing otherwise.
        limit: most items of a task.

    Raises:
        BadRequestError: an unknown name, a file that is no task, the same name twice.
        MissingError: a name of lm-evaluation-harness, which is not installed or has no data here.
    """
    wanted: list[str] = []
    for name in names:
        wanted += _default(reference) if name == DEFAULT else [] if name == NONE else [name]
    tasks = [_open(name, limit) for name in wanted]
    opened = [task.name for task in tasks]
    twice = next((name for name in opened if opened.count(name) > 1), None)
    if twice is not None:
        raise BadRequestError(f"task '{twice}' is given twice", "give it once")
    return tasks


def _default(reference: Checkpoint) -> list[str]:
    embedded = open_checkpoint(MODEL_DIR).identity
    return list(STORY_TASKS) if same_model(reference.identity, embedded) else []


def _open(name: str, limit: int | None) -> Task:
    if name in STORY_TASKS:
        return story_task(name).limited(limit)
    if name.endswith(".jsonl"):
        return read_task(Path(name)).limited(limit)
    if missing_modules("tasks"):
        raise MissingError(
            f"'{name}' is neither a task of paredown ({', '.join(STORY_TASKS)}) nor a .jsonl file; "
            "the tasks of lm-evaluation-harness need lm_eval, which is not installed",
            "pip install 'paredown[tasks]'",
        )
    from toolchain.validation.lm_eval_adapter import open_lm_eval_task

    return open_lm_eval_task(name, limit)


def run_tasks(
    tasks: Sequence[Task],
    dense: TextScorer,
    artifact: TextScorer,
    margins: Mapping[str, float],
    alpha: float,
    progress: Progress = SILENT,
) -> tuple[list[TaskResult], dict[str, float]]:
    """Both models' answers to every task, and the seconds each took."""
    results, seconds = [], {}
    for task in tasks:
        started = time.perf_counter()
        expected = task.answers(dense, progress)
        between = time.perf_counter()
        found = task.answers(artifact, progress)
        seconds[f"{task.name}_dense"] = round(between - started, 3)
        seconds[f"{task.name}_artifact"] = round(time.perf_counter() - between, 3)
        results.append(_result(task, expected, found, task_margin(margins, task.name), alpha))
    return results, seconds


def _result(
    task: Task, dense: Sequence[bool], artifact: Sequence[bool], margin: float, alpha: float
) -> TaskResult:
    pairs = list(zip(dense, artifact, strict=True))
    counts = PairedCounts(
        items=len(pairs),
        dense_right=sum(dense),
        artifact_right=sum(artifact),
        lost=pairs.count((True, False)),
        gained=pairs.count((False, True)),
    )
    test = paired_test(counts, margin, alpha)
    return TaskResult(
        name=task.name,
        kind=task.kind,
        source=task.source,
        metric=task.metric,
        counts=counts,
        margin=margin,
        lower=test.lower,
        upper=test.upper,
        outcome=test.outcome,
        items_needed=test.items_needed,
        chance=task.chance,
    )


def task_gate(result: TaskResult, alpha: float) -> GateResult:
    """G2 of one task."""
    counts = result.counts
    rule = (
        f"at {1 - alpha:.4g} confidence the artifact answers at most {result.margin:.4g} of all "
        "items fewer right than the dense model: Tango's lower bound of the paired difference > "
        "-margin"
    )
    sentence = _sentence(result, paired_test(counts, result.margin, alpha), alpha)
    measures = {
        "items": Measure(counts.items),
        "dense_accuracy": Measure(counts.dense_right / counts.items),
        "artifact_accuracy": Measure(counts.artifact_right / counts.items),
        "accuracy_difference": Measure(counts.difference, None, result.lower, result.upper),
        "lost": Measure(counts.lost),
        "gained": Measure(counts.gained),
        "items_needed": Measure(result.items_needed),
    }
    finding = Finding(result.name, result.outcome == PASS, sentence)
    title = f"{result.kind} task {result.name}"
    return GateResult("G2", title, rule, result.outcome, sentence, [finding], measures)


def _sentence(result: TaskResult, test: PairedTest, alpha: float) -> str:
    counts = result.counts
    found = (
        f"{result.name}: {counts.artifact_right} of {counts.items} right, the dense model "
        f"{counts.dense_right} ({counts.lost} lost, {counts.gained} gained)"
    )
    sure = f"at {1 - alpha:.4g} confidence"
    if test.outcome == PASS:
        return f"{found}, at worst {test.lower:+.1%} {sure}, within -{test.margin:.4g}"
    if test.outcome == FAIL:
        return f"{found}, at best {test.upper:+.1%} {sure}, beyond -{test.margin:.4g}"
    between = f"between {test.lower:+.1%} and {test.upper:+.1%}"
    return f"{found}, {between}, which leaves -{test.margin:.4g} open; {_way_out(test)}"


def _way_out(test: PairedTest) -> str:
    if test.items_needed is None:
        return "the estimate is so near the margin that no number of items is likely to settle it"
    needed = f"about {test.items_needed} items would settle it with probability {POWER:.0%}"
    if test.leans_to_fail:
        return f"the estimate itself is beyond the margin: {needed}, and rather to a FAIL"
    return f"{needed}, if the estimate holds"


def coverage_notes(results: Sequence[TaskResult]) -> list[str]:
    """What this set of tasks cannot see, in plain words."""
    kinds = {result.kind for result in results}
    notes = [
        f"no {kind} task: a loss of {what} that perplexity does not show goes unseen"
        for kind, what in (
            (KNOWLEDGE, "knowledge"),
            (GENERATION, "the ability to write an answer"),
        )
        if kind not in kinds
    ]
    for result in results:
        accuracy = result.counts.dense_right / result.counts.items
        slack = 1.645 * (accuracy * (1 - accuracy) / result.counts.items) ** 0.5
        if result.chance is not None and accuracy - slack <= result.chance:
            notes.append(
                f"{result.name}: the dense model ({accuracy:.1%}) is not above guessing "
                f"({result.chance:.1%}), so this task cannot show a loss"
            )
        elif accuracy < result.margin:
            notes.append(
                f"{result.name}: the dense model has {accuracy:.1%} right, less than the margin: "
                "nothing that could be lost would be too much"
            )
    return notes
