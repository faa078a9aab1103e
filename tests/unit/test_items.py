"""Local tasks: the form of the file, what makes an answer right, both scorers, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from runtime_py.bundle import open_bundle
from runtime_py.engines import Engine, open_engine
from toolchain.embedded import MODEL_DIR
from toolchain.errors import BadRequestError
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.progress import SILENT, Progress
from toolchain.validation.evidence import GENERATION, KNOWLEDGE, LANGUAGE, PairedCounts
from toolchain.validation.items import Choice, Cloze, ItemTask, Writing, read_task
from toolchain.validation.scoring import (
    EngineScorer,
    GenerationRequest,
    Scored,
    TextScorer,
    TorchScorer,
)
from toolchain.validation.story_tasks import PROBES, STORY_TASKS, WRITTEN, story_task
from toolchain.validation.tasks import coverage_notes, open_tasks, run_tasks

FORM = [
    {"task": {"name": "mine", "kind": "knowledge", "normalise": "tokens", "match": "contains"}},
    {"context": "The cat sat on the", "choices": [" mat.", " moon."], "gold": 1},
    {"good": "The cats sleep.", "bad": "The cats sleeps."},
    {"context": "He put the key into the", "target": " lock"},
    {"prompt": "2 + 3 =", "answer": "5", "until": ["."], "max_new_tokens": 4},
    {"prompt": "One", "answer": ["two", "three"]},
]


def write(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def reference() -> Checkpoint:
    return open_checkpoint(MODEL_DIR)


@pytest.fixture(scope="module")
def engine(embedded_bundle: Callable[[str], Path]) -> Engine:
    bundle = embedded_bundle("onnx")
    return open_engine(bundle, open_bundle(bundle))


@pytest.fixture(scope="module")
def scorers(engine: Engine, reference: Checkpoint) -> tuple[TextScorer, TextScorer]:
    """The dense model in torch, and its export."""
    tokenizer, (_, eos) = reference.tokenizer(), reference.special_ids()
    dense = TorchScorer(reference.load, engine.vocab_size, engine.context_length)
    return (
        TextScorer(dense, tokenizer, tuple(eos)),
        TextScorer(EngineScorer(engine), tokenizer, tuple(eos)),
    )


class _Fixed:
    """A `TokenScorer` whose answers are known."""

    context_length = 64

    def __init__(self, nats: Sequence[float], written: Sequence[int] = ()) -> None:
        self._nats, self._written = list(nats), list(written)

    def log_likelihoods(
        self, requests: Sequence[tuple[list[int], list[int]]], progress: Progress = SILENT
    ) -> list[Scored]:
        del progress
        return [Scored(n, n > -1) for n in self._nats[: len(requests)]]

    def greedy(
        self, prompt: list[int], max_new_tokens: int, done: Callable[[list[int]], bool]
    ) -> list[int]:
        del prompt
        for count in range(1, max_new_tokens + 1):
            if done(self._written[:count]) or count == len(self._written):
                return self._written[:count]
        return self._written[:max_new_tokens]


def fixed(reference: Checkpoint, nats: Sequence[float], text: str = "") -> TextScorer:
    tokenizer = reference.tokenizer()
    written = tokenizer.encode(text, add_special_tokens=False)
    return TextScorer(_Fixed(nats, written), tokenizer, (1,))


def test_the_documented_form(tmp_path: Path) -> None:
    task = read_task(write(tmp_path / "file.jsonl", FORM))
    assert (task.name, task.kind, task.normalise, task.match) == (
        "mine",
        KNOWLEDGE,
        "tokens",
        "contains",
    )
    assert task.items == (
        Choice("The cat sat on the", (" mat.", " moon."), 1),
        Choice("", ("The cats sleep.", "The cats sleeps."), 0),
        Cloze("He put the key into the", " lock"),
        Writing("2 + 3 =", ("5",), (".",), 4),
        Writing("One", ("two", "three"), ("\n",), 32),
    )


def test_what_a_file_does_not_say_has_a_default(tmp_path: Path) -> None:
    task = read_task(write(tmp_path / "pairs.jsonl", FORM[2:3]))
    assert (task.name, task.kind, task.metric, task.chance) == ("pairs", LANGUAGE, "acc", 0.5)
    written = read_task(write(tmp_path / "w.jsonl", FORM[4:5]))
    assert (written.kind, written.metric, written.chance) == (GENERATION, "prefix", None)
    longer = read_task(write(tmp_path / "n.jsonl", [{"task": {"normalise": "tokens"}}, FORM[2]]))
    assert longer.metric == "acc per token"


def test_the_hash_is_of_the_items_and_not_of_the_file(tmp_path: Path) -> None:
    one = read_task(write(tmp_path / "one.jsonl", FORM))
    other = read_task(write(tmp_path / "other.jsonl", FORM))
    assert one.sha256 == other.sha256
    changed = read_task(write(tmp_path / "changed.jsonl", [{"task": {}}, *FORM[1:]]))
    assert changed.sha256 != one.sha256  # other rules
    assert one.limited(3).sha256 != one.sha256
    assert one.limited(99) is one
    assert one.limited(2).items == (one.items[0], one.items[2])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no items"),
        ([{"task": {}}], "has no items"),
        ([{"task": {"kinds": "x"}}, FORM[2]], "unknown key 'kinds'; did you mean 'kind'"),
        ([{"task": {"match": "suffix"}}, FORM[4]], "match is 'suffix'"),
        ([{"context": "a", "choices": ["b"], "gold": 0}], "line 1 is no item: gold 0 of 1"),
        ([{"context": "a", "choices": ["b", "c"], "gold": 2}], "gold 2 of 2"),
        ([{"context": "a", "choices": ["b", "c"]}], "line 1 is no item: 'gold'"),
        ([{"context": "a", "choices": ["b", ""], "gold": 0}], "an empty text"),
        ([{"good": "a", "bad": 3}], "3 is not a text"),
        ([{"text": "a"}], "neither choices, good, target nor prompt"),
        ([FORM[2], [1, 2]], "line 2 is not an object"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(
    rows: list[object], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "task.jsonl", rows)
    with pytest.raises(BadRequestError, match=message) as caught:
        read_task(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_not_json(tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="cannot read task"):
        read_task(tmp_path / "no.jsonl")
    (tmp_path / "task.jsonl").write_text("{nonsense")
    with pytest.raises(BadRequestError, match="line 1 is not JSON"):
        read_task(tmp_path / "task.jsonl")


@pytest.mark.parametrize(
    ("nats", "gold", "normalise", "right"),
    [
        ([-1.0, -2.0], 0, "none", True),
        ([-1.0, -2.0], 1, "none", False),
        ([-2.0, -2.0], 0, "none", False),  # a tie is no answer
        ([-6.0, -2.5], 0, "characters", True),  # a long choice and a short one
        ([-6.0, -2.5], 0, "none", False),
    ],
)
def test_a_choice_is_right_if_it_alone_is_likeliest(
    nats: list[float], gold: int, normalise: str, right: bool, reference: Checkpoint
) -> None:
    item = Choice("The boy saw a", (" big brown bear.", " cat."), gold)
    task = ItemTask("t", LANGUAGE, "here", (item,), normalise=normalise)
    assert task.answers(fixed(reference, nats)) == [right]


@pytest.mark.parametrize(
    ("match", "text", "right"),
    [
        ("exact", " red box ", True),
        ("exact", " red box now", False),
        ("prefix", " red box now", True),
        ("prefix", " the red box", False),
        ("contains", " the red box", True),
        ("contains", " the blue box", False),
    ],
)
def test_how_a_written_text_is_held_against_the_answer(
    match: str, text: str, right: bool, reference: Checkpoint
) -> None:
    item = Writing("He took the", ("blue cup", "red box"), (".",), 16)
    task = ItemTask("t", GENERATION, "here", (item,), match=match)
    assert task.answers(fixed(reference, [], text)) == [right]


def test_text_ends_before_its_stop_and_at_the_end_of_text(reference: Checkpoint) -> None:
    scorer = fixed(reference, [], " red box. Then he ran")
    assert scorer.generate([GenerationRequest("He took the", (".",), 16)]) == [" red box"]
    ended = TextScorer(
        _Fixed([], [*reference.tokenizer().encode(" red"), 1, 44]), scorer.tokenizer, (1,)
    )
    assert ended.generate([GenerationRequest("He took the", (), 16)])[0].strip() == "red"


def test_the_export_answers_as_its_model(scorers: tuple[TextScorer, TextScorer]) -> None:
    dense, artifact = scorers
    for name in STORY_TASKS:
        task = story_task(name, 12)
        assert task.answers(artifact) == task.answers(dense)


def test_a_shared_start_is_run_once_and_changes_nothing(
    engine: Engine, scorers: tuple[TextScorer, TextScorer]
) -> None:
    dense, artifact = scorers
    start = "Once there was a little boy named Tom. One day he went to the park and saw a"
    ends = (" dog.", " dog that barked.", " cat.", "nother boy.", " big red ball.")
    pairs = [(start, end) for end in ends]

    class Counting:
        """Counts the tokens that the engine is given."""

        def __init__(self) -> None:
            self.fed = 0

        def __getattr__(self, name: str) -> object:
            found = getattr(engine, name)
            if name not in {"prefill", "prefill_last"}:
                return found

            def counted(ids: Sequence[int]) -> object:
                self.fed += len(ids)
                return found(ids)

            return counted

        def rewind(self, position: int) -> None:
            engine.rewind(position)  # type: ignore[attr-defined]

    counting = Counting()
    scorer = TextScorer(EngineScorer(counting), artifact.tokenizer, (1,))  # type: ignore[arg-type]
    found = scorer.log_likelihoods(pairs)
    alone = [dense.log_likelihoods([pair])[0] for pair in pairs]
    for shared, separate in zip(found, alone, strict=True):
        assert shared.log_likelihood == pytest.approx(separate.log_likelihood, abs=1e-3)
        assert shared.greedy == separate.greedy
    once = len(artifact.encode(start))
    assert counting.fed < once + sum(len(artifact.encode(end)) for end in ends) + len(ends)


def test_likelihoods_equal_brute_force_and_long_contexts_are_cut_from_the_left(
    scorers: tuple[TextScorer, TextScorer], reference: Checkpoint
) -> None:
    model = reference.load()
    story = "Tom had a red ball. He put the ball into the box. " * 12
    for context, end in (("Tom had a", " red ball."), (story, " Then he ran home.")):
        ids, wanted = scorers[0].pair(context, end)
        whole = (ids + wanted)[-129:]
        with torch.inference_mode():
            logs = model(torch.tensor([whole[:-1]])).logits[0].double().log_softmax(-1)
        expected = sum(
            float(logs[len(whole) - 1 - len(wanted) + i, token]) for i, token in enumerate(wanted)
        )
        for scorer in scorers:
            found = scorer.log_likelihoods([(context, end)])[0]
            assert found.log_likelihood == pytest.approx(expected, abs=1e-3)


def test_the_default_tasks_ask_for_language_knowledge_and_writing(reference: Checkpoint) -> None:
    tasks = open_tasks(["default"], reference, 5)
    assert [task.kind for task in tasks] == [LANGUAGE, KNOWLEDGE, GENERATION]
    assert [task.size for task in tasks] == [5, 5, 5]
    assert open_tasks(["none"], reference, 5) == []
    assert set(PROBES) | {WRITTEN} == set(STORY_TASKS)
    with pytest.raises(BadRequestError, match="given twice"):
        open_tasks(["default", WRITTEN], reference, 5)


def test_both_models_answers_make_the_counts(reference: Checkpoint) -> None:
    items = tuple(Choice("a", (" b", " c"), 0) for _ in range(4))
    task = ItemTask("t", LANGUAGE, "here", items)
    dense = fixed(reference, [-1, -2, -1, -2, -1, -2, -2, -1])
    artifact = fixed(reference, [-1, -2, -2, -1, -2, -1, -1, -2])
    margins = {"ppl": 0.1, "tasks": 0.05, "t": 0.6, "generation": 0.2}
    (result,), seconds = run_tasks([task], dense, artifact, margins, 0.05)
    assert result.counts == PairedCounts(4, 3, 2, 2, 1)
    assert result.margin == 0.6
    assert set(seconds) == {"t_dense", "t_artifact"}
    notes = coverage_notes([result])
    assert any("no knowledge task" in note for note in notes)
    assert any("no generation task" in note for note in notes)
    assert any("not above guessing" in note for note in notes)
