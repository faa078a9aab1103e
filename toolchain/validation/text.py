"""The text of the gates: held-out documents, as token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runtime_py.schema import sha256_of_json
from toolchain.calibrate.overlap import Sketch
from toolchain.calibrate.sources import encode, read_documents
from toolchain.errors import BadRequestError


@dataclass(frozen=True)
class GateText:
    """Held-out documents, with the hash of the text itself."""

    source: str
    sha256: str
    texts: list[str]
    """The documents as they were read."""
    documents: list[list[int]]
    """Token ids, BOS first where the tokenizer has one; each holds at least two ids."""

    def limited(self, most: int | None) -> GateText:
        """At most `most` documents, spread evenly over all; the hash is of what is left."""
        if most is None or most >= len(self.documents):
            return self
        chosen = [self.documents[int(i * len(self.documents) / most)] for i in range(most)]
        return replace(self, sha256=sha256_of_json([self.sha256, most]), documents=chosen)


def read_gate_text(source: str, tokenizer: Any) -> GateText:
    """Read and encode the text that the gates are judged on.

    Args:
        source: `builtin` or a text file.
        tokenizer: the reference's tokenizer.

    Raises:
        BadRequestError: no such file, an empty one, or fewer than two documents with a token to
            predict: documents are what the confidence bound counts.
    """
    texts = read_documents(source, "evaluation")
    documents = [ids for ids in encode(tokenizer, texts) if len(ids) > 1]
    if len(documents) < 2:
        raise BadRequestError(
            f"text {source} has {len(documents)} document to score, and a bound needs 2 at least",
            "give held-out text with more documents",
        )
    return GateText(source, sha256_of_json(texts), texts, documents)


def overlap_notes(pruning: Mapping[str, Any], text: GateText) -> list[str]:
    """What to say where the text was calibrated on.

    Args:
        pruning: the checkpoint's record; empty where nothing was pruned.
        text: the text of the gates.
    """
    calibration = pruning.get("calibration")
    record = calibration.get("sketch") if isinstance(calibration, dict) else None
    if record is None:
        return []
    try:
        warning = Sketch.from_record(record).overlap(text.texts).warning
    except BadRequestError as error:
        return [f"whether the text was calibrated on is unknown: {error.message}"]
    return [warning] if warning else []


def parity_sequences(
    documents: Sequence[Sequence[int]], context_length: int, count: int
) -> list[list[int]]:
    """Token sequences for the parity gate: whole documents, and one that fills the context.

    Args:
        documents: token ids.
        context_length: most ids in one sequence.
        count: how many documents to take from the start.

    Returns:
        `count` documents cut to the context, then the documents run together up to the context.
    """
    sequences = [list(d[:context_length]) for d in documents[:count]]
    joined: list[int] = []
    for document in documents:
        joined += document
        if len(joined) >= context_length:
            break
    return [*sequences, joined[:context_length]]
