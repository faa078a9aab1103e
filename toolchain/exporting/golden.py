"""Golden cases: what the torch model says, carried inside of the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from runtime_py.schema import GoldenCase, GoldenEmbedding, TokenLogit
from toolchain.recipe import ExportSettings

CASES = 8
NEW_TOKENS = 16
TOP = 8
FLOAT_TOLERANCE = 1e-3
"""Largest |logit difference| that a float32 engine may show."""

ROUNDED_TOLERANCE = {"fp16": 0.02, "8da8w": 0.25, "int8": 0.25, "8da4w": 0.25, "int4": 0.25}
"""The same of an engine that rounds, in standard deviations of the logits of the prompt's last
position. An activation near the middle of two steps is rounded differently by kernels that sum in
another order, and each such step moves all later layers: the difference scales with the logits,
and is largest where few channels carry them."""


def golden_cases(
    model: nn.Module,
    tokenizer: Any,
    texts: Sequence[str],
    settings: ExportSettings,
) -> list[GoldenCase]:
    """`CASES` prompts, from one token to as many as the context allows, continued greedily.

    Args:
        model: a transformers causal language model, which rounds as the artifact will.
        tokenizer: its tokenizer.
        texts: real text to cut the prompts from.
        settings: of the artifact; the context holds prompt and continuation together.
    """
    new_tokens = min(NEW_TOKENS, settings.context // 2)
    longest = settings.context - new_tokens
    cases = []
    for index in range(CASES):
        length = round(longest ** (index / (CASES - 1)))
        prompt = _prompt(tokenizer, texts, index, length)
        name = f"prompt of {length} tokens, {index}"
        rows = _continue(model, prompt, new_tokens)
        cases.append(_case(prompt, rows, name, settings.quant))
    return cases


def golden_embeddings(
    embed: nn.Module, sentences: Sequence[Sequence[int]], min_cosine: float
) -> list[GoldenEmbedding]:
    """One golden embedding for each sentence.

    Args:
        embed: token ids int64 [1,S] to an embedding [1,hidden] of length 1.
        sentences: token ids.
        min_cosine: least cosine that an engine must reach.
    """
    cases = []
    for index, ids in enumerate(sentences):
        with torch.no_grad():
            embedding = embed(torch.tensor([list(ids)]))[0]
        name = f"sentence of {len(ids)} tokens, {index}"
        cases.append(GoldenEmbedding(name, list(ids), embedding.tolist(), min_cosine))
    return cases


def _prompt(tokenizer: Any, texts: Sequence[str], first: int, length: int) -> list[int]:
    """`length` tokens of `texts` from number `first` on, each text encoded by itself."""
    ids: list[int] = []
    while len(ids) < length:
        ids += tokenizer(texts[first % len(texts)])["input_ids"]
        first += 1
    return ids[:length]


@torch.no_grad()
def _continue(model: nn.Module, prompt: list[int], new_tokens: int) -> list[Tensor]:
    """Logits [V] after the prompt and after each greedy token but the last."""
    output: Any = None
    rows: list[Tensor] = []
    pending = prompt
    while len(rows) < new_tokens:
        cache = None if output is None else output.past_key_values
        output = model(input_ids=torch.tensor([pending]), past_key_values=cache, use_cache=True)
        rows.append(output.logits[0, -1])
        pending = [int(rows[-1].argmax())]
    return rows


def _case(prompt: list[int], rows: list[Tensor], name: str, quantization: str) -> GoldenCase:
    top = rows[0].topk(min(TOP, len(rows[0])))
    tolerance = FLOAT_TOLERANCE
    if quantization != "none":
        tolerance = ROUNDED_TOLERANCE[quantization] * float(rows[0].std())
    best = [row.topk(2).values for row in rows]
    return GoldenCase(
        name=name,
        prompt_ids=prompt,
        continuation_ids=[int(row.argmax()) for row in rows],
        top_logits=[
            TokenLogit(int(token), float(logit))
            for token, logit in zip(top.indices, top.values, strict=True)
        ],
        min_margin=min(float(two[0] - two[1]) for two in best),
        tolerance=tolerance,
    )
