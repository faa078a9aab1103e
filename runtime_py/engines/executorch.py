"""The ExecuTorch engine over the wheel's Python bindings (which need torch)."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import time
from collections.abc import Sequence
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
    takes at most context_length - 1 tokens, so a prompt that fills the context runs as two.
    """

    name = "executorch"

    def __init__(self, bundle: Path, manifest: Manifest, threads: int) -> None:
        self._torch, bindings = _import_bindings()
        self.versions = {
            package: importlib.metadata.version(package) for package in ("executorch", "torch")
        }
        self.vocab_size = manifest.vocab_size
        self.context_length = manifest.context_length
        self._position = 0
        _set_threads(self._torch, bindings, threads)
        self._path = manifest.model_path(bundle)
        start = time.perf_counter_ns()
        try:
            # The program owns the memory of its methods: keep it.
            self._program = bindings._load_program(str(self._path))
            self._forward = self._program.load_method("forward")
        except RuntimeError as error:
            raise BrokenBundleError(f"executorch cannot load {self._path}: {error}") from error
        self.load_ns = time.perf_counter_ns() - start

    @property
    def position(self) -> int:
        """Tokens in the KV cache."""
        return self._position

    def prefill(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Append S tokens; logits float32 [S, vocab_size]."""
        check_tokens(token_ids, self._position, self.vocab_size, self.context_length)
        most = self.context_length - 1
        parts = [self._run(token_ids[i : i + most]) for i in range(0, len(token_ids), most)]
        logits = parts[0] if len(parts) == 1 else self._torch.cat(parts)
        rows: NDArray[np.float32] = logits.numpy()
        return rows

    def step(self, token_id: int) -> NDArray[np.float32]:
        """Append one token; logits float32 [vocab_size]."""
        check_tokens((token_id,), self._position, self.vocab_size, self.context_length)
        row: NDArray[np.float32] = self._run((token_id,))[0].numpy()
        return row

    def reset(self) -> None:
        """Start again at position 0; what the cache held is overwritten before it is read."""
        self._position = 0

    def _run(self, token_ids: Sequence[int]) -> Any:
        """One call of the method; logits, a torch tensor [S, vocab_size] of its own memory."""
        tokens = self._torch.tensor([list(token_ids)], dtype=self._torch.int64)
        position = self._torch.tensor([self._position], dtype=self._torch.int64)
        try:
            logits = self._forward((tokens, position))[0][0]
        except RuntimeError as error:
            raise BrokenBundleError(f"executorch cannot run {self._path}: {error}") from error
        self._position += len(token_ids)
        return logits


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
