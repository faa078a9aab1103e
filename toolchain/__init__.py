"""paredown: prune an LLM on a laptop, export it, measure it on the device, prove that it may ship.

The command's verbs are plain functions here::

    from toolchain import prune, export, profile, validate, run

They are resolved when first used, so that importing the package stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolchain.api import doctor, export, gate, gguf, info, plan, profile, prune, run, validate

__all__ = [
    "__version__",
    "doctor",
    "export",
    "gate",
    "gguf",
    "info",
    "plan",
    "profile",
    "prune",
    "run",
    "validate",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("toolchain.api"), name)
    raise AttributeError(f"module 'toolchain' has no attribute {name!r}")
