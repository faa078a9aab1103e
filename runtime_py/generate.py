"""Greedy generation over any engine, plain and with a clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence

from runtime_py.engines import Engine
from runtime_py.errors import BadRequestError
from runtime_py.schema import Sample

Clock = Callable[[], int]
"""Nanoseconds of a monotonic clock."""
AfterToken = Callable[[int], int]
"""Called after each token with its time stamp; returns the stamp from which the next one counts."""


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
    row = engine.prefill_last(prompt_ids)
    for count in range(1, max_new_tokens + 1):
        token_id = int(row.argmax())
        yield token_id
        if token_id in eos or count == max_new_tokens:
            return
        row = engine.step(token_id)


def timed_generation(
    engine: Engine,
    prompt_ids: Sequence[int],
    steps: int,
    *,
    depth_ids: Sequence[int] = (),
    origin_ns: int = 0,
    after_token: AfterToken | None = None,
    clock: Clock = time.perf_counter_ns,
) -> Sample:
    """One repetition: the prompt from an empty or filled cache, then `steps` greedy decode steps.

    EOS is ignored. A token's time is from the stamp after the one before to its own: engine, choice
    of the token and one reading of the clock.

    Args:
        engine: reset first.
        prompt_ids: at least one token.
        steps: decode steps.
        depth_ids: fed before the prompt, not timed.
        origin_ns: from where the sample's `start_ns` counts.
        after_token: does something between two tokens, whose time counts for neither.
        clock: what time it is.

    Raises:
        BadRequestError: the tokens do not fit the context.
    """
    require_context(engine.context_length, len(depth_ids) + len(prompt_ids), steps)
    engine.reset()
    if depth_ids:
        engine.prefill_last(depth_ids)
    start = clock()
    row = engine.prefill_last(prompt_ids)
    prefilled = clock()
    token_id = int(row.argmax())
    last = first = clock()
    token_ns = []
    for _ in range(steps):
        token_id = int(engine.step(token_id).argmax())
        now = clock()
        token_ns.append(now - last)
        last = now if after_token is None else after_token(now)
    return Sample(
        prefill_ns=prefilled - start,
        ttft_ns=first - start,
        token_ns=token_ns,
        start_ns=start - origin_ns,
    )
