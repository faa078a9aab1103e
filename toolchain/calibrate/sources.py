"""Text for calibration and evaluation: where it comes from, its tokens, and seeded samples."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime_py.schema import sha256_of_json
from toolchain.calibrate.overlap import Sketch
from toolchain.errors import BadRequestError, MissingError, require_extra

BUILTIN_DOCUMENTS = {"train": 1024, "calibration": 1024, "evaluation": 256}
HUB_DOCUMENTS = 4096
END_OF_TEXT = "<|endoftext|>"
MINIMUM_SAMPLE_TOKENS = 8
"""Shorter ends of cut documents tell nothing and are left out."""

_ARTICLE = re.compile(r"^ = [^=\n].* = $")
"""A first-level heading of WikiText: ` = Title = `."""


@dataclass(frozen=True)
class Portion:
    """What was drawn from one source."""

    source: str
    weight: float
    training: list[list[int]]
    held_out: list[list[int]]
    documents: list[int]
    """Indices of the documents that a piece was taken from, in increasing order."""

    def record(self) -> dict[str, Any]:
        """Source, weight, hash of the ids and counts."""
        return {"source": self.source, "weight": self.weight, **_counts(self)}


@dataclass(frozen=True)
class Samples:
    """Token ids to calibrate on, and others to judge with; no piece of text is in both."""

    source: str
    """The sources as they were asked for."""
    seed: int
    training: list[list[int]]
    held_out: list[list[int]]
    portions: tuple[Portion, ...]
    sketch: Sketch | None = None
    """Of the documents that were drawn from, to recognise them in evaluation text."""

    def record(self) -> dict[str, Any]:
        """What was drawn, for the checkpoint's record: sources, hashes of the ids, seed, counts."""
        sketch = {} if self.sketch is None else {"sketch": self.sketch.record()}
        return {
            "source": self.source,
            "seed": self.seed,
            **_counts(self),
            "sources": [portion.record() for portion in self.portions],
            **sketch,
        }


def _counts(drawn: Portion | Samples) -> dict[str, Any]:
    return {
        "token_ids_sha256": sha256_of_json([drawn.training, drawn.held_out]),
        "samples": len(drawn.training),
        "tokens": sum(map(len, drawn.training)),
        "held_out_samples": len(drawn.held_out),
        "held_out_tokens": sum(map(len, drawn.held_out)),
    }


def read_documents(source: str, split: str) -> list[str]:
    """Documents of a text, stripped, without empty ones.

    Args:
        source: `builtin` (the embedded stories), a UTF-8 text file, or
            `hub:NAME[:CONFIG[:SPLIT]]`.
        split: for `builtin` alone: "train", "calibration" or "evaluation".

    Raises:
        BadRequestError: no such file or dataset, not text, or nothing in it.
        MissingError: a Hub dataset without the extra `evals` or without a network.
    """
    if source == "builtin":
        from toolchain.embedded import documents

        return documents(split, BUILTIN_DOCUMENTS[split])
    if source.startswith("hub:"):
        found = _read_hub(source)
    else:
        found = split_documents(_read_file(Path(source)))
    if not found:
        raise BadRequestError(f"text {source} is empty", "give a file with some text")
    return found


def split_documents(text: str) -> list[str]:
    """Cut a text into documents.

    At lines that are `<|endoftext|>` where there are any; else before WikiText's first-level
    headings where there are any; else at blank lines.
    """
    lines = text.splitlines()
    if any(line.strip() == END_OF_TEXT for line in lines):
        starts = [line.strip() == END_OF_TEXT for line in lines]
        lines = ["" if start else line for start, line in zip(starts, lines, strict=True)]
    elif any(map(_ARTICLE.match, lines)):
        starts = [_ARTICLE.match(line) is not None for line in lines]
    else:
        starts = [not line.strip() for line in lines]
    documents: list[list[str]] = [[]]
    for line, start in zip(lines, starts, strict=True):
        if start:
            documents.append([])
        documents[-1].append(line)
    return [joined for part in documents if (joined := "\n".join(part).strip())]


def encode(tokenizer: Any, documents: Sequence[str]) -> list[list[int]]:
    """Token ids of each document; BOS first, once, wherever the tokenizer has a BOS.

    Args:
        tokenizer: a transformers tokenizer.
        documents: texts.
    """
    # verbose=False: documents longer than the context are cut later, which needs no warning.
    batch = tokenizer(list(documents), add_special_tokens=False, verbose=False)
    bos = tokenizer.bos_token_id
    prefix = [] if bos is None else [int(bos)]
    return [prefix + [int(i) for i in ids] for ids in batch["input_ids"]]


