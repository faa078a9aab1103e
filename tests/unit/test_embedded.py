"""The embedded default: the shipped weights are what their card says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from toolchain.embedded import MODEL_DIR, documents
from toolchain.embedded.score import Scores, score
from toolchain.embedded.train import Training, learning_rate, token_losses, train, train_tokenizer


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((MODEL_DIR / "card.json").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def scores(card: dict[str, Any]) -> Scores:
    claimed = card["scores"]
    items = sum(accuracy["total"] for accuracy in claimed["accuracy"].values())
    return score(MODEL_DIR, claimed["documents"], items)


def test_perplexity_is_what_the_card_says(card: dict[str, Any], scores: Scores) -> None:
    claimed = card["scores"]
    assert scores.tokens == claimed["tokens"]
    assert scores.perplexity == pytest.approx(claimed["perplexity"], rel=0.005)
    assert scores.perplexity_se == pytest.approx(claimed["perplexity_se"], rel=0.05)


def test_accuracy_is_what_the_card_says(card: dict[str, Any], scores: Scores) -> None:
    for kind, claimed in card["scores"]["accuracy"].items():
        assert scores.accuracy[kind].total == claimed["total"]
        assert abs(scores.accuracy[kind].correct - claimed["correct"]) <= 1, kind


def test_every_kind_is_far_above_chance(scores: Scores) -> None:
    for kind, accuracy in scores.accuracy.items():
        deviation = 0.5 * accuracy.total**0.5
        assert accuracy.correct > accuracy.total / 2 + 5 * deviation, (kind, accuracy)


def test_readme_states_the_numbers_of_the_card(card: dict[str, Any]) -> None:
    readme = (MODEL_DIR / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("---\nlicense: apache-2.0\n")
    claimed = card["scores"]
    assert f"{claimed['perplexity']:.4f} ± {claimed['perplexity_se']:.4f}" in readme
    for kind, accuracy in claimed["accuracy"].items():
        assert f"| {kind} | {accuracy['correct']} | {accuracy['total']} |" in readme
    assert f"--seed {card['training']['seed']}" in readme
    assert card["training"]["steps"] == card["training"]["planned_steps"]


def test_checkpoint_is_small_and_loads_as_float16() -> None:
    assert sum(file.stat().st_size for file in MODEL_DIR.iterdir()) <= 4_000_000
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR)
    assert model.config.model_type == "llama"
    assert {p.dtype for p in model.parameters()} == {torch.float16}
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    assert model.config.tie_word_embeddings
    assert 1_000_000 <= sum(p.numel() for p in model.parameters()) <= 3_000_000


def test_tokenizer_round_trips_and_puts_bos_first() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, len(tokenizer)) == (0, 1, 1024)
    for text in [*documents("evaluation", 50), 'Zoë said: "¿Qué?" — 東京 🙂\n\tok']:
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == 0 and 0 not in ids[1:]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_greedy_text_ends_with_a_sentence_and_eos() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    prompt = tokenizer("Once there was a little girl named Mia.", return_tensors="pt")
    ids = model.generate(**prompt, do_sample=False, max_new_tokens=300)[0].tolist()
    assert ids[-1] == tokenizer.eos_token_id
    text = tokenizer.decode(ids, skip_special_tokens=True)
    assert text.endswith(".") and " She " in text and " He " not in text.partition("friend")[0]


def test_damage_shows_in_perplexity_and_in_wrong_words(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR)
    for layer in model.model.layers:
        layer.mlp.down_proj.weight.data[:, ::2] = 0
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(MODEL_DIR).save_pretrained(tmp_path)
    whole, damaged = (score(folder, documents=40, items=200) for folder in (MODEL_DIR, tmp_path))
    assert damaged.perplexity > whole.perplexity + 5 * damaged.perplexity_se
    right = [sum(a.correct for a in s.accuracy.values()) for s in (whole, damaged)]
    assert right[1] < right[0] - 10


def test_padding_changes_no_loss() -> None:
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    rows = [[0, 300, 301, 302, 303], [0, 400, 401]]
    with torch.no_grad():
        together = token_losses(model, rows)
        alone = token_losses(model, rows[1:])
    assert together[1, 2:].tolist() == [0.0, 0.0, 0.0]
    torch.testing.assert_close(together[1, :2], alone[0, :2], rtol=1e-5, atol=1e-5)


def test_learning_rate_warms_up_and_decays() -> None:
    training = Training(steps=1000, batch=1, learning_rate=1.0, seed=0)
    rates = [learning_rate(step, training) for step in range(1000)]
    assert rates[99] == pytest.approx(1.0) and rates[0] == pytest.approx(0.01)
    assert rates[99:] == sorted(rates[99:], reverse=True)
    assert rates[-1] == pytest.approx(0.02, abs=1e-4)


def test_the_shipped_tokenizer_is_the_one_the_script_trains() -> None:
    shipped = AutoTokenizer.from_pretrained(MODEL_DIR)
    assert train_tokenizer().get_vocab() == shipped.get_vocab()


@pytest.mark.slow
def test_training_is_reproducible(tmp_path: Path) -> None:
    training = Training(2, 4, 3e-3, seed=1, card_documents=4, card_items=8)
    for name in ("a", "b"):
        train(training, tmp_path / name)
    for file in ("model.safetensors", "tokenizer.json", "card.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_importing_the_package_needs_no_torch() -> None:
    code = (
        "import sys, toolchain.embedded; print(sorted({'torch', 'transformers'} & {*sys.modules}))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"
