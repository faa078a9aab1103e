"""Engines: one interface over the inference runtimes, each imported only when a bundle needs it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from runtime_py.errors import BadRequestError
from runtime_py.schema import Manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BACKENDS = ("executorch", "onnx")
RUNTIMES = ("auto", "python", "native")
RUNNER_VARIABLE = "PAREDOWN_RUNNER"
"""Names the native runner: the program or its folder."""


class Engine(Protocol):
    """A loaded model with a KV cache, batch 1.

    All logits are before softmax, float32.
    """

    name: str
    versions: dict[str, str]
    """Version of every package that takes part, by name."""
    vocab_size: int
    context_length: int
    """Most tokens that the KV cache holds."""
    load_ns: int
    """Nanoseconds from opening the model file to a runnable engine, package imports excluded."""

    @property
    def position(self) -> int:
        """Tokens in the KV cache."""
        ...

    def prefill(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Append S tokens at the current position; logits [S, vocab_size] after each of them.

        Raises:
            BadRequestError: no tokens, a token outside of the vocabulary, or no room for them.
        """
        ...

    def prefill_last(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Append S tokens; logits [vocab_size] after the last of them. Raises as `prefill`.

        Generating needs no others: S times fewer logits to compute and to keep.
        """
        ...

    def step(self, token_id: int) -> NDArray[np.float32]:
        """Append one token; logits [vocab_size] after it. Raises as `prefill`."""
        ...

    def rewind(self, position: int) -> None:
        """Keep the first `position` tokens of the KV cache, at most all that are in it."""
        ...

    def reset(self) -> None:
        """Empty the KV cache."""
        ...


def open_engine(
    bundle: Path, manifest: Manifest, threads: int = 1, runtime: str = "auto"
) -> Engine:
    """Load the model of a bundle that `open_bundle` accepted.

    Args:
        bundle: the bundle's directory.
        manifest: its manifest.
        threads: compute threads of the engine.
        runtime: of an executorch bundle: `python` (the bindings, which need torch), `native` (the
            C++ runner), or `auto`: native where PAREDOWN_RUNNER names a runner.

    Raises:
        BadRequestError: unknown backend or runtime, or threads below 1.
        MissingError: the backend's package is not installed, or there is no native runner; the hint
            is the line that installs it.
        BrokenBundleError: the runtime cannot load the model file.
    """
    if threads < 1:
        raise BadRequestError(f"threads is {threads}", "use 1 or more")
    if manifest.kind == "encoder":
        raise BadRequestError(
            f"bundle {bundle} is an encoder, which has no next token", "use 'paredown-agent check'"
        )
    if runtime not in RUNTIMES:
        raise BadRequestError(f"unknown runtime {runtime!r}", f"known: {', '.join(RUNTIMES)}")
    if manifest.backend == "onnx":
        from runtime_py.engines.onnx import OnnxEngine

        return OnnxEngine(bundle, manifest, threads)
    if manifest.backend == "executorch":
        if runtime == "native" or (runtime == "auto" and os.environ.get(RUNNER_VARIABLE)):
            from runtime_py.engines.native import NativeEngine

            return NativeEngine(bundle, manifest, threads)
        from runtime_py.engines.executorch import ExecutorchEngine

        return ExecutorchEngine(bundle, manifest, threads)
    raise BadRequestError(
        f"bundle {bundle} has the unknown backend {manifest.backend!r}",
        f"known: {', '.join(BACKENDS)}",
    )


def check_tokens(
    token_ids: Sequence[int], position: int, vocab_size: int, context_length: int
) -> None:
    """Refuse tokens that cannot be appended at `position`.

    Raises:
        BadRequestError: no tokens, a token outside of the vocabulary, or no room for them.
    """
    if not token_ids:
        raise BadRequestError("there are no tokens to run", "give at least one")
    for token_id in (min(token_ids), max(token_ids)):
        if not 0 <= token_id < vocab_size:
            raise BadRequestError(f"token {token_id} is not in the vocabulary of {vocab_size}")
    total = position + len(token_ids)
    if total > context_length:
        raise BadRequestError(
            f"{total} tokens do not fit the context of {context_length}",
            "use a shorter prompt, fewer new tokens, or export with a larger --context",
        )
