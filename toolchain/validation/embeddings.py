"""G1 and G2 of an encoder: cosines of sentence embeddings instead of logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from runtime_py.engines.encoder import EncoderEngine
from runtime_py.schema import ParityRecord
from toolchain.errors import BadRequestError
from toolchain.statistics import cluster_mean
from toolchain.validation.verdict import FAIL, PASS, Finding, GateResult, Measure, finite

COSINE_LIMITS = {
    ("executorch", "none"): 0.99999,
    ("executorch", "8da8w"): 0.99,
    ("executorch", "8da4w"): 0.99,
    ("onnx", "none"): 0.99999,
    ("onnx", "int8"): 0.99,
}
"""Smallest cosine with the torch model that rounds as the artifact does, by backend and
quantisation: at any sentence, and in the golden embeddings. MiniLM in int8 was at 0.9956 at least,
and at 0.979 of the encoder in float32: activations near the middle of two steps (see `LIMITS`)."""

QUALITY_COSINE = 0.95
"""Least mean cosine with the dense encoder's embeddings that G2 accepts."""

SENTENCES = 32
"""Real sentences that an export is compared on."""

Embed = Callable[[Tensor], Tensor]
"""Token ids int64 [1,S] to an embedding [1,hidden_size]."""


@dataclass(frozen=True)
class ExpectedEmbedding:
    """Torch's embedding [hidden_size] of one sentence."""

    ids: list[int]
    embedding: Tensor
    original: Tensor | None = None
    """Of the checkpoint itself, where `embedding` is of a model that rounds."""


@dataclass
class EmbeddingDifference:
    """Running comparison of candidate embeddings with reference embeddings."""

    cosines: list[float] = field(default_factory=list)
    max_abs: float = 0.0
    sum_abs: float = 0.0
    elements: int = 0
    signal: float = 0.0
    noise: float = 0.0
    all_finite: bool = True

    def add(self, reference: Tensor, candidate: Tensor) -> None:
        """Take in one sentence's embeddings [hidden_size]."""
        reference, candidate = reference.double(), candidate.double()
        if not bool(candidate.isfinite().all()):
            self.all_finite = False
            self.cosines.append(-1.0)
            return
        error = (candidate - reference).abs()
        self.max_abs = max(self.max_abs, float(error.max()))
        self.sum_abs += float(error.sum())
        self.elements += error.numel()
        self.signal += float(reference.square().sum())
        self.noise += float(error.square().sum())
        lengths = float(reference.norm() * candidate.norm())
        self.cosines.append(float(reference @ candidate) / lengths if lengths else -1.0)

    @property
    def sqnr_db(self) -> float:
        """10·log10(Σ reference² / Σ (candidate - reference)²); infinite for equal embeddings."""
        return 10 * math.log10(self.signal / self.noise) if self.noise else math.inf


@dataclass
class EmbeddingNumbers:
    """Everything that was compared, over all sentences."""

    faithful: EmbeddingDifference = field(default_factory=EmbeddingDifference)
    """The engine against torch."""
    damage: EmbeddingDifference = field(default_factory=EmbeddingDifference)
    """A quantised artifact against the checkpoint in float32."""
    scheme: EmbeddingDifference = field(default_factory=EmbeddingDifference)
    """The torch model that rounds against the checkpoint in float32."""
    replays_differing: int = 0
    """Sentences whose second embedding is not bit for bit the first."""


def cosine_limit(backend: str, quantization: str) -> float:
    """The smallest cosine that is allowed.

    Raises:
        BadRequestError: no encoder can be exported so.
    """
    if (backend, quantization) not in COSINE_LIMITS:
        known = sorted(quant for each, quant in COSINE_LIMITS if each == backend)
        raise BadRequestError(
            f"an encoder cannot be exported to {backend} with quantisation '{quantization}'",
            f"known: {', '.join(known)}",
        )
    return COSINE_LIMITS[backend, quantization]


def sentences(tokenizer: object, texts: Sequence[str], context: int) -> list[list[int]]:
    """Token ids of each text as its encoder reads it, special tokens included, cut to `context`.

    Args:
        tokenizer: a transformers tokenizer.
        texts: real text.
        context: most tokens of a sentence.
    """
    batch = tokenizer(list(texts), truncation=True, max_length=context)  # type: ignore[operator]
    return [[int(i) for i in ids] for ids in batch["input_ids"]]


@torch.no_grad()
def embeddings(embed: Embed, encoded: Sequence[Sequence[int]]) -> list[Tensor]:
    """Torch's embedding [hidden_size] of each sentence."""
    return [embed(torch.tensor([list(ids)]))[0] for ids in encoded]


