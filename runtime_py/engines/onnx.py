"""The ONNX Runtime engine: numpy and onnxruntime, nothing else."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from runtime_py.engines import check_tokens
from runtime_py.errors import BrokenBundleError, MissingError
from runtime_py.schema import Manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEEP = "logits_to_keep"


class OnnxEngine:
    """Runs `model.onnx`.

    Inputs `input_ids` int64 [1, S], `past_key_values.{i}.key|value` float32 [1, kv, P, hd] and,
    where the model has it, `logits_to_keep` int64 [1] (0: all); outputs `logits` float32 [1, S, V]
    and `present.{i}.key|value`. How the cache is kept is what `Manifest.kv_cache` says.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Path, manifest: Manifest, threads: int) -> None:
        try:
            import numpy
            import onnxruntime
        except ImportError as error:
            need = f"{error.name}, which is not installed"
            if error.name is None:  # installed, but for another system
                need = f"numpy and onnxruntime, but: {str(error).strip().splitlines()[-1]}"
            raise MissingError(
                f"running an .onnx bundle needs {need}", "pip install 'paredown[pi-onnx]'"
            ) from error
        self._numpy = numpy
        self.versions = {"onnxruntime": onnxruntime.__version__, "numpy": numpy.__version__}
        self.vocab_size = manifest.vocab_size
        self.context_length = manifest.context_length
        self._chunk = manifest.max_prefill_tokens or manifest.context_length
        self._path = manifest.model_path(bundle)
        start = time.perf_counter_ns()
        session = open_session(onnxruntime, self._path, threads)
        self.load_ns = time.perf_counter_ns() - start
        cache = SharedCache if manifest.kv_cache == "shared" else GrowingCache
        self._cache: Cache = cache(numpy, session, manifest)
        self._keeps = KEEP in _input_names(session)
        _check_interface(session, self._cache.names, self._path)
        self.reset()

    @property
    def position(self) -> int:
        """Tokens in the KV cache."""
        return self._position

    def prefill(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Append S tokens; logits float32 [S, vocab_size]."""
        check_tokens(token_ids, self._position, self.vocab_size, self.context_length)
        if len(token_ids) <= self._chunk:
            return self._append(token_ids, keep=0)
        rows = self._numpy.empty((len(token_ids), self.vocab_size), self._numpy.float32)
        for start in range(0, len(token_ids), self._chunk):
            stop = min(start + self._chunk, len(token_ids))
            rows[start:stop] = self._append(token_ids[start:stop], keep=0)
        return rows

    def prefill_last(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Append S tokens; logits float32 [vocab_size] after the last of them."""
        check_tokens(token_ids, self._position, self.vocab_size, self.context_length)
        for start in range(0, len(token_ids), self._chunk):
            rows = self._append(token_ids[start : start + self._chunk], keep=1)
        row: NDArray[np.float32] = rows[-1]
        return row

    def step(self, token_id: int) -> NDArray[np.float32]:
        """Append one token; logits float32 [vocab_size]."""
        return self.prefill_last([token_id])

    def rewind(self, position: int) -> None:
        """Keep the first `position` tokens of the KV cache, at most all that are in it."""
        self._position = position
        self._cache.rewind(position)

    def reset(self) -> None:
        """Empty the KV cache."""
        self._position = 0
        self._cache.reset()

    def _append(self, token_ids: Sequence[int], keep: int) -> NDArray[np.float32]:
        """Run the model once; logits of the last `keep` positions, or of all for 0."""
        int64 = self._numpy.int64
        feeds = {"input_ids": self._numpy.array([token_ids], int64)}
        if self._keeps:
            feeds[KEEP] = self._numpy.array([keep], int64)
        kept = keep or len(token_ids)
        try:
            rows = self._cache.run(feeds, kept)
        except Exception as error:  # onnxruntime's own classes share no other base
            raise BrokenBundleError(f"onnxruntime cannot run {self._path}: {error}") from error
        self._position += len(token_ids)
        return rows


class Cache(Protocol):
    """Runs a session with what it remembers."""

    names: list[str]
    """Inputs and outputs that the session must have."""

    def run(self, feeds: Mapping[str, NDArray[np.int64]], kept: int) -> NDArray[np.float32]:
        """Append `feeds["input_ids"]` int64 [1, S]; logits float32 [kept, vocab_size]."""
        ...

    def rewind(self, position: int) -> None:
        """Forget all but the first `position` tokens."""
        ...

    def reset(self) -> None:
        """Forget everything."""
        ...


def _cache_names(layers: int) -> tuple[list[str], list[str]]:
    kinds = [f"{i}.{kind}" for i in range(layers) for kind in ("key", "value")]
    return [f"past_key_values.{kind}" for kind in kinds], [f"present.{kind}" for kind in kinds]


class GrowingCache:
    """Past in, longer present out, [1, kv, P, hd]: onnxruntime wraps the arrays without a copy."""

    def __init__(self, numpy: Any, session: Any, manifest: Manifest) -> None:
        self._numpy = numpy
        self._session = session
        self._pasts, presents = _cache_names(len(manifest.layers))
        self._outputs = ["logits", *presents]
        self.names = ["input_ids", *self._pasts, *self._outputs]
        self._shapes = [
            (1, shape.num_key_value_heads, 0, shape.head_dim)
            for shape in manifest.layers
            for _ in ("key", "value")
        ]
        self._past: dict[str, NDArray[np.float32]] = {}

    def run(self, feeds: Mapping[str, NDArray[np.int64]], kept: int) -> NDArray[np.float32]:
        """As `Cache.run`."""
        logits, *present = self._session.run(self._outputs, {**feeds, **self._past})
        self._past = dict(zip(self._pasts, present, strict=True))
        rows: NDArray[np.float32] = logits[0, -kept:]
        return rows

    def rewind(self, position: int) -> None:
        """Forget all but the first `position` tokens."""
        copied = self._numpy.ascontiguousarray
        self._past = {name: copied(kept[:, :, :position]) for name, kept in self._past.items()}

    def reset(self) -> None:
        """Forget everything."""
        empty, float32 = self._numpy.empty, self._numpy.float32
        self._past = {
            name: empty(shape, float32)
            for name, shape in zip(self._pasts, self._shapes, strict=True)
        }


class SharedCache:
    """Buffers [1, kv, context_length, hd] bound as past and present alike, updated in place.

    They hold the first `position` positions of what the attention mask covers; the rest is
    whatever an earlier sequence left.
    """

    def __init__(self, numpy: Any, session: Any, manifest: Manifest) -> None:
        self._numpy = numpy
        self._session = session
        self._vocab_size = manifest.vocab_size
        self._position = 0
        pasts, presents = _cache_names(len(manifest.layers))
        self.names = ["input_ids", "attention_mask", KEEP, *pasts, "logits", *presents]
        self._mask = numpy.ones((1, manifest.context_length), numpy.int64)
        self._buffers = [
            # Zeros, because what was never written is multiplied by weights of zero.
            numpy.zeros(
                (1, shape.num_key_value_heads, manifest.context_length, shape.head_dim),
                numpy.float32,
            )
            for shape in manifest.layers
            for _ in ("key", "value")
        ]
        self._binding = session.io_binding()
        for past, present, buffer in zip(pasts, presents, self._buffers, strict=True):
            self._bind(self._binding.bind_input, past, buffer)
            self._bind(self._binding.bind_output, present, buffer)

    def run(self, feeds: Mapping[str, NDArray[np.int64]], kept: int) -> NDArray[np.float32]:
        """As `Cache.run`."""
        total = self._position + feeds["input_ids"].shape[1]
        logits = self._numpy.empty((1, kept, self._vocab_size), self._numpy.float32)
        for name, array in feeds.items():
            self._bind(self._binding.bind_input, name, array)
        self._bind(self._binding.bind_input, "attention_mask", self._mask[:, :total])
        self._bind(self._binding.bind_output, "logits", logits)
        self._session.run_with_iobinding(self._binding)
        self._position = total
        rows: NDArray[np.float32] = logits[0]
        return rows

    def rewind(self, position: int) -> None:
        """Forget all but the first `position` tokens."""
        self._position = position

    def reset(self) -> None:
        """Forget everything."""
        self._position = 0

    def _bind(self, bind: Any, name: str, array: NDArray[Any]) -> None:
        """Bind contiguous memory, which the caller keeps alive."""
        bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)


def _input_names(session: Any) -> set[str]:
    """Names of all inputs, optional ones included."""
    inputs = [*session.get_inputs(), *session.get_overridable_initializers()]
    return {value.name for value in inputs}


def _check_interface(session: Any, names: Sequence[str], path: Path) -> None:
    present = _input_names(session) | {value.name for value in session.get_outputs()}
    for name in names:
        if name not in present:
            raise BrokenBundleError(
                f"{path} has no input or output {name!r}", "export the bundle again"
            )


def open_session(onnxruntime: Any, path: Path, threads: int) -> Any:
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
