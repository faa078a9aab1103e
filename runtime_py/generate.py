"""Greedy generation over any engine, plain and with a clock."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterator, Sequence

from runtime_py.engines import Engine
from runtime_py.errors import BadRequestError
from runtime_py.schema import Sample


def generate(
    engine: Engine,
    prompt_ids: Sequence[int],
    max_new_tokens: int,
    eos_token_ids: Collection[int] = (),
) -> Iterator[int]:
    """Yield the greedy continuation of a prompt, token by token, from an empty KV cache.

    Args:
        engine: reset first.
        prompt_ids: at least one token.
        max_new_tokens: most tokens to yield.
        eos_token_ids: the first of these is yielded and ends the continuation.

    Raises:
        BadRequestError: at once, when prompt and continuation do not fit the context.
    """
    require_context(engine.context_length, len(prompt_ids), max_new_tokens)
    return _continue(engine, prompt_ids, max_new_tokens, eos_token_ids)


def require_context(context_length: int, prompt_tokens: int, new_tokens: int) -> None:
    """Raise BadRequestError when prompt and new tokens together exceed the context."""
    if prompt_tokens + new_tokens > context_length:
        raise BadRequestError(
            f"{prompt_tokens} prompt tokens and {new_tokens} new ones exceed the context of "
            f"{context_length}",
            "ask for fewer tokens or export with a larger --context",
        )


def _continue(
    engine: Engine, prompt_ids: Sequence[int], max_new_tokens: int, eos: Collection[int]
) -> Iterator[int]:
    engine.reset()
    row = engine.prefill(prompt_ids)[-1]
    for count in range(1, max_new_tokens + 1):
        token_id = int(row.argmax())
        yield token_id
        if token_id in eos or count == max_new_tokens:
            return
        row = engine.step(token_id)


def timed_generation(engine: Engine, prompt_ids: Sequence[int], steps: int) -> Sample:
    """One repetition: prefill from an empty cache, then `steps` greedy decode steps, EOS ignored.

    Raises:
        BadRequestError: prompt and steps do not fit the context.
    """
    require_context(engine.context_length, len(prompt_ids), steps)
    clock = time.perf_counter_ns
    engine.reset()
    start = clock()
    row = engine.prefill(prompt_ids)[-1]
    prefilled = clock()
    token_id = int(row.argmax())
    stamps = [clock()]
    for _ in range(steps):
        token_id = int(engine.step(token_id).argmax())
        stamps.append(clock())
    return Sample(
        prefill_ns=prefilled - start,
        ttft_ns=stamps[0] - start,
        token_ns=[after - before for before, after in itertools.pairwise(stamps)],
    )
