"""Log-likelihoods and greedy text of one model, whether torch or an exported file computes it.

Tokens in, numbers out: `TorchScorer` and `EngineScorer` answer the same questions. `TextScorer`
stands before either and turns text into tokens as lm-evaluation-harness does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from runtime_py.engines import Engine
from toolchain.model.likelihood import padded_batches
from toolchain.progress import SILENT, Progress, track

CHUNK = 256
"""Positions per call of an engine whose logits are read: 256 x 150,000 floats are 154 MB."""

BATCH_LOGITS = 1 << 27
"""Logits of one torch batch: 512 MB."""


class Scored(NamedTuple):
    """A continuation: its log-likelihood in nats, and whether greedy decoding would write it."""

    log_likelihood: float
    greedy: bool


class TokenScorer(Protocol):
    """A model that scores and continues token ids."""

    context_length: int

    def log_likelihoods(
        self, requests: Sequence[tuple[list[int], list[int]]], progress: Progress = SILENT
    ) -> list[Scored]:
        """Score (context, continuation) pairs of at least one id each.

        What does not fit the context is cut from the left.
        """
        ...

    def greedy(
        self, prompt: list[int], max_new_tokens: int, done: Callable[[list[int]], bool]
    ) -> list[int]:
        """The greedy continuation, until it is long enough, fills the context, or is `done`."""
        ...


@dataclass(frozen=True)
class _Request:
    """One request as it is run: inputs, the scored ids, and where the first of them is read."""

    index: int
    inputs: list[int]
    targets: list[int]

    @property
    def start(self) -> int:
        return len(self.inputs) - len(self.targets)

    @classmethod
    def of(cls, index: int, context: list[int], continuation: list[int], most: int) -> _Request:
        ids = [*context, *continuation][-(most + 1) :]
        inputs = ids[:-1]
        return cls(index, inputs, continuation[-len(inputs) :])


class EngineScorer:
    """An artifact, run by its own engine; requests with a common start share its prefill."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cached: list[int] = []
        self.context_length = engine.context_length

    def log_likelihoods(
        self, requests: Sequence[tuple[list[int], list[int]]], progress: Progress = SILENT
    ) -> list[Scored]:
        """As `TokenScorer`."""
        most = self.context_length
        jobs = [_Request.of(i, c, t, most) for i, (c, t) in enumerate(requests)]
        jobs.sort(key=lambda job: job.inputs)  # neighbours share the longest starts
        found: dict[int, Scored] = {}
        self._forget()
        for job in track(jobs, progress, "Scoring with the bundle", len(jobs)):
            found[job.index] = _scored(self._logits(job.inputs, job.start), job.targets)
        return [found[i] for i in range(len(jobs))]

    def greedy(
        self, prompt: list[int], max_new_tokens: int, done: Callable[[list[int]], bool]
    ) -> list[int]:
        """As `TokenScorer`."""
        self._forget()
        row = self._engine.prefill_last(prompt)
        written: list[int] = []
        room = min(max_new_tokens, self.context_length - len(prompt))
        while len(written) < room:
            written.append(int(row.argmax()))
            if done(written) or len(written) == room:
                break
            row = self._engine.step(written[-1])
        return written

    def _forget(self) -> None:
        self._engine.reset()
        self._cached = []

    def _logits(self, inputs: list[int], start: int) -> Tensor:
        """Logits [len(inputs) - start, V] after the inputs from `start` on."""
        kept = self._rewound(inputs, start)
        if kept < start:
            self._engine.prefill_last(inputs[kept:start])
        rows = [
            torch.from_numpy(self._engine.prefill(inputs[at : at + CHUNK]))
            for at in range(start, len(inputs), CHUNK)
        ]
        self._cached = list(inputs)
        return torch.cat(rows)

    def _rewound(self, inputs: list[int], start: int) -> int:
        """Bring the cache to a start of the inputs that ends before `start`; its length."""
        shared = 0
        for ours, theirs in zip(self._cached, inputs[:start], strict=False):
            if ours != theirs:
                break
            shared += 1
        if shared == len(self._cached):
            return shared
        self._engine.rewind(shared)
        return shared


