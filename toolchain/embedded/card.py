"""The model card of the embedded default, for people (README.md) and for tests (card.json)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolchain.embedded.score import Scores

CARD = "card.json"
README = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [llama, tiny, synthetic]
---

# paredown embedded default

A Llama of {parameters:,} parameters ({bytes:,} bytes of float16 weights) with grouped-query
attention and tied embeddings. It exists so that pruning, export, measuring and validation can be
tried with no network; it knows nothing but the stories of its own grammar.

## Text

`toolchain/embedded/grammar.py` writes every story from a seed: agreement across distractors, names
and pronouns, counting, cause and effect, and things that must be recalled at the end. Story i of a
split depends on the split and i alone; the hash of a text decides its split, so no text is in two.

## Training

    python -m toolchain.embedded.train --out DIR --steps {planned_steps} --batch {batch} \\
        --learning-rate {learning_rate} --seed {seed}

Step {steps} of {planned_steps}, {tokens:,} tokens, every story seen once. AdamW (0.9, 0.95), weight
decay 0.1, gradient norm at most 1, linear warm-up and cosine decay, float32 on one CPU thread. The
byte-level BPE tokenizer (1024 tokens) was trained on stories of the same split.

## Scores

The weights as shipped (float16), evaluated in float32 on stories of the evaluation split.

- Perplexity per token: {perplexity:.4f} ± {perplexity_se:.4f} (standard error, clustered by
  document; {documents} stories, {scored:,} tokens, one story per document, BOS first, no EOS).
- Minimal pairs, right word more likely than wrong; chance is 50%:

| kind | right | pairs | accuracy |
|---|---|---|---|
{rows}

`{card}` holds the same numbers for machines.
"""


def write_card(folder: Path, scores: Scores, training: dict[str, float]) -> None:
    """Write README.md and card.json beside the checkpoint in `folder`."""
    card = {"training": training, "scores": asdict(scores)}
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    rows = [
        f"| {kind} | {a.correct} | {a.total} | {a.correct / a.total:.1%} |"
        for kind, a in scores.accuracy.items()
    ]
    weights = (folder / "model.safetensors").read_bytes()
    header = 8 + int.from_bytes(weights[:8], "little")
    text = README.format(
        **training,
        parameters=(len(weights) - header) // 2,
        bytes=len(weights),
        perplexity=scores.perplexity,
        perplexity_se=scores.perplexity_se,
        documents=scores.documents,
        scored=scores.tokens,
        rows="\n".join(rows),
        card=CARD,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
