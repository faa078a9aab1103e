"""An encoder on its way into a bundle; `subject.py` is the same for language models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from runtime_py.engines.encoder import open_encoder
from runtime_py.schema import GoldenCase, Manifest
from runtime_py.sensors import available_cores
from toolchain.embedded import documents
from toolchain.exporting import encoder
from toolchain.exporting.encoder import Encoder, pooling, prepare_
from toolchain.exporting.golden import CASES, golden_embeddings
from toolchain.exporting.subject import Judgement
from toolchain.exporting.written import Written
from toolchain.recipe import ExportSettings
from toolchain.validation.embeddings import (
    SENTENCES,
    ExpectedEmbedding,
    compare_embeddings,
    cosine_limit,
    embedding_gate,
    embedding_records,
    embeddings,
    sentences,
)

if TYPE_CHECKING:
    from toolchain.model.checkpoint import Checkpoint


class SentenceEncoder:
    """An encoder, loaded, its references taken, and rounded as the file will be."""

    kind = "encoder"

    def __init__(self, source: Checkpoint, settings: ExportSettings) -> None:
        self._settings = settings
        self._limit = cosine_limit(settings.backend, settings.quant)
        self.golden_cases: list[GoldenCase] = []
        model = source.load()
        encoded = export_sentences(source, settings.context)
        pool = pooling(source.path)
        originals = []
        if settings.quant != "none":
            originals = embeddings(Encoder(model, source.spec, settings.context, pool), encoded)
        prepare_(model, source.spec, settings)
        self._encoder = Encoder(model, source.spec, settings.context, pool).eval()
        rounded = embeddings(self._encoder, encoded)
        expected = [ExpectedEmbedding(*pair) for pair in zip(encoded, rounded, strict=True)]
        if originals:
            pairs = zip(expected, originals, strict=True)
            expected = [replace(e, original=original) for e, original in pairs]
        self._expected = expected
        self.golden_embeddings = golden_embeddings(self._encoder, encoded[:CASES], self._limit)

    def write(self, out: Path) -> Written:
        """Write the model file; see `Subject`."""
        return encoder.write(self._encoder, out, self._settings)

    def judge(self, bundle: Path, manifest: Manifest) -> Judgement:
        """Compare the file with torch; see `Subject`."""
        threads = torch.get_num_threads()
        engine = open_encoder(bundle, manifest, available_cores())
        numbers = compare_embeddings(engine, self._expected)
        torch.set_num_threads(threads)  # ExecuTorch's engine sets torch's
        gate = embedding_gate(numbers, self._limit)
        return Judgement(embedding_records(numbers, gate), gate.sentence, gate.passed)


def export_sentences(source: Checkpoint, context: int) -> list[list[int]]:
    """Real text from three tokens to as many as the context holds, in growing lengths."""
    encoded = sentences(source.tokenizer(), documents("evaluation", SENTENCES), context)
    longest = min(context, max(map(len, encoded)))
    shortest = min(3, longest)
    cut = []
    for index, ids in enumerate(encoded):
        length = round(shortest * (longest / shortest) ** (index / (SENTENCES - 1)))
        # The last token closes a sentence (SEP), whatever is cut out before it.
        cut.append([*ids[: min(length, len(ids)) - 1], ids[-1]])
    order = [*range(0, SENTENCES, SENTENCES // CASES), *range(SENTENCES)]
    return [cut[index] for index in dict.fromkeys(order)]
