"""An encoder's gates: cosines by hand, and each fault caught by the finding meant for it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from toolchain.errors import BadRequestError
from toolchain.exporting.encoder import pooling
from toolchain.validation.embeddings import (
    EmbeddingDifference,
    ExpectedEmbedding,
    compare_embeddings,
    cosine_limit,
    embedding_gate,
    embedding_records,
    quality_gate,
)
from toolchain.validation.verdict import FAIL, PASS


class TableEncoder:
    """The mean of its tokens' rows, of length 1, in float32."""

    name = "table"
    load_ns = 1

    def __init__(self, noise: float = 0.0, drifting: bool = False) -> None:
        self.versions: dict[str, str] = {}
        self.vocab_size, self.context_length = 20, 16
        rng = np.random.default_rng(3)
        self._rows = rng.normal(size=(20, 12))
        self._rows += noise * rng.normal(size=(20, 12))
        self._drifting, self._calls = drifting, 0

    def embed(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        self._calls += 1
        mean = self._rows[list(token_ids)].mean(0) + self._drifting * 1e-5 * self._calls
        return (mean / np.linalg.norm(mean)).astype(np.float32)


SENTENCES = [[1], [2, 3], [4, 5, 6, 7], [8, 9, 10]]


def expected(originals: bool = False) -> list[ExpectedEmbedding]:
    engine, rounded = TableEncoder(), TableEncoder(0.1)
    pairs = [(torch.tensor(engine.embed(i)), torch.tensor(rounded.embed(i))) for i in SENTENCES]
    if not originals:
        return [ExpectedEmbedding(i, e) for i, (e, _) in zip(SENTENCES, pairs, strict=True)]
    return [ExpectedEmbedding(i, r, e) for i, (e, r) in zip(SENTENCES, pairs, strict=True)]


def test_the_same_embedding_passes() -> None:
    result = embedding_gate(compare_embeddings(TableEncoder(), expected()), 0.9999999)
    assert result.outcome == PASS, result.sentence
    assert result.measures["sentences"].value == len(SENTENCES)


def test_another_embedding_is_caught() -> None:
    numbers = compare_embeddings(TableEncoder(0.5), expected())
    result = embedding_gate(numbers, 0.999)
    assert result.outcome == FAIL
    assert [f.name for f in result.findings if not f.passed] == ["embedding = torch"]
    least = min(
        float(np.dot(TableEncoder().embed(ids), TableEncoder(0.5).embed(ids))) for ids in SENTENCES
    )
    assert result.measures["smallest_cosine"].value == pytest.approx(least, abs=1e-6)


def test_an_engine_that_drifts_is_caught() -> None:
    result = embedding_gate(compare_embeddings(TableEncoder(drifting=True), expected()), 0.999)
    assert [f.name for f in result.findings if not f.passed] == ["replay"]


def test_no_number_is_the_worst_cosine() -> None:
    difference = EmbeddingDifference()
    difference.add(torch.ones(3), torch.tensor([1.0, math.nan, 1.0]))
    difference.add(torch.ones(3), torch.zeros(3))
    assert difference.cosines == [-1.0, -1.0]
    assert not difference.all_finite


def test_records_of_a_rounded_encoder() -> None:
    numbers = compare_embeddings(TableEncoder(0.1), expected(originals=True))
    records = embedding_records(numbers, embedding_gate(numbers, 0.999))
    named = [(r.reference, r.candidate, r.passed) for r in records]
    assert named == [
        ("quantised", "artifact", True),
        ("float", "artifact", None),
        ("float", "quantised", None),
    ]
    # The artifact is the rounded model here, so that both cost the same.
    assert records[1].cosine == pytest.approx(records[2].cosine)
    assert records[0].cosine == pytest.approx(1)
    assert (records[1].cosine or 1) < 0.9999


@pytest.mark.parametrize(("noise", "outcome"), [(0.01, PASS), (1.0, FAIL)])
def test_quality_is_a_bound_on_the_mean_cosine(noise: float, outcome: str) -> None:
    dense, found = TableEncoder(), TableEncoder(noise)
    texts = [[i, (i + 1) % 20, (i + 5) % 20] for i in range(20)]
    result = quality_gate(
        [torch.tensor(dense.embed(ids)) for ids in texts],
        [torch.tensor(found.embed(ids)) for ids in texts],
        alpha=0.05,
    )
    assert result.outcome == outcome
    mean = result.measures["mean_cosine"]
    assert mean.low is not None
    assert mean.value is not None
    assert mean.low < mean.value


def test_a_quantisation_that_encoders_lack() -> None:
    with pytest.raises(BadRequestError, match="quantisation 'int4'; known: int8, none"):
        cosine_limit("onnx", "int4")


@pytest.mark.parametrize(
    ("modes", "pool"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "first"),
        ({}, "mean"),
    ],
)
def test_pooling(tmp_path: Path, modes: dict[str, bool], pool: str) -> None:
    if modes:
        (tmp_path / "1_Pooling").mkdir()
        config = {"word_embedding_dimension": 8, **modes}
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(config))
    assert pooling(tmp_path) == pool


def test_pooling_that_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    modes = {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    with pytest.raises(BadRequestError, match="max_tokens and mean_tokens"):
        pooling(tmp_path)
