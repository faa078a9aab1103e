"""User errors of the host side: the classes of `runtime_py.errors` and the ways to raise them."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable

from runtime_py.errors import (
    EXIT_BAD_REQUEST,
    EXIT_HOLD,
    EXIT_INCONCLUSIVE,
    EXIT_INTERRUPTED,
    EXIT_INVALID_MEASUREMENT,
    EXIT_MISSING,
    EXIT_OK,
    BadRequestError,
    BrokenBundleError,
    InvalidMeasurementError,
    MissingError,
    ParedownError,
)

__all__ = [
    "EXIT_BAD_REQUEST",
    "EXIT_HOLD",
    "EXIT_INCONCLUSIVE",
    "EXIT_INTERRUPTED",
    "EXIT_INVALID_MEASUREMENT",
    "EXIT_MISSING",
    "EXIT_OK",
    "BadRequestError",
    "BrokenBundleError",
    "InvalidMeasurementError",
    "MissingError",
    "ParedownError",
    "did_you_mean",
    "require_extra",
]

EXTRA_MODULES = {
    "prune": ("torch", "transformers", "safetensors", "numpy", "jinja2"),
    "executorch": ("torch", "transformers", "executorch", "torchao", "scipy"),
    "onnx": ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "scipy"),
    "gguf": ("torch", "transformers", "gguf"),
    "tasks": ("torch", "transformers", "scipy", "datasets", "lm_eval"),
    "evals": ("torch", "transformers", "scipy", "datasets"),
    "report": ("jinja2", "matplotlib"),
    "pi-onnx": ("numpy", "onnxruntime", "tokenizers", "jinja2"),
}
"""Importable modules of each optional extra, as `paredown doctor` and `plan` report them."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that lists the known names, nearest first when one is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    listing = ", ".join(names)
    return f"did you mean '{near[0]}'? (known: {listing})" if near else f"known: {listing}"


def missing_modules(extra: str) -> list[str]:
    """Modules of `extra` that cannot be found, without importing any of them."""
    return [m for m in EXTRA_MODULES[extra] if importlib.util.find_spec(m) is None]


def install_line(extra: str) -> str:
    """The exact command that installs an extra."""
    return f"pip install 'paredown[{extra}]'"


def require_extra(extra: str, purpose: str) -> None:
    """Raise MissingError when a module of `extra` is absent.

    Args:
        extra: a key of EXTRA_MODULES.
        purpose: what needs it, such as "export to ONNX".

    Raises:
        MissingError: naming the absent modules and the line that installs them.
    """
    absent = missing_modules(extra)
    if absent:
        raise MissingError(
            f"{purpose} needs {', '.join(absent)}, which is not installed", install_line(extra)
        )
