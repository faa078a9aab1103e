"""The ONNX Runtime engine: numpy and onnxruntime, nothing else."""

from __future__ import annotations

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


class OnnxEngine:
    """Runs `model.onnx`.

    Inputs `input_ids` int64 [1, S] and `past_key_values.{i}.key|value` float32 [1, kv, P, hd];
    outputs `logits` float32 [1, S, V] and `present.{i}.key|value` [1, kv, P + S, hd]. The present
    arrays are handed back as the next past as they are: onnxruntime wraps them without a copy.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Path, manifest: Manifest, threads: int) -> None:
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
        self._past: dict[str, NDArray[np.float32]] = {}
        self._shapes = [(1, s.num_key_value_heads, 0, s.head_dim) for s in manifest.layers]
        kinds = [f"{i}.{kind}" for i in range(len(manifest.layers)) for kind in ("key", "value")]
        self._pasts = [f"past_key_values.{kind}" for kind in kinds]
        self._outputs = ["logits", *(f"present.{kind}" for kind in kinds)]
        self._path = manifest.model_path(bundle)
        start = time.perf_counter_ns()
        self._session = _open_session(onnxruntime, self._path, threads)
        self.load_ns = time.perf_counter_ns() - start
        self._check_interface()
        self.reset()

    @property
    def position(self) -> int:
        """Tokens in the KV cache."""
        return self._position

    def prefill(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Append S tokens; logits float32 [S, vocab_size]."""
        check_tokens(token_ids, self._position, self.vocab_size, self.context_length)
        tokens = self._numpy.array([token_ids], dtype=self._numpy.int64)
        try:
            logits, *present = self._session.run(self._outputs, {"input_ids": tokens, **self._past})
        except Exception as error:  # onnxruntime's own classes share no other base
            raise BrokenBundleError(f"onnxruntime cannot run {self._path}: {error}") from error
        self._past = dict(zip(self._pasts, present, strict=True))
        self._position += len(token_ids)
        rows: NDArray[np.float32] = logits[0]
        return rows

    def step(self, token_id: int) -> NDArray[np.float32]:
        """Append one token; logits float32 [vocab_size]."""
        row: NDArray[np.float32] = self.prefill([token_id])[0]
        return row

    def reset(self) -> None:
        """Empty the KV cache."""
        self._position = 0
        for layer, shape in enumerate(self._shapes):
            for name in self._pasts[2 * layer : 2 * layer + 2]:
                self._past[name] = self._numpy.empty(shape, self._numpy.float32)

    def _check_interface(self) -> None:
        names = {value.name for value in self._session.get_inputs()}
        names |= {value.name for value in self._session.get_outputs()}
        for name in ("input_ids", *self._pasts, *self._outputs):
            if name not in names:
                raise BrokenBundleError(
                    f"{self._path} has no input or output {name!r}", "export the bundle again"
                )


def _open_session(onnxruntime: Any, path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Waiting threads that spin take the cores (and the heat budget) of everything else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own classes share no other base
        raise BrokenBundleError(f"onnxruntime cannot load {path}: {error}") from error