def compare_embeddings(
    engine: EncoderEngine, expected: Iterable[ExpectedEmbedding]
) -> EmbeddingNumbers:
    """Run every sentence twice through the engine and compare with what torch says."""
    numbers = EmbeddingNumbers()
    for each in expected:
        found, again = (torch.tensor(engine.embed(each.ids)) for _ in range(2))
        numbers.faithful.add(each.embedding, found)
        numbers.replays_differing += not torch.equal(found, again)
        if each.original is not None:
            numbers.damage.add(each.original, found)
            numbers.scheme.add(each.original, each.embedding)
    return numbers


def embedding_gate(
    numbers: EmbeddingNumbers, limit: float, recorded: Sequence[str] = ()
) -> GateResult:
    """Decide an encoder's G1.

    Args:
        numbers: from `compare_embeddings`.
        limit: the smallest cosine allowed.
        recorded: what the export found wrong, which no later run can make good.
    """
    least = min(numbers.faithful.cosines)
    count = len(numbers.faithful.cosines)
    found = f"smallest cosine with torch {least:.6f} over {count} sentences"
    findings = [
        *(Finding("recorded at export", False, line) for line in recorded),
        Finding("embedding = torch", least >= limit, f"{found}, required {limit:g}"),
        Finding(
            "replay",
            numbers.replays_differing == 0,
            f"replay: {numbers.replays_differing or 'no'} sentences differ when run again",
        ),
    ]
    failed = [f for f in findings if not f.passed]
    return GateResult(
        "G1",
        "export parity",
        f"cosine >= {limit:g} for every sentence; replay identical",
        FAIL if failed else PASS,
        failed[0].sentence if failed else found,
        findings,
        _measures(numbers),
    )


def quality_gate(
    dense: Sequence[Tensor], found: Sequence[Tensor], alpha: float, floor: float = QUALITY_COSINE
) -> GateResult:
    """Decide an encoder's G2: is the mean cosine with the dense encoder at least `floor`?

    Args:
        dense: embeddings [hidden_size] of the dense encoder, one for each document.
        found: the artifact's of the same documents.
        alpha: chance of passing an artifact that is exactly at the floor.
        floor: least mean cosine.
    """
    difference = EmbeddingDifference()
    for reference, candidate in zip(dense, found, strict=True):
        difference.add(reference, candidate)
    mean = cluster_mean(difference.cosines, [1] * len(difference.cosines))
    low, high = mean.bound(alpha), mean.bound(1 - alpha)
    passed = low >= floor
    sentence = (
        f"mean cosine with the dense encoder {mean.mean:.4f}, at least {low:.4f} at "
        f"{1 - alpha:.4g} confidence, required {floor:g}, on {len(dense)} documents"
    )
    return GateResult(
        "G2",
        "non-inferiority",
        f"at {1 - alpha:.4g} confidence the mean cosine of the artifact's embeddings with the "
        f"dense encoder's is at least {floor:g}",
        PASS if passed else FAIL,
        sentence,
        [Finding("cosine", passed, sentence)],
        {
            "documents": Measure(len(dense)),
            "mean_cosine": Measure(mean.mean, mean.standard_error, low, high),
            "smallest_cosine": Measure(min(difference.cosines)),
        },
    )


def _measures(numbers: EmbeddingNumbers) -> dict[str, Measure]:
    measures = {"sentences": Measure(len(numbers.faithful.cosines))}
    for name, difference in (
        ("", numbers.faithful),
        ("to_float_", numbers.damage),
        ("torch_to_float_", numbers.scheme),
    ):
        if difference.cosines:
            measures[f"{name}smallest_cosine"] = Measure(min(difference.cosines))
            measures[f"{name}sqnr_db"] = Measure(finite(difference.sqnr_db))
    return measures


def embedding_records(numbers: EmbeddingNumbers, gate: GateResult) -> list[ParityRecord]:
    """What the manifest remembers of an export's own G1."""
    quantized = bool(numbers.damage.cosines)
    reference = "quantised" if quantized else "float"
    records = [_record(reference, "artifact", numbers.faithful, gate.passed, gate.rule)]
    if quantized:
        reports = "reported, not judged"
        records.append(_record("float", "artifact", numbers.damage, None, reports))
        records.append(_record("float", "quantised", numbers.scheme, None, reports))
    return records


def _record(
    reference: str, candidate: str, found: EmbeddingDifference, passed: bool | None, rule: str
) -> ParityRecord:
    return ParityRecord(
        reference=reference,
        candidate=candidate,
        output="embedding",
        positions=len(found.cosines),
        max_abs=found.max_abs,
        mean_abs=found.sum_abs / max(found.elements, 1),
        sqnr_db=finite(found.sqnr_db) if found.signal else None,
        top1=None,
        kl_nats=None,
        cosine=min(found.cosines),
        passed=passed,
        rule=rule,
    )
