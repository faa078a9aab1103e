"""A language model on its way into a bundle: what torch says of it, its file, and G1 on that file.

`encoder_subject.py` is the same for encoders.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from runtime_py.engines import open_engine
from runtime_py.schema import GoldenCase, GoldenEmbedding, Manifest, ParityRecord
from runtime_py.sensors import available_cores
from toolchain.calibrate.sources import encode
from toolchain.embedded import documents
from toolchain.exporting.backend import backend_of
from toolchain.exporting.golden import CASES, golden_cases
from toolchain.exporting.torchao_quantization import weights_at_hand
from toolchain.exporting.wrapper import Decoder
from toolchain.exporting.written import Written
from toolchain.recipe import ExportSettings
from toolchain.validation.forced import Expected, compare_engine, expected_logits
from toolchain.validation.parity import limits_of, parity_gate, parity_records
from toolchain.validation.text import parity_sequences

if TYPE_CHECKING:
    from torch import nn

    from toolchain.model.checkpoint import Checkpoint

DOCUMENTS = 4
DOCUMENT_TOKENS = 48
LONGEST_TOKENS = 128
"""Of the text that an export is compared on: its logits are kept in memory until then, at two
times 320 positions."""


@dataclass(frozen=True)
class Judgement:
    """What G1 found at export."""

    records: list[ParityRecord]
    sentence: str
    passed: bool


class Subject(Protocol):
    """One model on its way into a bundle."""

    kind: str
    golden_cases: list[GoldenCase]
    golden_embeddings: list[GoldenEmbedding]

    def write(self, out: Path) -> Written:
        """Write the model file into `out`; torch's model is let go."""
        ...

    def judge(self, bundle: Path, manifest: Manifest) -> Judgement:
        """Compare the written file, on its own engine, with what torch said."""
        ...


class LanguageModel:
    """A causal language model, loaded, its references taken, and rounded as the file will be."""

    kind = "decoder"

    def __init__(self, source: Checkpoint, settings: ExportSettings) -> None:
        self._source, self._settings = source, settings
        self.golden_embeddings: list[GoldenEmbedding] = []
        model = source.load()
        tokenizer = source.tokenizer()
        sequences = export_sequences(encode(tokenizer, documents("evaluation", 64)), settings)
        originals = _logits(model, sequences) if settings.quant != "none" else None
        backend_of(settings.backend).prepare_(model, source.spec, settings)
        texts = documents("evaluation", CASES)
        with weights_at_hand(model):
            self.golden_cases = golden_cases(model, tokenizer, texts, settings)
            expected = [expected_logits(model, ids) for ids in sequences]
        self._expected = with_originals(expected, originals)
        self._model: nn.Module | None = model

    def write(self, out: Path) -> Written:
        """Write the model file; see `Subject`."""
        assert self._model is not None  # noqa: S101 - written once
        decoder = Decoder(self._model, self._source.spec, self._settings.context)
        self._model = None
        ids = self._source.special_ids()
        return backend_of(self._settings.backend).write(decoder, out, self._settings, *ids)

    def judge(self, bundle: Path, manifest: Manifest) -> Judgement:
        """Compare the file with torch; see `Subject`."""
        threads = torch.get_num_threads()
        engine = open_engine(bundle, manifest, available_cores())
        numbers = compare_engine(engine, self._expected)
        torch.set_num_threads(threads)  # ExecuTorch's engine sets torch's
        limits = limits_of(manifest.backend, manifest.quantization)
        gate = parity_gate(numbers, limits)
        records = parity_records(numbers, gate, manifest.quantization != "none")
        return Judgement(records, gate.sentence, gate.passed)


def export_sequences(encoded: list[list[int]], settings: ExportSettings) -> list[list[int]]:
    """Pieces of real text: the starts of some documents, and a longer one of several."""
    context = settings.context
    sequences = parity_sequences(encoded, min(context, LONGEST_TOKENS), DOCUMENTS)
    return [*(ids[:DOCUMENT_TOKENS] for ids in sequences[:-1]), sequences[-1]]


def _logits(model: nn.Module, sequences: list[list[int]]) -> list[torch.Tensor]:
    return [expected_logits(model, ids).logits for ids in sequences]


def with_originals(
    expected: list[Expected], originals: list[torch.Tensor] | None
) -> list[Expected]:
    """`expected` with the checkpoint's own logits beside those of the model that rounds."""
    if originals is None:
        return expected
    return [replace(e, original=o) for e, o in zip(expected, originals, strict=True)]
