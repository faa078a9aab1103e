"""What the dense model said, kept: it is the same for every bundle that is held against it."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runtime_py.schema import ModelIdentity, sha256_of_json
from toolchain.errors import BadRequestError
from toolchain.model.checkpoint import Checkpoint
from toolchain.progress import SILENT, Progress
from toolchain.store import write_text
from toolchain.validation.scoring import GenerationRequest, Scored, TextScorer

KEPT_BYTES = 1 << 30
"""Most memory for the dense model's logits between two bundles of one process."""


def cache_root() -> Path:
    """`~/.cache/paredown`, or PAREDOWN_CACHE."""
    return Path(os.environ.get("PAREDOWN_CACHE") or Path.home() / ".cache" / "paredown")


def remember(question: Any, compute: Callable[[], list[Any]]) -> list[Any]:
    """`compute()`, or what it gave when the same question was asked before, on this machine.

    Answers lie under `cache_root()/dense`, one small JSON file for each question; a file that
    cannot be read is computed again, and a folder that cannot be written costs the time only.

    Args:
        question: plain JSON that decides the answer: model, inputs, limits.
        compute: gives a list of plain JSON values.
    """
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    key = sha256_of_json({"question": question, "versions": versions})
    path = cache_root() / "dense" / f"{key}.json"
    try:
        return list(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        answer = compute()
    with suppress(BadRequestError):
        write_text(path, json.dumps(answer))
    return answer


class DenseLogits:
    """The dense model's logits of token sequences; the model is loaded when it is first needed."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._model: nn.Module | None = None
        self._kept: dict[tuple[int, ...], Tensor] = {}
        self._bytes = 0

    def model(self) -> nn.Module:
        """The dense transformers model, float32."""
        if self._model is None:
            self._model = self._checkpoint.load()
        return self._model

    def release(self) -> None:
        """Let go of the model, keep the logits."""
        self._model = None

    @torch.inference_mode()
    def __call__(self, ids: list[int]) -> Tensor:
        """Logits [len(ids), V] float32."""
        key = tuple(ids)
        if key not in self._kept:
            output: Any = self.model()(torch.tensor([ids]), use_cache=False)
            logits: Tensor = output.logits[0]
            size = logits.numel() * logits.element_size()
            if self._bytes + size > KEPT_BYTES:
                return logits
            self._bytes += size
            self._kept[key] = logits
        return self._kept[key]


_LAST: dict[str, DenseLogits] = {}


def dense_logits(checkpoint: Checkpoint) -> DenseLogits:
    """The one of the process for this model; that of another model is let go."""
    key = identity_key(checkpoint.identity)
    if key not in _LAST:
        _LAST.clear()
        _LAST[key] = DenseLogits(checkpoint)
    return _LAST[key]


def identity_key(identity: ModelIdentity) -> str:
    """Weights and config, whatever the folder is called."""
    return f"{identity.weights_sha256}-{identity.config_sha256}"


@dataclass(frozen=True)
class RememberedScorer(TextScorer):
    """The dense model's `TextScorer`: what was asked before is not computed again."""

    identity: str = ""
    """`identity_key` of the model and the hash of its tokenizer."""

    def log_likelihoods(
        self, pairs: Iterable[tuple[str, str]], progress: Progress = SILENT
    ) -> list[Scored]:
        """As `TextScorer`."""
        requests = [self.pair(c, t) for c, t in pairs]
        question = [self.identity, self.tokens.context_length, "log_likelihoods", requests]
        found = remember(
            question, lambda: list(map(list, self.tokens.log_likelihoods(requests, progress)))
        )
        return [Scored(float(nats), bool(greedy)) for nats, greedy in found]

    def generate(
        self, requests: Sequence[GenerationRequest], progress: Progress = SILENT
    ) -> list[str]:
        """As `TextScorer`."""
        question = [self.identity, self.tokens.context_length, "generate", list(requests)]
        write = partial(super().generate, requests, progress)
        return [str(text) for text in remember(question, write)]
