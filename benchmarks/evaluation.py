"""What several benchmarks measure a pruned model by: one dense model, one text, its tasks.

KL to the dense model and perplexity on held-out text, and zero-shot accuracy: which of several
continuations, or which sentence of a minimal pair, the model gives the higher log-likelihood.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from stories3m import ASSETS, CALIBRATION, EVALUATION
from torch import Tensor, nn

from runtime_py.schema import sha256_of_json
from runtime_py.sensors import HERE, linux
from toolchain import __version__
from toolchain.calibrate.sources import encode, pieces, read_documents
from toolchain.embedded import agreement_items
from toolchain.model.checkpoint import EMBEDDED, open_checkpoint
from toolchain.model.likelihood import Perplexity, negative_log_likelihood, padded_batches

DOCUMENTS = 64
"""Held-out documents for KL and perplexity, each its first context's worth of tokens."""
SHARES = 3
"""A task's items are dealt to this many shares, one for each seed."""
BLIMP_STEP = 4
"""Every fourth BLiMP pair of each of its 67 phenomena."""
AGREEMENT_ITEMS = 1200
BATCH_TOKENS = 2048
"""Larger batches are slower on a CPU: the logits leave its cache."""

Items = list[list[str]]
"""Candidate texts of each item; the right one comes first."""


@dataclass(frozen=True)
class Subject:
    """A dense model with the texts that go with it."""

    name: str
    model: str
    calibration: str
    evaluation: str
    tasks: tuple[str, ...]


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject(
            "stories3M",
            str(ASSETS / "models" / "stories3M"),
            str(CALIBRATION),
            str(EVALUATION),
            ("ending", "blimp"),
        ),
        Subject(
            "stories260K",
            str(ASSETS / "models" / "stories260K"),
            str(CALIBRATION),
            str(EVALUATION),
            (),
        ),
        Subject("embedded", EMBEDDED, "builtin", "builtin", ("agreement",)),
    )
}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _ending() -> Items:
    found = []
    for item in _lines(ASSETS / "data" / "tinystories_ending_400.jsonl"):
        texts = [item["context"] + choice for choice in item["choices"]]
        found.append([texts.pop(item["gold"]), *texts])
    return found


def _blimp() -> Items:
    pairs = _lines(ASSETS / "data" / "blimp_67x50.jsonl")
    return [[pair["good"], pair["bad"]] for pair in pairs[::BLIMP_STEP]]


def _agreement() -> Items:
    return [[i.context + i.right, i.context + i.wrong] for i in agreement_items(AGREEMENT_ITEMS)]


TASKS = {"ending": _ending, "blimp": _blimp, "agreement": _agreement}
PER_TOKEN = {"ending"}
"""Tasks whose candidates differ in length and are compared by mean log-likelihood."""


@dataclass(frozen=True)
class Candidates:
    """The candidates of one item: a shared start, and what each goes on with."""

    start: list[int]
    """At least one id."""
    ends: list[list[int]]
    """At least one id each; the right one first."""


def candidates(encoded: Sequence[Sequence[int]]) -> Candidates:
    """Split an item's encoded texts where they begin to differ."""
    shortest = min(map(len, encoded))
    shared = 0
    while shared < shortest - 1 and len({ids[shared] for ids in encoded}) == 1:
        shared += 1
    return Candidates(list(encoded[0][:shared]), [list(ids[shared:]) for ids in encoded])


def accuracy(log_likelihoods: Iterable[Sequence[float]]) -> float:
    """Share of the items whose first candidate has strictly the highest log-likelihood."""
    right = [scores[0] > max(scores[1:]) for scores in log_likelihoods]
    return sum(right) / len(right)


def score_candidates(
    model: nn.Module, items: Sequence[Candidates], *, per_token: bool
) -> list[list[float]]:
    """Log-likelihood (nats) of each end after its start, summed, or the mean per token.

    The candidates of an item are packed into one sequence: each sees the start and itself.
    """
    found: list[list[float]] = [[] for _ in items]
    packed = [item.start + [i for end in item.ends for i in end] for item in items]
    for rows, ids, _ in padded_batches(packed, BATCH_TOKENS):
        owners, positions = _packing([items[row] for row in rows], ids.shape[1])
        visible = (owners[:, :, None] == owners[:, None]) | (owners[:, None] == 0)
        mask = torch.zeros(visible.shape).masked_fill(~visible.tril(), float("-inf"))
        logits = model(ids, attention_mask=mask[:, None], position_ids=positions).logits
        for row, index in enumerate(rows):
            found[index] = _end_scores(logits[row], items[index], per_token)
    return found


