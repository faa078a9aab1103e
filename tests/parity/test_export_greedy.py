"""Real models: the artifact's logits on real text, and its greedy text against `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ExportEmbedded

from runtime_py.bundle import open_bundle
from runtime_py.engines import Engine, open_engine
from toolchain.embedded import MODEL_DIR, documents
from toolchain.exporting.bundle import export_checkpoint
from toolchain.model.checkpoint import open_checkpoint
from toolchain.quiet import quiet
from toolchain.recipe import ExportSettings

PROMPTS = 20
NEW_TOKENS = 64
TOLERANCE = 1e-3

BACKENDS = ["onnx", pytest.param("executorch", marks=pytest.mark.slow)]


def prompts(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Beginnings of 2 to 59 tokens of real documents."""
    lengths = np.linspace(2, 59, PROMPTS).astype(int).tolist()
    return [
        tokenizer(text)["input_ids"][:length] for text, length in zip(texts, lengths, strict=True)
    ]


def continue_greedily(engine: Engine, prompt: list[int], eos_token_ids: list[int]) -> list[int]:
    engine.reset()
    token = int(engine.prefill(prompt)[-1].argmax())
    tokens = [token]
    while len(tokens) < NEW_TOKENS and token not in eos_token_ids:
        token = int(engine.step(token).argmax())
        tokens.append(token)
    return tokens


def assert_equal_to_transformers(checkpoint: Path, bundle: Path, texts: list[str]) -> None:
    """Logits on real text within the tolerance, and 20 greedy continuations token by token."""
    source = open_checkpoint(checkpoint)
    model, tokenizer = source.load(), source.tokenizer()
    manifest = open_bundle(bundle)
    engine = open_engine(bundle, manifest)
    for prompt in prompts(tokenizer, texts):
        ids = torch.tensor([prompt])
        with torch.no_grad():
            expected = model(input_ids=ids).logits[0].numpy()
        engine.reset()
        assert np.abs(engine.prefill(prompt) - expected).max() <= TOLERANCE
        generated = model.generate(  # type: ignore[operator]
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            bos_token_id=manifest.bos_token_id,
            eos_token_id=manifest.eos_token_ids,
            pad_token_id=manifest.eos_token_ids[0],
        )
        continuation = generated[0, len(prompt) :].tolist()
        assert continue_greedily(engine, prompt, manifest.eos_token_ids) == continuation


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_embedded_model(embedded_bundle: ExportEmbedded, backend: str) -> None:
    texts = documents("evaluation", PROMPTS)
    assert_equal_to_transformers(MODEL_DIR, embedded_bundle(backend), texts)


@pytest.mark.assets
@pytest.mark.parametrize("name", ["stories260K", "stories3M"])
def test_real_models_in_onnx(assets: Path, tmp_path: Path, name: str) -> None:
    checkpoint = assets / "models" / name
    out = tmp_path / "bundle"
    export_checkpoint(open_checkpoint(checkpoint), ExportSettings(backend="onnx", context=256), out)
    stories = (assets / "data/tinystories_eval.txt").read_text().split("<|endoftext|>")
    texts = [story.strip() for story in stories[:PROMPTS]]
    assert_equal_to_transformers(checkpoint, out, texts)


@pytest.mark.slow
def test_executorchs_own_runner_writes_the_same_text(embedded_bundle: ExportEmbedded) -> None:
    with quiet():
        import executorch.extension.llm.custom_ops.custom_ops  # noqa: F401  registers llama::*

        runner_module = pytest.importorskip("executorch.extension.llm.runner")
    bundle = embedded_bundle("executorch")
    manifest = open_bundle(bundle)
    engine = open_engine(bundle, manifest)
    tokenizer = open_checkpoint(MODEL_DIR).tokenizer()
    model = str(bundle / manifest.model_file)
    # The last prompt takes two calls of the method.
    texts = documents("evaluation", 12)
    prompts = [*texts[:2], " ".join(texts)]
    chunk = manifest.max_prefill_tokens
    for text, length in zip(prompts, (17, 17, chunk + chunk // 4), strict=True):
        prompt_ids = tokenizer(text)["input_ids"][:length]
        prompt = tokenizer.decode(prompt_ids, skip_special_tokens=True)
        prompt_ids = tokenizer(prompt)["input_ids"]
        assert (len(prompt_ids) > chunk) == (length > chunk)
        expected = continue_greedily(engine, prompt_ids, manifest.eos_token_ids)
        pieces: list[str] = []
        stats: list[Any] = []
        # It decodes one token at a time, without the spaces: compare without them.
        runner = runner_module.TextLLMRunner(model, str(bundle / "tokenizer.json"))
        config = runner_module.GenerationConfig(
            echo=False, max_new_tokens=NEW_TOKENS, temperature=0.0, num_bos=1
        )
        runner.generate(prompt, config, pieces.append, stats.append)
        assert stats[0].num_prompt_tokens == len(prompt_ids)
        written = tokenizer.decode(expected, skip_special_tokens=True)
        found = "".join(pieces).replace(tokenizer.eos_token, "").replace(tokenizer.bos_token, "")
        assert "".join(found.split()) == "".join(written.split())
