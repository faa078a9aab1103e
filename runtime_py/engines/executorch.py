"""The ExecuTorch engine over the wheel's Python bindings (which need torch)."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime_py.engines import check_tokens
from runtime_py.errors import BrokenBundleError, MissingError
from runtime_py.schema import Manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_INSTALL = "pip install 'paredown[executorch]'"


class ExecutorchEngine:
    """Runs the method `forward(tokens int64 [1, S], input_pos int64 [1])` of `model.pte`.

    The KV cache lives in the loaded method; a forward from position 0 overwrites it. One call
    takes at most `max_prefill_tokens`, so a longer prompt runs as several.
    """

    name = "executorch"

    def __init__(self, bundle: Path, manifest: Manifest, threads: int) -> None:
        self._path = manifest.model_path(bundle)
        opened = open_method(self._path, threads)
        self._opened, self._torch, self._forward = opened, opened.torch, opened.forward
        self.versions, self.load_ns = opened.versions, opened.load_ns
        self.vocab_size = manifest.vocab_size
        self.context_length = manifest.context_length
        self._most = manifest.max_prefill_tokens or manifest.context_length - 1
        self._position = 0

    @property
    def position(self) -> int:
        """Tokens in the KV cache."""
        return self._position

    def prefill(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Append S tokens; logits float32 [S, vocab_size]."""
        parts = [logits.clone() for logits in self._runs(token_ids)]
        rows: NDArray[np.float32] = self._torch.cat(parts).numpy()
        return rows

    def prefill_last(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Append S tokens; logits float32 [vocab_size] after the last of them."""
        for logits in self._runs(token_ids):
            last = logits[-1]
        row: NDArray[np.float32] = last.clone().numpy()
        return row

    def step(self, token_id: int) -> NDArray[np.float32]:
        """Append one token; logits float32 [vocab_size]."""
        return self.prefill_last((token_id,))

    def rewind(self, position: int) -> None:
        """Keep the first `position` tokens of the KV cache, at most all that are in it."""
        self._position = position

    def reset(self) -> None:
        """Start again at position 0; what the cache held is overwritten before it is read."""
        self._position = 0

    def _runs(self, token_ids: Sequence[int]) -> Iterator[Any]:
        """The calls of the method that append `token_ids`.

        Yields torch tensors [S, vocab_size] in the method's own memory: the next call changes them.
        """
        check_tokens(token_ids, self._position, self.vocab_size, self.context_length)
        for first in range(0, len(token_ids), self._most):
            chunk = list(token_ids[first : first + self._most])
            tokens = self._torch.tensor([chunk], dtype=self._torch.int64)
            position = self._torch.tensor([self._position], dtype=self._torch.int64)
            try:
                logits = self._forward((tokens, position), clone_outputs=False)[0][0]
            except RuntimeError as error:
                raise BrokenBundleError(f"executorch cannot run {self._path}: {error}") from error
            self._position += len(chunk)
            yield logits


@dataclass(frozen=True)
class OpenMethod:
    """The method `forward` of a loaded .pte."""

    torch: Any
    program: Any
    """Owns the memory of its methods: keep it."""
    forward: Any
    versions: dict[str, str]
    load_ns: int


def open_method(path: Path, threads: int) -> OpenMethod:
    """Load a .pte.

    Raises:
        MissingError: executorch or torch is not installed.
        BrokenBundleError: it cannot be loaded.
    """
    torch, bindings = _import_bindings()
    packages = ("executorch", "torch")
    versions = {package: importlib.metadata.version(package) for package in packages}
    _set_threads(torch, bindings, threads)
    start = time.perf_counter_ns()
    try:
        program = bindings._load_program(str(path))
        forward = program.load_method("forward")
    except RuntimeError as error:
        raise BrokenBundleError(f"executorch cannot load {path}: {error}") from error
    return OpenMethod(torch, program, forward, versions, time.perf_counter_ns() - start)


def _import_bindings() -> tuple[Any, Any]:
    """(torch, the bindings' extension module) with the LLM and quantised kernels registered.

    The extension is imported directly: `executorch.runtime` also imports the whole exporter,
    which costs several seconds and 130 MB in every process that only wants to run a model.
    """
    try:
        import executorch.extension.llm
        import torch
        from executorch.extension.pybindings import _C
    except ImportError as error:
        raise MissingError(
            f"running a .pte bundle needs {error.name or 'executorch'}, which is not installed",
            _INSTALL,
        ) from error
    # torch's loader, not an import: the module beside this library imports torch._inductor.
    for folder in executorch.extension.llm.__path__:
        for library in Path(folder, "custom_ops").glob("libcustom_ops_aot_lib.*"):
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    import executorch.kernels.quantized

    return torch, _C


def _set_threads(torch: Any, bindings: Any, threads: int) -> None:
    """XNNPACK and the LLM kernels share the bindings' pool, the portable kernels run alone."""
    torch.set_num_threads(threads)
    # The bindings write the pool's notes about the processor to Python's stderr.
    with contextlib.redirect_stderr(io.StringIO()):
        if bindings._threadpool_get_thread_count() != threads:
            bindings._unsafe_reset_threadpool(threads)
