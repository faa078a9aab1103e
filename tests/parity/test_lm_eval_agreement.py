"""lm-evaluation-harness: its own backend over the dense model, ours over the exported file."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime_py.bundle import open_bundle
from runtime_py.engines import open_engine
from toolchain.calibrate.sources import read_documents
from toolchain.embedded import MODEL_DIR
from toolchain.errors import BadRequestError, MissingError
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.validation.evidence import GENERATION, LANGUAGE
from toolchain.validation.items import Choice, Writing
from toolchain.validation.scoring import EngineScorer, TextScorer, TorchScorer
from toolchain.validation.story_tasks import WRITTEN, story_task
from toolchain.validation.tasks import open_tasks

pytest.importorskip("lm_eval", reason="lm_eval is not installed (extra `tasks`)")

CONTEXT = 128
CHOICES, WRITINGS, DOCUMENTS = 60, 12, 4

CHOICE_YAML = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{context}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
target_delimiter: ""
metric_list:
  - metric: acc
"""
WRITE_YAML = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
generation_kwargs: {{until: [".", ","], max_gen_toks: 8, do_sample: false}}
metric_list:
  - metric: exact_match
"""


@pytest.fixture(scope="module")
def reference() -> Checkpoint:
    return open_checkpoint(MODEL_DIR)


@pytest.fixture(scope="module")
def artifact(embedded_bundle: Callable[[str], Path], reference: Checkpoint) -> TextScorer:
    bundle = embedded_bundle("onnx")
    manifest = open_bundle(bundle)
    engine = open_engine(bundle, manifest)
    assert engine.context_length == CONTEXT
    eos = tuple(manifest.eos_token_ids)
    return TextScorer(EngineScorer(engine), reference.tokenizer(), eos)


@pytest.fixture(scope="module")
def harness_model(reference: Checkpoint) -> Any:
    """The harness's own Hugging Face backend, which needs packages that ours does not."""
    for package in ("accelerate", "peft"):
        pytest.importorskip(package, reason=f"{package} is not installed (lm_eval[hf])")
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=reference.load(),
        tokenizer=reference.tokenizer(),
        add_bos_token=True,
        max_length=CONTEXT,
        batch_size=4,
    )


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two tasks of the harness over local data: paths of their YAML files."""
    folder = tmp_path_factory.mktemp("tasks")
    chosen = list(story_task("stories_facts", CHOICES).items)
    written = list(story_task(WRITTEN, WRITINGS).items)
    rows: dict[str, list[dict[str, Any]]] = {"facts": [], "words": []}
    for number, item in enumerate(chosen):
        assert isinstance(item, Choice)
        flipped = number % 2  # the right one is not always the first
        choices = list(item.choices[::-1]) if flipped else list(item.choices)
        rows["facts"].append({"context": item.context, "choices": choices, "gold": flipped})
    for item in written:
        assert isinstance(item, Writing)
        rows["words"].append({"prompt": item.prompt, "answer": f" {item.answers[0]}"})
    found = {}
    for name, template in (("facts", CHOICE_YAML), ("words", WRITE_YAML)):
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows[name]), encoding="utf-8")
        path = folder / f"{name}.yaml"
        path.write_text(template.format(name=name, file=data), encoding="utf-8")
        found[name] = str(path)
    return found


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets that are built stay in the test's folder; other libraries may warn."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    warnings.simplefilter("ignore")


@pytest.mark.parametrize("name", ["facts", "words"])
def test_every_item_has_the_same_answer(
    name: str, tasks: dict[str, str], artifact: TextScorer, harness_model: Any
) -> None:
    from lm_eval import evaluator
    from lm_eval.tasks import TaskManager

    loaded = TaskManager(include_defaults=False).load([tasks[name]])
    results = evaluator.evaluate(harness_model, loaded, bootstrap_iters=0, log_samples=True)
    metric = {"facts": "acc", "words": "exact_match"}[name]
    expected = [bool(sample[metric]) for sample in results["samples"][name]]

    (task,) = open_tasks([tasks[name]], open_checkpoint(MODEL_DIR), None)
    assert task.answers(artifact) == expected
    assert task.size == len(expected)
    assert task.kind == {"facts": LANGUAGE, "words": GENERATION}[name]
    assert task.chance == {"facts": 0.5, "words": None}[name]
    assert 0 < sum(expected) <= len(expected)


def test_log_likelihoods_are_the_harness_backends(
    artifact: TextScorer, harness_model: Any, reference: Checkpoint
) -> None:
    from lm_eval.api.instance import Instance

    from toolchain.validation.lm_eval_adapter import ScorerLM

    stories = read_documents("builtin", "evaluation")[:DOCUMENTS]
    pairs = [(s[:90] + " ", s[90:150]) for s in stories] + [("", s[:60]) for s in stories]
    pairs += [(" ".join(stories), " The end."), (stories[0][:60], " happy"), (stories[0][:60], "!")]
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    texts = [Instance("loglikelihood_rolling", {}, (s,), i) for i, s in enumerate(stories)]
    ours = ScorerLM(artifact)
    dense = TorchScorer(reference.load, reference.spec.vocab_size, CONTEXT)
    torch_lm = ScorerLM(TextScorer(dense, artifact.tokenizer, artifact.eos_token_ids))
    expected = harness_model.loglikelihood(requests, disable_tqdm=True)
    for found in (ours.loglikelihood(requests), torch_lm.loglikelihood(requests)):
        for (nats, greedy), (their_nats, their_greedy) in zip(found, expected, strict=True):
            assert nats == pytest.approx(their_nats, abs=2e-3)
            assert greedy == bool(their_greedy)
    rolling = ours.loglikelihood_rolling(texts)
    assert rolling == pytest.approx(torch_lm.loglikelihood_rolling(texts), abs=1e-2)
    whole = [(s, len(artifact.encode(s))) for s in stories]
    short = [i for i, (_, tokens) in enumerate(whole) if tokens <= CONTEXT]
    for index in short:  # a text that fits is its own likelihood after BOS
        alone = artifact.log_likelihoods([("", stories[index])])[0]
        assert rolling[index] == pytest.approx(alone.log_likelihood, abs=1e-3)


def test_texts_are_the_harness_backends(artifact: TextScorer, harness_model: Any) -> None:
    from lm_eval.api.instance import Instance

    from toolchain.validation.lm_eval_adapter import ScorerLM

    stories = read_documents("builtin", "evaluation")[:DOCUMENTS]
    options = {"until": ["."], "max_gen_toks": 24, "do_sample": False}
    requests = [Instance("generate_until", {}, (s[:80], options), i) for i, s in enumerate(stories)]
    expected = harness_model.generate_until(requests, disable_tqdm=True)
    assert ScorerLM(artifact).generate_until(requests) == expected
    assert all(expected)


def test_a_task_that_samples_is_refused(artifact: TextScorer) -> None:
    from lm_eval.api.instance import Instance

    from toolchain.validation.lm_eval_adapter import ScorerLM

    options = {"until": ["."], "do_sample": True, "temperature": 1.0}
    with pytest.raises(BadRequestError, match="no gate can repeat"):
        ScorerLM(artifact).generate_until([Instance("generate_until", {}, ("a", options), 0)])


def test_an_unknown_task_is_refused_with_near_names(reference: Checkpoint) -> None:
    with pytest.raises(BadRequestError, match="no task 'blimpp'"):
        open_tasks(["blimpp"], reference, None)


def test_a_task_without_its_data_says_what_to_do(reference: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "absent.yaml"
    path.write_text(CHOICE_YAML.format(name="absent", file=tmp_path / "absent.jsonl"))
    with pytest.raises(MissingError, match="the data of task"):
        open_tasks([str(path)], reference, None)
