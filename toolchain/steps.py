"""The log of a run's finished steps, so that a step with the same inputs is not repeated."""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from runtime_py.schema import sha256_of_json
from toolchain import __version__
from toolchain.progress import Progress
from toolchain.store import CHECKPOINT_RECORD, check_output, sha256_file, write_json

RUN_RECORD = "run.json"
RUN_SCHEMA = "paredown.run/1"
DIRECTORY_RECORDS = (CHECKPOINT_RECORD, "manifest.json")
VERSIONED_PACKAGES = ("torch", "transformers", "executorch", "torchao", "onnx", "onnxruntime")


class StepLog:
    """`run.json` of one output directory: for each step, the hash of what went in and came out."""

    def __init__(self, out: Path, progress: Progress) -> None:
        check_output(out)
        self._path = out / RUN_RECORD
        self._progress = progress
        self._record: dict[str, Any] = {"schema": RUN_SCHEMA, "steps": {}}
        if self._path.is_file():
            self._record = json.loads(self._path.read_text(encoding="utf-8"))

    def do(
        self, name: str, inputs: dict[str, Any], output: Path, work: Callable[[], object]
    ) -> None:
        """Run `work`, which makes `output`, unless it is there already from the same inputs.

        Args:
            name: the step's name, unique in the run.
            inputs: everything that determines the output, as plain JSON.
            output: the file or directory that `work` makes.
            work: the step itself.
        """
        key = sha256_of_json({"inputs": inputs, "versions": _versions()})
        done = self._record["steps"].get(name, {})
        if done.get("inputs_sha256") == key and done.get("output_sha256") == _fingerprint(output):
            self._progress.note(f"{name}: kept from an earlier run ({output})")
            return
        self._progress.note(f"{name} …")
        start = time.monotonic()
        write_json(self._path, self._record)  # the directory is ours from here on
        try:
            work()
        except Exception:
            self._forget_if_empty()
            raise
        self._record["steps"][name] = {
            "inputs_sha256": key,
            "output_sha256": _fingerprint(output),
            "seconds": round(time.monotonic() - start, 3),
        }
        write_json(self._path, self._record)

    def _forget_if_empty(self) -> None:
        """Remove a run directory in which no step ever finished."""
        if not self._record["steps"]:
            self._path.unlink()
            out = self._path.parent
            for folder in [*out.iterdir(), out]:
                with suppress(OSError):  # not empty, or not a folder
                    folder.rmdir()

    def finish(self, result: dict[str, Any]) -> None:
        """Put the run's result beside its steps."""
        self._record["result"] = result
        write_json(self._path, self._record)


def _fingerprint(output: Path) -> str | None:
    """Hash of a file, or of the record file of a directory that paredown wrote."""
    candidates = [output, *(output / name for name in DIRECTORY_RECORDS)]
    return next((sha256_file(path) for path in candidates if path.is_file()), None)


def _versions() -> dict[str, str]:
    versions = {"paredown": __version__}
    for package in VERSIONED_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = ""
    return versions
