"""Paired tasks from JSON lines: local files, and those made from the embedded stories.

The form is written down in docs/gates.md. Torch-free.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime_py.schema import sha256_of_json, to_json
from toolchain.errors import BadRequestError, did_you_mean
from toolchain.progress import SILENT, Progress
from toolchain.validation.evidence import GENERATION, KINDS, LANGUAGE

if TYPE_CHECKING:
    from toolchain.validation.scoring import TextScorer

MATCHES = ("exact", "prefix", "contains")
NORMALISATIONS = ("none", "characters", "tokens")
DEFAULT_NEW_TOKENS = 32


@dataclass(frozen=True)
class Choice:
    """Right if `choices[gold]` is the likeliest continuation of `context`."""

    context: str
    choices: tuple[str, ...]
    gold: int


@dataclass(frozen=True)
class Cloze:
    """Right if greedy decoding writes `target` after `context`."""

    context: str
    target: str


@dataclass(frozen=True)
class Writing:
    """Right if the greedy text after `prompt` matches one of `answers`."""

    prompt: str
    answers: tuple[str, ...]
    until: tuple[str, ...]
    max_new_tokens: int


Item = Choice | Cloze | Writing


@dataclass(frozen=True)
class ItemTask:
    """Items of one form with what they share."""

    name: str
    kind: str
    source: str
    items: tuple[Item, ...]
    normalise: str = "none"
    """Log-likelihoods of choices: as they are, per character, or per token."""
    match: str = "prefix"
    """How a written text is held against the answers, spaces at both ends stripped."""

    @property
    def metric(self) -> str:
        """What makes an answer right."""
        if self.kind == GENERATION:
            return self.match
        return "acc" if self.normalise == "none" else f"acc per {self.normalise.removesuffix('s')}"

    @property
    def chance(self) -> float | None:
        """Accuracy of guessing; None unless every item is a choice."""
        counts = [len(item.choices) for item in self.items if isinstance(item, Choice)]
        if not counts or len(counts) < len(self.items):
            return None
        return sum(1 / count for count in counts) / len(counts)

    @property
    def sha256(self) -> str:
        """Hash of everything that decides the answers; neither name nor source."""
        return sha256_of_json(
            {"items": to_json(list(self.items)), "rules": [self.normalise, self.match]}
        )

    @property
    def size(self) -> int:
        """How many items."""
        return len(self.items)

    def limited(self, limit: int | None) -> ItemTask:
        """At most `limit` items, spread evenly over all of them."""
        if limit is None or limit >= len(self.items):
            return self
        step = len(self.items) / limit
        items = tuple(self.items[int(i * step)] for i in range(limit))
        return replace(self, items=items)

    def answers(self, scorer: TextScorer, progress: Progress = SILENT) -> list[bool]:
        """Which items a model has right, in order."""
        kinds = {type(item) for item in self.items}
        right: dict[int, bool] = {}
        for kind, judge in _JUDGES.items():
            if kind in kinds:
                numbered = [(i, item) for i, item in enumerate(self.items) if type(item) is kind]
                found = judge(self, [item for _, item in numbered], scorer, progress)
                right |= dict(zip([i for i, _ in numbered], found, strict=True))
        return [right[i] for i in range(len(self.items))]


def _judge_choices(
    task: ItemTask, items: Sequence[Choice], scorer: TextScorer, progress: Progress
) -> list[bool]:
    pairs = [(item.context, choice) for item in items for choice in item.choices]
    scores = iter(scorer.log_likelihoods(pairs, progress))
    right = []
    for item in items:
        nats = [
            next(scores).log_likelihood / _length(task, item.context, c, scorer)
            for c in item.choices
        ]
        best = max(range(len(nats)), key=nats.__getitem__)
        right.append(best == item.gold and nats.count(nats[best]) == 1)
    return right


def _length(task: ItemTask, context: str, choice: str, scorer: TextScorer) -> int:
    if task.normalise == "characters":
        return max(len(choice), 1)
    return len(scorer.pair(context, choice)[1]) if task.normalise == "tokens" else 1


def _judge_cloze(
    task: ItemTask, items: Sequence[Cloze], scorer: TextScorer, progress: Progress
) -> list[bool]:
    del task
    pairs = [(item.context, item.target) for item in items]
    return [scored.greedy for scored in scorer.log_likelihoods(pairs, progress)]


def _judge_writing(
    task: ItemTask, items: Sequence[Writing], scorer: TextScorer, progress: Progress
) -> list[bool]:
    from toolchain.validation.scoring import GenerationRequest

    requests = [GenerationRequest(i.prompt, i.until, i.max_new_tokens) for i in items]
    texts = scorer.generate(requests, progress)
    return [
        any(_matches(task.match, text.strip(), answer.strip()) for answer in item.answers)
        for item, text in zip(items, texts, strict=True)
    ]


def _matches(rule: str, text: str, answer: str) -> bool:
    if rule == "exact":
        return text == answer
    return text.startswith(answer) if rule == "prefix" else answer in text


_JUDGES: dict[type[Item], Callable[[ItemTask, Any, TextScorer, Progress], list[bool]]] = {
    Choice: _judge_choices,
    Cloze: _judge_cloze,
    Writing: _judge_writing,
}


def read_task(path: Path) -> ItemTask:
    """Read a task from a JSON-lines file; its name is the file's.

    Raises:
        BadRequestError: no such file, a line that is no item (it is named), or no items.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequestError(f"cannot read task {path}: {error}", "give a JSON-lines file") from (
            error
        )
    rows = [(n, _object(path, n, line)) for n, line in enumerate(lines, 1) if line.strip()]
    header: dict[str, Any] = rows.pop(0)[1]["task"] if rows and "task" in rows[0][1] else {}
    items = tuple(_item(path, number, row) for number, row in rows)
    if not items:
        raise BadRequestError(f"task {path} has no items", "see docs/gates.md for the form")
    return _with_header(path, header, items)