def _packing(items: Sequence[Candidates], length: int) -> tuple[Tensor, Tensor]:
    """Owner (0: the start, i: end i, -1: padding) and position of every id, int64 [b, t]."""
    owners = torch.full((len(items), length), -1)
    positions = torch.zeros((len(items), length), dtype=torch.int64)
    for row, item in enumerate(items):
        at = start = len(item.start)
        owners[row, :at] = 0
        positions[row, :at] = torch.arange(at)
        for number, end in enumerate(item.ends, 1):
            owners[row, at : at + len(end)] = number
            positions[row, at : at + len(end)] = torch.arange(start, start + len(end))
            at += len(end)
    return owners, positions


def _end_scores(logits: Tensor, item: Candidates, per_token: bool) -> list[float]:
    """Scores of one packed item from its logits [t, vocabulary]."""
    found, at = [], len(item.start)
    for end in item.ends:
        rows = torch.tensor([len(item.start) - 1, *range(at, at + len(end) - 1)])
        nats = negative_log_likelihood(logits[rows], torch.tensor(end)).sum()
        found.append(-float(nats) / (len(end) if per_token else 1))
        at += len(end)
    return found


class Evaluation:
    """The held-out text and tasks of a subject, and what its dense model says of them."""

    def __init__(self, subject: Subject, documents: int = DOCUMENTS) -> None:
        self.subject = subject
        self.source = open_checkpoint(subject.model)
        self.tokenizer = self.source.tokenizer()
        self.context = self.source.spec.max_position_embeddings
        texts = read_documents(subject.evaluation, "evaluation")[:documents]
        bos = self.tokenizer.bos_token_id
        encoded = encode(self.tokenizer, texts)
        self.documents = [pieces(ids, self.context, bos)[0] for ids in encoded]
        self.tasks = {name: self._task(name) for name in subject.tasks}
        self.dense = self.source.load()
        self._reference: list[tuple[Tensor, Tensor]] | None = None

    def _task(self, name: str) -> list[Candidates]:
        return [candidates(encode(self.tokenizer, texts)) for texts in TASKS[name]()]

    @property
    def facts(self) -> dict[str, Any]:
        """What determines the numbers, apart from the pruned model."""
        return {
            "model": self.source.name,
            "weights_sha256": self.source.identity.weights_sha256,
            "documents_sha256": sha256_of_json(self.documents),
            "tasks_sha256": sha256_of_json(
                {name: [[i.start, i.ends] for i in items] for name, items in self.tasks.items()}
            ),
            "shares": SHARES,
        }

    def _logits(self, model: nn.Module) -> list[Tensor]:
        """Logits [t - 1, vocabulary] at the predicted positions of each document."""
        found: list[Tensor] = [torch.empty(0)] * len(self.documents)
        for rows, ids, _ in padded_batches(self.documents, BATCH_TOKENS):
            logits = model(ids).logits
            for row, index in enumerate(rows):
                found[index] = logits[row, : len(self.documents[index]) - 1]
        return found

    def _dense_reference(self) -> list[tuple[Tensor, Tensor]]:
        """Per document: probabilities, and the sum of p log p at each position."""
        if self._reference is None:
            logs = [torch.log_softmax(logits, -1) for logits in self._logits(self.dense)]
            self._reference = [(log.exp(), (log.exp() * log).sum(-1)) for log in logs]
        return self._reference

    @torch.inference_mode()
    def measure(self, model: nn.Module, share: int) -> dict[str, float]:
        """KL(dense ‖ model), nats per token; perplexity; accuracy on the tasks' given share."""
        divergence, tokens, nlls = 0.0, 0, []
        reference = self._dense_reference()
        for ids, logits, (p, p_log_p) in zip(
            self.documents, self._logits(model), reference, strict=True
        ):
            kl = p_log_p - (p * logits).sum(-1) + logits.logsumexp(-1)
            divergence += float(kl.double().sum())
            tokens += len(p)
            nlls.append(negative_log_likelihood(logits, torch.tensor(ids[1:])).numpy())
        perplexity = Perplexity.of(nlls)
        found = {
            "kl": divergence / tokens,
            "perplexity": perplexity.value,
            "perplexity_standard_error": perplexity.standard_error,
        }
        for name, items in self.tasks.items():
            dealt = items[share % SHARES :: SHARES]
            scores = score_candidates(model, dealt, per_token=name in PER_TOKEN)
            found |= {name: accuracy(scores), f"{name}_items": len(dealt)}
        return found


def machine() -> str:
    """What the numbers of a run depend on: processor and threads."""
    cpu = linux.cpu_model(HERE).value
    return f"{cpu}, {platform.system()} {platform.machine()}, {torch.get_num_threads()} thread(s)"


def versions() -> str:
    """The packages that the numbers come from."""
    return (
        f"paredown {__version__}, python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}"
    )
