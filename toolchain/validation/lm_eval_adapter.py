"""Any task of lm-evaluation-harness, over the dense model and over an exported file alike.

`ScorerLM` is the harness's `LM` over a `TextScorer`; the harness builds the prompts and judges the
answers. The package is optional (extra `tasks`).
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from lm_eval import evaluator, utils
from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager

from runtime_py.schema import sha256_of_json
from toolchain.errors import BadRequestError, MissingError, did_you_mean
from toolchain.progress import SILENT, Progress
from toolchain.validation.evidence import GENERATION, KNOWLEDGE, LANGUAGE
from toolchain.validation.scoring import GenerationRequest, TextScorer

METRICS = ("acc", "exact_match", "em", "acc_norm")
"""Right-or-wrong metrics, the preferred one first."""

KNOWLEDGE_TASKS = (
    "arc_",
    "boolq",
    "commonsense_qa",
    "hellaswag",
    "headqa",
    "lambada",
    "logiqa",
    "medmcqa",
    "medqa",
    "mmlu",
    "nq_open",
    "openbookqa",
    "piqa",
    "pubmedqa",
    "race",
    "sciq",
    "social_iqa",
    "triviaqa",
    "truthfulqa",
    "webqs",
    "winogrande",
)
"""Beginnings of the names of tasks that ask for facts or reasoning."""


class ScorerLM(LM):  # type: ignore[misc]
    """`lm_eval.api.model.LM` over a `TextScorer`; contexts are cut from the left where needed."""

    def __init__(self, scorer: TextScorer, progress: Progress = SILENT) -> None:
        super().__init__()
        self._scorer = scorer
        self._progress = progress
        self._stderr = sys.stderr

    @property
    def tokenizer_name(self) -> str:
        """What the harness keys its own cache of chat prompts with."""
        return str(getattr(self._scorer.tokenizer, "name_or_path", ""))

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, greedy) of each request's (context, continuation)."""
        with contextlib.redirect_stderr(self._stderr):
            found = self._scorer.log_likelihoods([r.args for r in requests], self._progress)
        return [(scored.log_likelihood, scored.greedy) for scored in found]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """Log-likelihood in nats of each request's whole text; each token is predicted once."""
        most = self._scorer.tokens.context_length
        owners, windows = [], []
        for index, request in enumerate(requests):
            rolling = utils.get_rolling_token_windows(
                token_list=self._scorer.encode(request.args[0], bos=False),
                prefix_token=self._scorer.prefix_id,
                max_seq_len=most,
                context_len=1,
            )
            for window in map(utils.make_disjoint_window, rolling):
                owners.append(index)
                windows.append(window)
        with contextlib.redirect_stderr(self._stderr):
            found = self._scorer.tokens.log_likelihoods(windows, self._progress)
        totals = [0.0] * len(requests)
        for owner, scored in zip(owners, found, strict=True):
            totals[owner] += scored.log_likelihood
        return totals

    def generate_until(self, requests: list[Any]) -> list[str]:
        """Greedy text of each request's (context, options).

        Raises:
            BadRequestError: a task that asks for sampling.
        """
        asked = []
        for request in requests:
            context, options = request.args
            kwargs = normalize_gen_kwargs(dict(options), default_max_gen_toks=256)
            if kwargs.get("do_sample"):
                raise BadRequestError("the task samples its text, which no gate can repeat")
            stops = tuple(stop for stop in kwargs["until"] if stop)
            asked.append(GenerationRequest(context, stops, int(kwargs["max_gen_toks"])))
        with contextlib.redirect_stderr(self._stderr):
            return self._scorer.generate(asked, self._progress)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A conversation as one prompt, by the tokenizer's own template."""
        return str(
            self._scorer.tokenizer.apply_chat_template(
                chat_history, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        )


@dataclass(frozen=True)
class LmEvalTask:
    """A task or group of the harness; `samples` says which documents of each leaf count."""

    name: str
    kind: str
    source: str
    loaded: dict[str, Any]
    samples: dict[str, list[int]]

    @property
    def metric(self) -> str:
        """The first right-or-wrong metric that a leaf lists."""
        for leaf in self.loaded["tasks"].values():
            listed = {m["metric"] for m in leaf.config.metric_list or []}
            for metric in METRICS:
                if metric in listed or not listed:
                    return metric
        raise BadRequestError(
            f"task '{self.name}' has no right-or-wrong metric", f"known: {', '.join(METRICS)}"
        )

    @property
    def chance(self) -> float | None:
        """Accuracy of guessing, for multiple choice alone."""
        shares = []
        for leaf in self.loaded["tasks"].values():
            if leaf.OUTPUT_TYPE != "multiple_choice":
                return None
            shares += [1 / len(leaf.doc_to_choice(doc)) for doc in self._documents(leaf)]
        return sum(shares) / len(shares)

    @property
    def sha256(self) -> str:
        """Hash of the harness's version of the task and of the documents."""
        found = {
            name: [str(leaf.VERSION), [json.dumps(d, default=str) for d in self._documents(leaf)]]
            for name, leaf in self.loaded["tasks"].items()
        }
        return sha256_of_json([found, self.metric])

    @property
    def size(self) -> int:
        """How many items over all leaves."""
        return sum(map(len, self.samples.values()))

    def _documents(self, leaf: Any) -> Iterator[Any]:
        documents = leaf.eval_docs
        return (documents[index] for index in self.samples[leaf.task_name])

    def answers(self, scorer: TextScorer, progress: Progress = SILENT) -> list[bool]:
        """Which items a model has right, leaf by leaf.

        Raises:
            BadRequestError: the metric of an item is neither 0 nor 1.
        """
        model = ScorerLM(scorer, progress)
        with contextlib.redirect_stderr(io.StringIO()):  # the harness draws its own bars
            results = evaluator.evaluate(
                model, self.loaded, samples=self.samples, bootstrap_iters=0, log_samples=True
            )
        metric = self.metric
        return [
            right
            for name in self.loaded["tasks"]
            for right in self._leaf(results["samples"][name], metric)
        ]

    def _leaf(self, samples: Sequence[dict[str, Any]], metric: str) -> list[bool]:
        first = next((s["filter"] for s in samples if metric in s), None)
        values = [s[metric] for s in samples if s["filter"] == first and metric in s]
        if not values or any(value not in (0, 1) for value in values):
            raise BadRequestError(
                f"task '{self.name}' has no right-or-wrong metric", f"known: {', '.join(METRICS)}"
            )
        return [bool(value) for value in values]


def open_lm_eval_task(name: str, limit: int | None) -> LmEvalTask:
    """A task, group or YAML file of the harness, with its data.

    Args:
        name: as `lm_eval --tasks` takes it, or the path of a task's YAML file.
        limit: most items, spread evenly over all documents.

    Raises:
        BadRequestError: no such task.
        MissingError: its data is neither here nor reachable.
    """
    own = name.endswith(".yaml")
    manager = _manager(not own)
    if not own and name not in manager.all_tasks:
        raise BadRequestError(f"no task '{name}'", did_you_mean_task(name, manager.all_tasks))
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            loaded = manager.load([name])
            leaves = loaded["tasks"]
            samples = {
                key: _spread(len(leaf.eval_docs), limit, len(leaves))
                for key, leaf in leaves.items()
            }
    except (OSError, ValueError) as error:
        raise MissingError(
            f"the data of task '{name}' cannot be read: {' '.join(str(error).split())[:160]}",
            "run once where the Hub can be reached, or give a .jsonl file",
        ) from error
    return LmEvalTask(_short(name), _kind(name, leaves.values()), "lm-eval", loaded, samples)


@cache
def _manager(defaults: bool) -> Any:
    """The harness's index: with its own tasks it reads thousands of files, once a process."""
    return TaskManager(include_defaults=defaults)


def did_you_mean_task(name: str, known: Sequence[str]) -> str:
    """A hint that names near tasks only: there are thousands."""
    near = [task for task in known if name.lower() in task.lower()][:8]
    return did_you_mean(name, near) if near else "'lm_eval ls tasks' lists them"


def _spread(count: int, limit: int | None, leaves: int) -> list[int]:
    """At most limit / leaves indices (one at least) of `count` documents, evenly."""
    most = count if limit is None else min(count, max(limit // leaves, 1))
    return [int(i * count / most) for i in range(most)]


def _short(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".yaml")


def _kind(name: str, leaves: Any) -> str:
    if any(leaf.OUTPUT_TYPE == "generate_until" for leaf in leaves):
        return GENERATION
    return KNOWLEDGE if _short(name).startswith(KNOWLEDGE_TASKS) else LANGUAGE
