"""Engines of encoders: a sentence's token ids in, its embedding out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from runtime_py.engines import check_tokens
from runtime_py.errors import BadRequestError, BrokenBundleError, MissingError
from runtime_py.schema import Manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INPUT, OUTPUT = "input_ids", "sentence_embedding"
"""Names in an ONNX file."""


class EncoderEngine(Protocol):
    """A loaded encoder, batch 1."""

    name: str
    versions: dict[str, str]
    """Version of every package that takes part, by name."""
    vocab_size: int
    context_length: int
    """Most tokens of a sentence."""
    load_ns: int
    """Nanoseconds from opening the model file to a runnable engine, package imports excluded."""

    def embed(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Embedding float32 [hidden_size] of one sentence, special tokens included; length 1.

        Raises:
            BadRequestError: no tokens, a token outside of the vocabulary, or too many of them.
        """
        ...


def open_encoder(bundle: Path, manifest: Manifest, threads: int = 1) -> EncoderEngine:
    """Load the model of an encoder's bundle that `open_bundle` accepted.

    Raises:
        BadRequestError: threads below 1, or the bundle of a language model.
        MissingError: the backend's package is not installed; the hint is the line that installs it.
        BrokenBundleError: the runtime cannot load the model file.
    """
    if threads < 1:
        raise BadRequestError(f"threads is {threads}", "use 1 or more")
    if manifest.kind != "encoder":
        raise BadRequestError(f"bundle {bundle} is of a language model, not of an encoder")
    kind = OnnxEncoder if manifest.backend == "onnx" else ExecutorchEncoder
    return kind(bundle, manifest, threads)


class OnnxEncoder:
    """Runs `model.onnx`: `input_ids` int64 [1,S] to `sentence_embedding` float32 [1,hidden]."""

    name = "onnxruntime"

    def __init__(self, bundle: Path, manifest: Manifest, threads: int) -> None:
        from runtime_py.engines.onnx import open_session

        try:
            import numpy
            import onnxruntime
        except ImportError as error:
            raise MissingError(
                f"running an .onnx bundle needs {error.name}, which is not installed",
                "pip install 'paredown[pi-onnx]'",
            ) from error
        self._numpy = numpy
        self.versions = {"onnxruntime": onnxruntime.__version__, "numpy": numpy.__version__}
        self.vocab_size = manifest.vocab_size
        self.context_length = manifest.context_length
        self._path = manifest.model_path(bundle)
        start = time.perf_counter_ns()
        self._session: Any = open_session(onnxruntime, self._path, threads)
        self.load_ns = time.perf_counter_ns() - start

    def embed(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Embedding of one sentence; see `EncoderEngine`."""
        check_tokens(token_ids, 0, self.vocab_size, self.context_length)
        tokens = self._numpy.array([list(token_ids)], dtype=self._numpy.int64)
        try:
            found = self._session.run([OUTPUT], {INPUT: tokens})
        except Exception as error:  # onnxruntime's own classes share no other base
            raise BrokenBundleError(f"onnxruntime cannot run {self._path}: {error}") from error
        row: NDArray[np.float32] = found[0][0]
        return row


class ExecutorchEncoder:
    """Runs the method `forward(tokens int64 [1,S])` of `model.pte`."""

    name = "executorch"

    def __init__(self, bundle: Path, manifest: Manifest, threads: int) -> None:
        from runtime_py.engines.executorch import open_method

        self.vocab_size = manifest.vocab_size
        self.context_length = manifest.context_length
        self._path = manifest.model_path(bundle)
        opened = open_method(self._path, threads)
        self._opened, self.versions, self.load_ns = opened, opened.versions, opened.load_ns

    def embed(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Embedding of one sentence; see `EncoderEngine`."""
        check_tokens(token_ids, 0, self.vocab_size, self.context_length)
        torch = self._opened.torch
        tokens = torch.tensor([list(token_ids)], dtype=torch.int64)
        try:
            row: NDArray[np.float32] = self._opened.forward((tokens,))[0][0].numpy()
        except RuntimeError as error:
            raise BrokenBundleError(f"executorch cannot run {self._path}: {error}") from error
        return row
