"""Runs GGUF files with llama.cpp in a Python that has llama_cpp: a request on stdin, JSON out.

The request holds `model`, `prompts` (token ids), `tokens` (how many to generate) and `texts`; the
answer `logits` (after each prompt token), `continuations` and `encodings`.
"""

from __future__ import annotations

import json
import sys

from llama_cpp import GGML_TYPE_F32, Llama


def main() -> None:
    """One request."""
    request = json.load(sys.stdin)
    answer: dict[str, list[object]] = {"logits": [], "continuations": [], "encodings": []}
    model = Llama(
        request["model"],
        n_ctx=request["context"],
        n_threads=1,
        logits_all=True,
        type_k=GGML_TYPE_F32,
        type_v=GGML_TYPE_F32,
        verbose=False,
    )
    for prompt in request["prompts"]:
        model.reset()
        model.eval(prompt)
        answer["logits"].append(model.scores[: len(prompt)].tolist())
        generated: list[int] = []
        for _ in range(request["tokens"]):
            generated.append(int(model.scores[model.n_tokens - 1].argmax()))
            model.eval(generated[-1:])
        answer["continuations"].append(generated)
    for text in request["texts"]:
        answer["encodings"].append(model.tokenize(text.encode(), add_bos=True))
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
