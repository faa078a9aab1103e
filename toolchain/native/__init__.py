"""The torch-free runner: `runtime_py/runner` compiled against ExecuTorch's own C++ libraries."""

from __future__ import annotations

from toolchain.native.folder import ARCHITECTURES, BuiltRunner, build, build_runner

__all__ = ["ARCHITECTURES", "BuiltRunner", "build", "build_runner"]
