"""Golden cases: what the torch model says, carried inside of the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from runtime_py.schema import GoldenCase, TokenLogit

CASES = 8
NEW_TOKENS = 16
TOP = 8
FLOAT_TOLERANCE = 1e-3
"""Largest |logit difference| that a float32 engine may show."""


def golden_cases(
    model: nn.Module, tokenizer: Any, texts: Sequence[str], context: int
) -> list[GoldenCase]:
    """`CASES` prompts, from one token to as many as the context allows, continued greedily.

    Args:
        model: a transformers causal language model.
        tokenizer: its tokenizer.
        texts: real text to cut the prompts from.
        context: most tokens of prompt and continuation together, at least 2.
    """
    new_tokens = min(NEW_TOKENS, context // 2)
    longest = context - new_tokens
    cases = []
    for index in range(CASES):
        length = round(longest ** (index / (CASES - 1)))
        prompt = _prompt(tokenizer, texts, index, length)
        cases.append(_case(model, prompt, new_tokens, f"prompt of {length} tokens, {index}"))
    return cases


def _prompt(tokenizer: Any, texts: Sequence[str], first: int, length: int) -> list[int]:
    """`length` tokens of `texts` from number `first` on, each text encoded by itself."""
    ids: list[int] = []
    while len(ids) < length:
        ids += tokenizer(texts[first % len(texts)])["input_ids"]
        first += 1
    return ids[:length]


@torch.no_grad()
def _case(model: nn.Module, prompt: list[int], new_tokens: int, name: str) -> GoldenCase:
    output = model(input_ids=torch.tensor([prompt]), use_cache=True)
    row: Tensor = output.logits[0, -1]
    top = row.topk(min(TOP, len(row)))
    continuation: list[int] = []
    margins: list[float] = []
    while True:
        best = row.topk(2).values
        margins.append(float(best[0] - best[1]))
        continuation.append(int(row.argmax()))
        if len(continuation) == new_tokens:
            break
        output = model(
            input_ids=torch.tensor([continuation[-1:]]),
            past_key_values=output.past_key_values,
            use_cache=True,
        )
        row = output.logits[0, -1]
    return GoldenCase(
        name=name,
        prompt_ids=prompt,
        continuation_ids=continuation,
        top_logits=[
            TokenLogit(int(token), float(logit))
            for token, logit in zip(top.indices, top.values, strict=True)
        ],
        min_margin=min(margins),
        tolerance=FLOAT_TOLERANCE,
    )