def _with_header(path: Path, header: dict[str, Any], items: tuple[Item, ...]) -> ItemTask:
    known = {"name": None, "kind": KINDS, "normalise": NORMALISATIONS, "match": MATCHES}
    for key, value in header.items():
        if key not in known:
            raise BadRequestError(
                f"task {path}, line 1: unknown key '{key}'", did_you_mean(key, known)
            )
        allowed = known[key]
        if allowed is not None and value not in allowed:
            raise BadRequestError(
                f"task {path}, line 1: {key} is {value!r}", did_you_mean(str(value), allowed)
            )
    written = any(isinstance(item, Writing) for item in items)
    return ItemTask(
        name=str(header.get("name", path.stem)),
        kind=header.get("kind", GENERATION if written else LANGUAGE),
        source=str(path),
        items=items,
        normalise=header.get("normalise", "none"),
        match=header.get("match", "prefix"),
    )


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadRequestError(f"task {path}, line {number} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise BadRequestError(f"task {path}, line {number} is not an object")
    return row


def _item(path: Path, number: int, row: dict[str, Any]) -> Item:
    try:
        item = _parse(row)
    except (KeyError, TypeError, ValueError) as error:
        raise BadRequestError(
            f"task {path}, line {number} is no item: {error}", "see docs/gates.md for the form"
        ) from error
    return item


def _parse(row: dict[str, Any]) -> Item:
    if "choices" in row:
        choices, gold = _texts(row["choices"]), int(row["gold"])
        if len(choices) < 2 or not 0 <= gold < len(choices):
            raise ValueError(f"gold {gold} of {len(choices)} choices")
        return Choice(_text(row.get("context", "")), choices, gold)
    if "good" in row:
        return Choice("", (_text(row["good"]), _text(row["bad"])), 0)
    if "target" in row:
        return Cloze(_text(row["context"]), _text(row["target"]))
    if "prompt" in row:
        answer = row["answer"]
        return Writing(
            prompt=_text(row["prompt"]),
            answers=_texts([answer] if isinstance(answer, str) else answer),
            until=_texts(row.get("until", ["\n"])),
            max_new_tokens=int(row.get("max_new_tokens", DEFAULT_NEW_TOKENS)),
        )
    raise ValueError("it has neither choices, good, target nor prompt")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    found = tuple(_text(value) for value in values)
    if not all(found):
        raise ValueError("an empty text")
    return found
