"""Torch and an engine on the same tokens, position by position, however the tokens are fed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from runtime_py.engines import Engine
from toolchain.validation.logits import LogitDifference


@dataclass(frozen=True)
class Expected:
    """Torch's logits [S, V] of one sequence."""

    ids: list[int]
    logits: Tensor
    original: Tensor | None = None
    """Of the checkpoint itself, where `logits` are of a model that rounds."""


@dataclass
class ParityNumbers:
    """Everything that was compared, over all sequences."""

    prefill: LogitDifference = field(default_factory=LogitDifference)
    """The whole sequence at once, against torch."""
    decode: LogitDifference = field(default_factory=LogitDifference)
    """Token by token from an empty cache, against torch."""
    continued: LogitDifference = field(default_factory=LogitDifference)
    """A prefill of the first half, then token by token, against torch."""
    modes: LogitDifference = field(default_factory=LogitDifference)
    """Decode against prefill, both by the engine."""
    damage: LogitDifference = field(default_factory=LogitDifference)
    """A quantised artifact's prefill against the checkpoint in float32."""
    scheme: LogitDifference = field(default_factory=LogitDifference)
    """The torch model that rounds against the checkpoint in float32: what the scheme costs."""
    replays_differing: int = 0
    """Sequences whose prefill after `reset` is not bit for bit the first one."""
    wrong_positions: int = 0
    """Passes after which the engine's position is not the number of tokens fed."""

    @property
    def against_torch(self) -> dict[str, LogitDifference]:
        """The ways of feeding tokens, by name."""
        return {
            "prefill": self.prefill,
            "decode": self.decode,
            "decode after prefill": self.continued,
        }


@torch.inference_mode()
def expected_logits(
    model: nn.Module, ids: Sequence[int], original: nn.Module | None = None
) -> Expected:
    """What torch says to one sequence.

    Args:
        model: the transformers model that computes what the artifact should.
        ids: token ids.
        original: the checkpoint's own model, where `model` rounds.
    """
    tokens = torch.tensor([list(ids)])
    return Expected(
        ids=list(ids),
        logits=model(tokens, use_cache=False).logits[0],
        original=None if original is None else original(tokens, use_cache=False).logits[0],
    )


def compare_engine(engine: Engine, expected: Iterable[Expected]) -> ParityNumbers:
    """Run every sequence four times through the engine and compare with what torch says."""
    numbers = ParityNumbers()
    for each in expected:
        ids, half = each.ids, len(each.ids) // 2
        first = _run(engine, ids, len(ids), numbers)
        decoded = _run(engine, ids, 0, numbers)
        replay = _run(engine, ids, len(ids), numbers)
        continued = _run(engine, ids, half, numbers)
        with torch.inference_mode():
            numbers.prefill.add(each.logits, first)
            numbers.decode.add(each.logits, decoded)
            numbers.continued.add(each.logits[half:], continued[half:])
            numbers.modes.add(first, decoded)
            if each.original is not None:
                numbers.damage.add(each.original, first)
                numbers.scheme.add(each.original, each.logits)
        numbers.replays_differing += not torch.equal(first, replay)
    return numbers


def _run(engine: Engine, ids: Sequence[int], prefilled: int, numbers: ParityNumbers) -> Tensor:
    """Logits [len(ids), V] from a reset engine: `prefilled` ids at once, the others one by one."""
    engine.reset()
    numbers.wrong_positions += engine.position != 0
    parts = [engine.prefill(list(ids[:prefilled]))] if prefilled else []
    parts += [engine.step(token)[None] for token in ids[prefilled:]]
    numbers.wrong_positions += engine.position != len(ids)
    return torch.from_numpy(np.concatenate(parts))
