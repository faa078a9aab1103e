"""Likelihood of documents and the perplexity made from it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoint import BOS, write_checkpoint

from toolchain.calibrate.sources import encode, read_documents
from toolchain.model.checkpoint import open_checkpoint
from toolchain.model.likelihood import Perplexity, document_nlls, padded_batches


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    """A tiny random Llama."""
    return open_checkpoint(write_checkpoint(tmp_path_factory.mktemp("m") / "model")).load()


def test_nats_are_those_of_transformers_loss(model: torch.nn.Module) -> None:
    documents = [[BOS, 5, 9, 33, 12], [BOS, 60], [BOS, 7, 7, 20, 31, 30, 29, 41]]
    found = document_nlls(model, documents, context_length=64, bos_token_id=BOS)
    for ids, nlls in zip(documents, found, strict=True):
        tensor = torch.tensor([ids])
        with torch.inference_mode():
            loss = float(model(tensor, labels=tensor).loss)
        assert nlls.dtype == np.float64
        assert len(nlls) == len(ids) - 1
        assert float(nlls.mean()) == pytest.approx(loss, rel=1e-5)


def test_a_long_document_is_scored_in_pieces_that_start_with_bos(model: torch.nn.Module) -> None:
    document = [BOS, *range(4, 24)]
    found = document_nlls(model, [document], context_length=8, bos_token_id=BOS)[0]
    parts = [[BOS, *document[1 + i : 8 + i]] for i in (0, 7, 14)]
    expected = document_nlls(model, parts, context_length=64, bos_token_id=BOS)
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-5)


def test_batches_hold_every_sequence_once() -> None:
    sequences = [[1] * n for n in (3, 9, 1, 4, 9, 2)]
    batches = padded_batches(sequences, batch_tokens=18)
    assert sorted(i for rows, _, _ in batches for i in rows) == list(range(6))
    for rows, ids, mask in batches:
        assert ids.shape == mask.shape
        assert ids.numel() <= 18
        assert mask.sum(1).tolist() == [len(sequences[i]) for i in rows]
        assert bool((ids == mask).all())


def test_perplexity_by_hand() -> None:
    found = Perplexity.of([np.array([1.0, 2.0]), np.array([3.0]), np.array([])])
    assert found.value == pytest.approx(math.exp(2))
    # S - mean * n is -1 and 1, the clusters have 2/3 and 1/3 of the tokens.
    assert found.standard_error == pytest.approx(math.exp(2) * math.sqrt(4.5) / 3)
    assert (found.tokens, found.documents) == (3, 2)


@pytest.mark.assets
def test_the_dense_stories_model_scores_its_known_perplexity(assets: Path) -> None:
    checkpoint = open_checkpoint(assets / "models" / "stories3M")
    text = assets / "data" / "tinystories_eval.txt"
    documents = encode(checkpoint.tokenizer(), read_documents(str(text), "evaluation"))
    nlls = document_nlls(
        checkpoint.load(),
        documents,
        context_length=checkpoint.spec.max_position_embeddings,
        bos_token_id=checkpoint.special_ids()[0],
    )
    perplexity = Perplexity.of(nlls)
    assert perplexity.documents == len(documents) == 478
    assert perplexity.tokens == sum(map(len, documents)) - len(documents)
    assert perplexity.value == pytest.approx(4.615, abs=0.01)
    assert 0 < perplexity.standard_error < 0.1
