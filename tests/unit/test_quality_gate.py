"""G2: scores of real models, the decision, and the texts that are refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from runtime_py.bundle import open_bundle
from runtime_py.engines import open_engine
from toolchain.embedded import MODEL_DIR
from toolchain.errors import BadRequestError
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.validation.logits import ROWS
from toolchain.validation.noninferiority import bootstrap_bounds, documents_needed, non_inferiority
from toolchain.validation.quality import quality_gate, score_documents
from toolchain.validation.remember import DenseLogits
from toolchain.validation.scores import PairedScores
from toolchain.validation.text import parity_sequences, read_gate_text
from toolchain.validation.verdict import FAIL, INCONCLUSIVE, PASS


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return open_checkpoint(MODEL_DIR)


def constant(difference: float, documents: int = 20, tokens: int = 50) -> list[PairedScores]:
    """Documents whose every token is `difference` nats worse, with a little spread."""
    return [
        PairedScores(
            tokens=tokens,
            dense_nll=1.5 * tokens,
            artifact_nll=(1.5 + difference + 0.001 * (-1) ** i) * tokens,
            kl=0.01 * tokens,
            agreements=tokens - 5,
        )
        for i in range(documents)
    ]


def spread(difference: float, documents: int, each: float) -> list[PairedScores]:
    """Documents of 50 tokens that lie `each` nats above and below `difference` in turn."""
    signs = [(-1) ** i for i in range(documents)]
    return [PairedScores(50, 75.0, 75.0 + 50 * (difference + each * s), 1.0, 45) for s in signs]


def test_paired_scores_equal_brute_force() -> None:
    generator = torch.Generator().manual_seed(3)
    positions = 2 * ROWS + 5
    dense = torch.randn(positions, 17, generator=generator) * 3
    artifact = dense + torch.randn(positions, 17, generator=generator)
    targets = torch.randint(17, (positions,), generator=generator)
    scores = PairedScores()
    scores.add(dense, artifact, targets)
    nll = [0.0, 0.0]
    kl, agree, lost, gained = 0.0, 0, 0, 0
    for d, a, t in zip(dense.tolist(), artifact.tolist(), targets.tolist(), strict=True):
        p, q = ([math.exp(x) / math.fsum(map(math.exp, row)) for x in row] for row in (d, a))
        nll[0] -= math.log(p[t])
        nll[1] -= math.log(q[t])
        kl += math.fsum(x * math.log(x / y) for x, y in zip(p, q, strict=True))
        best = d.index(max(d)), a.index(max(a))
        agree += best[0] == best[1]
        lost += best[0] == t != best[1]
        gained += best[0] != t == best[1]
    assert scores.tokens == positions
    assert scores.dense_nll == pytest.approx(nll[0], rel=1e-9)
    assert scores.artifact_nll == pytest.approx(nll[1], rel=1e-9)
    assert scores.kl == pytest.approx(kl, rel=1e-9)
    assert math.fsum(scores.token_kl) == pytest.approx(kl, rel=1e-9)
    assert (scores.agreements, scores.lost, scores.gained) == (agree, lost, gained)


def test_scores_of_a_real_bundle_are_those_of_its_model(
    embedded_bundle: Callable[[str], Path], checkpoint: Checkpoint
) -> None:
    """Documents longer than the context are cut, stay one cluster, and lose no token."""
    bundle = embedded_bundle("onnx")
    manifest = open_bundle(bundle)
    engine = open_engine(bundle, manifest, 1)
    model = checkpoint.load()
    text = read_gate_text("builtin", checkpoint.tokenizer())
    documents = [*text.documents[:2], text.documents[2] + text.documents[3][1:]]
    assert len(documents[2]) > engine.context_length
    dense = DenseLogits(checkpoint)
    scores = score_documents(dense, engine, documents, manifest.bos_token_id).documents
    assert [s.tokens for s in scores] == [len(d) - 1 for d in documents]
    for score in scores:
        assert score.artifact_nll == pytest.approx(score.dense_nll, abs=1e-3)
        assert score.kl == pytest.approx(0, abs=1e-6)
        assert score.agreements == score.tokens
    ids = torch.tensor([documents[0][: engine.context_length]])
    loss = float(model(ids, labels=ids).loss)
    short = score_documents(dense, engine, ids.tolist(), manifest.bos_token_id).documents[0]
    assert short.dense_nll / short.tokens == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize(
    ("difference", "outcome"),
    [(-0.1, PASS), (0.0, PASS), (0.09, PASS), (math.log1p(0.1), INCONCLUSIVE), (0.11, FAIL)],
)
def test_the_rule(difference: float, outcome: str) -> None:
    result = quality_gate(constant(difference), 0.1, 0.05)
    assert result.outcome == outcome
    assert result.findings[0].passed == (outcome == PASS)
    ratio = result.measures["perplexity_ratio"]
    assert ratio.value == pytest.approx(math.exp(difference))
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.low < math.exp(difference) < ratio.high
    assert result.measures["dense_perplexity"].value == pytest.approx(math.exp(1.5))
    assert result.measures["kl_nats"].value == pytest.approx(0.01)
    assert result.measures["top1_agreement"].value == pytest.approx(0.9)


def test_an_open_question_names_the_documents_it_needs() -> None:
    result = quality_gate(spread(0.05, 10, 0.2), 0.1, 0.05)
    assert result.outcome == INCONCLUSIVE
    needed = result.measures["documents_needed"].value
    assert needed is not None
    assert f"about {needed:g} documents would settle it with probability 95%" in result.sentence
    assert "if the estimate holds" in result.sentence
    assert quality_gate(spread(0.05, int(needed) // 2 * 2 + 2, 0.2), 0.1, 0.05).outcome == PASS


def test_an_estimate_beyond_the_margin_is_not_sold_as_a_lack_of_text() -> None:
    result = quality_gate(spread(0.12, 10, 0.2), 0.1, 0.05)
    assert result.outcome == INCONCLUSIVE
    assert "beyond the margin" in result.sentence
    assert "rather to a FAIL" in result.sentence


def test_an_estimate_at_the_margin_has_no_number_that_settles_it() -> None:
    assert documents_needed([1.0, 2.0, 4.0], [10, 10, 10], 0.0, 0.05) is None
    limit = math.log1p(0.1)
    assert non_inferiority([limit * 10 + 1, limit * 10 - 1], [10, 10], 0.1, 0.05).outcome == (
        INCONCLUSIVE
    )
    assert "no number of documents" in quality_gate(spread(limit, 2, 0.2), 0.1, 0.05).sentence


def test_differences_whose_cubes_are_zero_are_drawn_too() -> None:
    tiny = 3.7e-143
    low, high = bootstrap_bounds([0.0, tiny], [1, 1], 0.05)
    assert low <= tiny / 2 <= high
    assert documents_needed([0.0, tiny], [1, 1], 0.1, 0.05) == 2


def test_a_likelihood_that_is_no_number_fails() -> None:
    scores = constant(0.0)
    scores[3].artifact_nll = math.nan
    result = quality_gate(scores, 0.1, 0.05)
    assert result.outcome == FAIL
    assert result.sentence == "1 of 20 documents have a likelihood that is no number"


def test_a_ruined_model_fails_with_numbers_that_json_can_hold() -> None:
    result = quality_gate(constant(2000.0), 0.1, 0.05)
    assert result.outcome == FAIL
    assert result.measures["perplexity_ratio"].value is None
    assert result.measures["delta_nats"].value == pytest.approx(2000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read text"),
        ("", "is empty"),
        ("  \n\n ", "is empty"),
        ("one story alone\nin two lines", "has 1 document to score"),
    ],
)
def test_text_that_cannot_judge_is_refused(
    content: str | None, message: str, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadRequestError, match=message):
        read_gate_text(str(path), checkpoint.tokenizer())


def test_the_same_text_has_the_same_hash_wherever_it_lies(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    tokenizer = checkpoint.tokenizer()
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("Mia ran.\n<|endoftext|>\nTom slept.\n")
    other.write_text("Mia ran.\n\n\nTom slept.")
    first = read_gate_text(str(one), tokenizer)
    assert first.sha256 == read_gate_text(str(other), tokenizer).sha256
    assert all(ids[0] == tokenizer.bos_token_id for ids in first.documents)
    other.write_text("Mia ran.\n\n\nTom woke.")
    assert first.sha256 != read_gate_text(str(other), tokenizer).sha256


def test_parity_sequences_cover_the_whole_context() -> None:
    documents = [[0, 1, 2], [0, *range(3, 12)], [0, 1]]
    sequences = parity_sequences(documents, context_length=8, count=2)
    assert sequences == [[0, 1, 2], [0, 3, 4, 5, 6, 7, 8, 9], [0, 1, 2, 0, 3, 4, 5, 6]]
    assert parity_sequences(documents, context_length=99, count=1)[-1] == [
        *documents[0],
        *documents[1],
        *documents[2],
    ]