def pieces(ids: Sequence[int], length: int, bos_token_id: int | None) -> list[list[int]]:
    """Cut a document into sequences of at most `length` ids.

    With a BOS every piece starts with it, so that each real token is predicted exactly once;
    without, a piece starts with the last id of the piece before.

    Args:
        ids: the document, BOS first where there is one.
        length: >= 2.
        bos_token_id: the id that opens a document, if the model has one.
    """
    if bos_token_id is not None and ids and ids[0] == bos_token_id:
        body = list(ids[1:])
        step = length - 1
        return [[bos_token_id, *body[i : i + step]] for i in range(0, max(len(body), 1), step)]
    return [list(ids[i : i + length]) for i in range(0, max(len(ids) - 1, 1), length - 1)]


def held_out_count(samples: int) -> int:
    """Held-out samples that go with `samples` calibration samples."""
    return max(2, samples // 8)


def draw_samples(
    documents: Sequence[Sequence[int]],
    *,
    source: str,
    samples: int,
    seq_len: int,
    seed: int,
    bos_token_id: int | None,
) -> Samples:
    """Choose calibration samples and a held-out set of max(2, samples // 8) more from one source.

    Raises:
        BadRequestError: fewer pieces than asked for, with the numbers.
    """
    cutter = Cutter(seq_len, bos_token_id)
    generator = random.Random(seed)  # noqa: S311 - reproducible, not secret
    portion = cutter.draw(documents, source, 1.0, samples, held_out_count(samples), generator)
    return Samples(source, seed, portion.training, portion.held_out, (portion,))


@dataclass(frozen=True)
class Cutter:
    """How documents become samples: whole, or in pieces of at most `seq_len` tokens."""

    seq_len: int
    bos_token_id: int | None

    def draw(
        self,
        documents: Sequence[Sequence[int]],
        source: str,
        weight: float,
        samples: int,
        held_out: int,
        generator: random.Random,
    ) -> Portion:
        """Choose `samples` samples and `held_out` others.

        Documents are shuffled whole before the held-out pieces are taken from the front, so that at
        most one long document has pieces on both sides.

        Raises:
            BadRequestError: fewer pieces than asked for, with the numbers.
        """
        order = list(range(len(documents)))
        generator.shuffle(order)
        cut = [
            (index, piece)
            for index in order
            for piece in pieces(documents[index], self.seq_len, self.bos_token_id)
            if len(piece) >= MINIMUM_SAMPLE_TOKENS
        ]
        if len(cut) < samples + held_out:
            raise self._too_few(len(cut), source, samples, held_out)
        rest = cut[held_out:]
        generator.shuffle(rest)
        chosen, judging = rest[:samples], cut[:held_out]
        return Portion(
            source,
            weight,
            training=[piece for _, piece in chosen],
            held_out=[piece for _, piece in judging],
            documents=sorted({index for index, _ in chosen + judging}),
        )

    def _too_few(self, found: int, source: str, samples: int, held_out: int) -> BadRequestError:
        message = (
            f"text {source} gives {found} samples of at most {self.seq_len} tokens, and "
            f"{samples} + {held_out} held-out ones are needed"
        )
        if held_out != held_out_count(samples):
            return BadRequestError(message, "use fewer --samples, less of this text, or more of it")
        fitting = (n for n in range(found, 1, -1) if n + held_out_count(n) <= found)
        most = next(fitting, 0)
        hint = f"use --samples {most} or less, or more text" if most else "use more text"
        return BadRequestError(message, hint)


def _read_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadRequestError(
            f"text {path} is not UTF-8 at byte {error.start}", "save it as UTF-8"
        ) from error
    except OSError as error:
        raise BadRequestError(
            f"cannot read text {path}: {error.strerror}",
            "give a text file, 'builtin' or hub:NAME[:CONFIG[:SPLIT]]",
        ) from error


def _read_hub(source: str) -> list[str]:
    require_extra("evals", f"reading {source}")
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    name, config, split, *rest = [*source.removeprefix("hub:").split(":"), "", "", ""][:4]
    if not name or any(rest):
        raise BadRequestError(f"'{source}' is not of the form hub:NAME[:CONFIG[:SPLIT]]")
    try:
        rows = load_dataset(name, config or None, split=split or "train", streaming=True)
        texts = [str(row["text"]).strip() for row in rows.take(HUB_DOCUMENTS)]
    except (ConnectionError, TimeoutError) as error:
        raise MissingError(
            f"{source} needs the Hub, which cannot be reached", "give a text file"
        ) from error
    except DatasetNotFoundError as error:
        raise BadRequestError(f"no such dataset on the Hub: {name}") from error
    except ValueError as error:
        raise BadRequestError(f"{source}: {error}") from error
    except KeyError as error:
        raise BadRequestError(f"{source} has no column {error}") from error
    return [text for text in texts if text]