class TorchScorer:
    """A transformers model; `load` is called when the first request needs it."""

    def __init__(self, load: Callable[[], nn.Module], vocab_size: int, context_length: int) -> None:
        self._load = load
        self._loaded: nn.Module | None = None
        self._batch_tokens = max(BATCH_LOGITS // vocab_size, 512)
        self.context_length = context_length

    @property
    def _model(self) -> Any:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    @torch.inference_mode()
    def log_likelihoods(
        self, requests: Sequence[tuple[list[int], list[int]]], progress: Progress = SILENT
    ) -> list[Scored]:
        """As `TokenScorer`."""
        most = self.context_length
        jobs = [_Request.of(i, c, t, most) for i, (c, t) in enumerate(requests)]
        batches = padded_batches([job.inputs for job in jobs], min(self._batch_tokens, 4096))
        found: dict[int, Scored] = {}
        for rows, ids, _ in track(batches, progress, "Scoring the dense model", len(batches)):
            logits = self._model(ids, use_cache=False).logits
            for row, index in enumerate(rows):
                job = jobs[index]
                read = logits[row, job.start : len(job.inputs)]
                found[index] = _scored(read, job.targets)
        return [found[i] for i in range(len(jobs))]

    @torch.inference_mode()
    def greedy(
        self, prompt: list[int], max_new_tokens: int, done: Callable[[list[int]], bool]
    ) -> list[int]:
        """As `TokenScorer`."""
        ids, cache = torch.tensor([prompt]), None
        written: list[int] = []
        room = min(max_new_tokens, self.context_length - len(prompt))
        while len(written) < room:
            output = self._model(ids, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            written.append(int(output.logits[0, -1].argmax()))
            if done(written):
                break
            ids = torch.tensor([written[-1:]])
        return written


def _scored(logits: Tensor, targets: Sequence[int]) -> Scored:
    """Score the targets [n] from the logits [n, V] before each of them."""
    wanted = torch.tensor(list(targets))
    nats = logits.double().log_softmax(-1).gather(-1, wanted[:, None])
    return Scored(float(nats.sum()), bool((logits.argmax(-1) == wanted).all()))


class GenerationRequest(NamedTuple):
    """A prompt, the texts that end its continuation, and the most tokens to write."""

    prompt: str
    until: tuple[str, ...]
    max_new_tokens: int


@dataclass(frozen=True)
class TextScorer:
    """Text before a `TokenScorer`; BOS goes first wherever the tokenizer has one.

    Contexts and continuations are encoded together and cut where the context alone ends, spaces at
    the end of a context belong to the continuation: as lm-evaluation-harness does with
    `add_bos_token=True`.
    """

    tokens: TokenScorer
    tokenizer: Any
    """A transformers tokenizer."""
    eos_token_ids: tuple[int, ...]

    @property
    def prefix_id(self) -> int:
        """What stands for an empty context: BOS, else EOS, else the first id."""
        bos = self.tokenizer.bos_token_id
        if bos is not None:
            return int(bos)
        return self.eos_token_ids[0] if self.eos_token_ids else 0

    def encode(self, text: str, bos: bool = True) -> list[int]:
        """Token ids; a text that starts with BOS already gets no second one."""
        ids = [int(i) for i in self.tokenizer.encode(text, add_special_tokens=False)]
        first = self.tokenizer.bos_token_id
        return [int(first), *ids] if bos and first is not None and ids[:1] != [first] else ids

    def pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """(context ids, continuation ids), at least one each."""
        if not context:
            ids = self.encode(continuation, bos=False)
            return ([self.prefix_id], ids) if ids[:1] != [self.prefix_id] else (ids[:1], ids[1:])
        stripped = context.rstrip()
        whole = self.encode(context + continuation)
        split = len(self.encode(stripped)) if stripped else min(len(whole) - 1, 1)
        return whole[:split], whole[split:]

    def log_likelihoods(
        self, pairs: Iterable[tuple[str, str]], progress: Progress = SILENT
    ) -> list[Scored]:
        """Score (context, continuation) texts."""
        return self.tokens.log_likelihoods([self.pair(c, t) for c, t in pairs], progress)

    def generate(
        self, requests: Sequence[GenerationRequest], progress: Progress = SILENT
    ) -> list[str]:
        """Greedy texts, cut before the first of their `until`; EOS ends them as well."""
        title = "Writing text"
        return [self._write(r) for r in track(requests, progress, title, len(requests))]

    def _write(self, request: GenerationRequest) -> str:
        room = max(self.tokens.context_length - request.max_new_tokens, 1)
        prompt = (self.encode(request.prompt) or [self.prefix_id])[-room:]

        def done(written: list[int]) -> bool:
            if written[-1] in self.eos_token_ids:
                return True
            text = self.tokenizer.decode(written, skip_special_tokens=True)
            return any(stop in text for stop in request.until)

        written = self.tokens.greedy(prompt, request.max_new_tokens, done)
        ends = (i for i, token in enumerate(written) if token in self.eos_token_ids)
        kept = list(itertools.islice(written, next(ends, len(written))))
        text = str(self.tokenizer.decode(kept, skip_special_tokens=True))
        for stop in request.until:
            text = text.split(stop, maxsplit=1)[0] if stop else text
        return text
