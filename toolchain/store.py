"""Output directories that appear whole or not at all, hashes, and marks of what is ours."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from toolchain.errors import BadRequestError

CHECKPOINT_RECORD = "paredown.json"
"""The file that marks a compact checkpoint written by `paredown prune`."""

OUR_MARKS = (CHECKPOINT_RECORD, "manifest.json", "run.json", "runner.json")
"""A directory with one of these (and our schema inside) is one that we wrote."""

WORK_KEY = "inputs.sha256"


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def source_sha256(source: str) -> str:
    """SHA-256 of a file, or the name itself of a source that is no file (`builtin`, a Hub id)."""
    path = Path(source)
    return sha256_file(path) if path.is_file() else source


def sha256_files(paths: list[Path]) -> str:
    """One SHA-256 over several files: their names and digests, in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def is_ours(directory: Path) -> bool:
    """Whether `directory` carries a record that paredown wrote."""
    for mark in OUR_MARKS:
        path = directory / mark
        if path.is_file():
            try:
                schema = json.loads(path.read_text(encoding="utf-8")).get("schema", "")
            except (json.JSONDecodeError, AttributeError, UnicodeDecodeError):
                return False
            return str(schema).startswith("paredown.")
    return False


def check_output(out: Path) -> None:
    """Refuse an output path that exists and is not ours, or that cannot be created.

    Raises:
        BadRequestError: with the path and the way out.
    """
    if out.is_dir() and any(out.iterdir()) and not is_ours(out):
        raise BadRequestError(
            f"output directory {out} exists and was not written by paredown",
            "choose another --out or empty it yourself",
        )
    if out.exists() and not out.is_dir():
        raise BadRequestError(f"output {out} is a file, not a directory", "choose another --out")
    parent = next(p for p in out.absolute().parents if p.exists())
    if not os.access(parent, os.W_OK):
        raise BadRequestError(f"cannot write to {parent}", "choose another --out")


def work_directory(out: Path) -> Path:
    """Where unfinished work for `out` lives: a hidden sibling, on the same file system."""
    return out.absolute().parent / f".{out.name}.partial"


@contextmanager
def resumable_directory(out: Path, inputs_sha256: str) -> Iterator[Path]:
    """A work directory that becomes `out` when the block ends well.

    An interrupted block leaves the work directory behind; the next call with the same
    `inputs_sha256` gets it back with what it holds, any other inputs start from an empty one. A
    block that fails with a user error leaves nothing.

    Args:
        out: the final directory; replaced if it is ours.
        inputs_sha256: hash of everything that determines the content.

    Raises:
        BadRequestError: `out` exists and is not ours.
    """
    check_output(out)
    work = work_directory(out)
    key = work / WORK_KEY
    if work.exists() and not (key.is_file() and key.read_text() == inputs_sha256):
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    key.write_text(inputs_sha256)
    try:
        yield work
    except Exception:
        shutil.rmtree(work, ignore_errors=True)
        raise
    key.unlink()
    _replace(work, out)


@contextmanager
def atomic_directory(out: Path) -> Iterator[Path]:
    """Like `resumable_directory`, for work that is quicker to repeat than to resume."""
    check_output(out)
    work = work_directory(out)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    _replace(work, out)


def _replace(work: Path, out: Path) -> None:
    if out.exists():
        old = work.with_suffix(".old")
        shutil.rmtree(old, ignore_errors=True)
        out.rename(old)
        work.rename(out)
        shutil.rmtree(old)
    else:
        work.rename(out)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A path beside `path` that becomes it when the block ends well, and is gone if not.

    Raises:
        BadRequestError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise BadRequestError(
            f"cannot write {path}: {error.strerror or error}", "choose another --out"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Raises:
        BadRequestError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise BadRequestError(
            f"cannot write {path}: {error.strerror or error}", "choose another --out"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """`write_text` of indented JSON; NaN and Infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
