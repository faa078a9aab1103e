"""Whether evaluation text was calibrated on: shared word n-grams, from a sketch of bounded size.

A text's shingles are its runs of `SHINGLE_WORDS` words, lower-case and without punctuation; a
document with fewer words is one shingle. A sketch keeps the smallest hashes (bottom-k, Broder 1997,
"On the resemblance and containment of documents"), so that a shingle whose hash is below the
largest kept one is in the calibration text if and only if its hash is in the sketch.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolchain.errors import BadRequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]

SHINGLE_WORDS = 13
"""As long as the n-grams by which GPT-3's training data was searched for benchmarks."""
SKETCH_HASHES = 3072
"""24 KiB, 32 KiB as text in JSON."""
OCCURS = 0.5
"""A document occurs in a text that holds more than this share of its shingles."""
ENOUGH_SHINGLES = 4
"""A document is not counted if an incomplete sketch can know fewer of its shingles."""

_WORD = re.compile(r"\w+")
_BASE = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
"""Constants of splitmix64."""


@dataclass(frozen=True)
class Overlap:
    """How much of an evaluation text occurs in a calibration text.

    Documents of which the sketch could know no shingle, or too few, are not counted at all.
    """

    documents: int
    occurring_documents: int
    shingles: int
    occurring_shingles: int

    @property
    def share(self) -> float:
        """Of the documents, those that occur."""
        return self.occurring_documents / self.documents if self.documents else 0.0

    @property
    def warning(self) -> str:
        """One line, empty where no document occurs."""
        if not self.occurring_documents:
            return ""
        return f"{self.share:.1%} of the evaluation documents occur in the calibration text"


@dataclass(frozen=True)
class Sketch:
    """The smallest hashes of a text's shingles."""

    hashes: Hashes
    """Sorted, without repetition."""
    complete: bool
    """Whether these are all there are."""

    @classmethod
    def of(cls, documents: Iterable[str], size: int | None = SKETCH_HASHES) -> Sketch:
        """The sketch of some documents; a `size` of None keeps every hash."""
        import numpy as np

        cache: dict[str, int] = {}
        found = [_shingles(document, cache) for document in documents]
        hashes = np.unique(np.concatenate(found)) if found else np.empty(0, np.uint64)
        return cls(hashes[:size], size is None or len(hashes) <= size)

    def overlap(self, documents: Iterable[str]) -> Overlap:
        """How much of `documents` occurs in the text of this sketch."""
        import numpy as np

        cache: dict[str, int] = {}
        counts = []
        for document in documents:
            hashes = _shingles(document, cache)
            if not self.complete:
                hashes = hashes[hashes <= self.hashes[-1]]
            if len(hashes) >= (1 if self.complete else ENOUGH_SHINGLES):
                known = np.isin(hashes, self.hashes, assume_unique=True)
                counts.append((int(known.sum()), len(hashes)))
        return Overlap(
            documents=len(counts),
            occurring_documents=sum(known > OCCURS * whole for known, whole in counts),
            shingles=sum(whole for _, whole in counts),
            occurring_shingles=sum(known for known, _ in counts),
        )

    def record(self) -> dict[str, Any]:
        """Plain JSON values, at most 32 KiB for the default size."""
        return {
            "shingle_words": SHINGLE_WORDS,
            "complete": self.complete,
            "hashes": base64.b64encode(self.hashes.astype("<u8").tobytes()).decode(),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Sketch:
        """Read what `record` gave.

        Raises:
            BadRequestError: it is something else, or of other shingles than this version's.
        """
        import numpy as np

        try:
            data = base64.b64decode(record["hashes"], validate=True)
            hashes = np.frombuffer(data, dtype="<u8").astype(np.uint64)
            complete, words = record["complete"], record["shingle_words"]
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise BadRequestError(f"the record's sketch cannot be read: {error}") from error
        if words != SHINGLE_WORDS or not (complete or len(hashes)):
            raise BadRequestError("the record's sketch cannot be read: it is of another version")
        return cls(hashes, bool(complete))


def overlap(calibration: Iterable[str], evaluation: Iterable[str]) -> Overlap:
    """How much of the documents `evaluation` occurs in the documents `calibration`, exactly."""
    return Sketch.of(calibration, None).overlap(evaluation)


def _shingles(document: str, cache: dict[str, int]) -> Hashes:
    """Hashes of a document's shingles, sorted, without repetition.

    Args:
        document: text.
        cache: hashes of words met so far.
    """
    import numpy as np

    words = _WORD.findall(document.lower())
    if not words:
        return np.empty(0, np.uint64)
    values = np.array([_word_hash(word, cache) for word in words], dtype=np.uint64)
    length = min(SHINGLE_WORDS, len(words))
    # A polynomial in the hashes of the words, modulo 2^64; arrays of uint64 wrap silently.
    rolled = np.zeros(len(words) - length + 1, dtype=np.uint64)
    for start in range(length):
        rolled = rolled * np.uint64(_BASE) + values[start : start + len(rolled)]
    for shift, factor in zip((30, 27), _MIX, strict=True):
        rolled = (rolled ^ (rolled >> np.uint64(shift))) * np.uint64(factor)
    return np.unique(rolled ^ (rolled >> np.uint64(31)))


def _word_hash(word: str, cache: dict[str, int]) -> int:
    if word not in cache:
        digest = hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest()
        cache[word] = int.from_bytes(digest, "little")
    return cache[word]
