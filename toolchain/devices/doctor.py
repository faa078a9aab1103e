"""What this machine can do, and the exact line that installs what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolchain.errors import EXTRA_MODULES, install_line, missing_modules

CAPABILITIES = {
    "prune": "prune models",
    "executorch": "export to ExecuTorch and run it",
    "onnx": "export to ONNX and run it",
    "gguf": "write GGUF files for llama.cpp",
    "evals": "validate, and calibrate on Hub datasets",
    "tasks": "validate with the tasks of lm-evaluation-harness",
    "report": "draw reports",
    "pi-onnx": "run and chat with ONNX bundles",
}

CORE_PACKAGES = ("torch", "transformers", "executorch", "torchao", "onnx", "onnxruntime", "optimum")


@dataclass(frozen=True)
class Capability:
    """One extra: what it is for, what it lacks, how to install it."""

    extra: str
    purpose: str
    missing: list[str]
    install: str


@dataclass(frozen=True)
class Diagnosis:
    """Facts about this machine. Null where the system does not say."""

    python: str
    system: str
    machine: str
    cpu_cores: int | None
    memory_bytes: int | None
    free_disk_bytes: int
    accelerators: list[str]
    versions: dict[str, str | None]
    capabilities: list[Capability]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def text(self) -> str:
        """Lines for a person."""
        memory = f"{self.memory_bytes / 1e9:.1f} GB" if self.memory_bytes else "unknown"
        lines = [
            f"python {self.python} on {self.system} {self.machine}",
            f"{self.cpu_cores} cores, {memory} memory, {self.free_disk_bytes / 1e9:.1f} GB free",
            f"accelerators: {', '.join(self.accelerators) or 'none seen'}",
            "packages: " + ", ".join(f"{n} {v}" for n, v in self.versions.items() if v is not None),
            "",
        ]
        for capability in self.capabilities:
            if capability.missing:
                lines.append(f"no   {capability.purpose}: lacks {', '.join(capability.missing)}")
                lines.append(f"     {capability.install}")
            else:
                lines.append(f"yes  {capability.purpose}")
        return "\n".join(lines)


def diagnose() -> Diagnosis:
    """Look at this machine without importing any heavy package."""
    return Diagnosis(
        python=platform.python_version(),
        system=platform.platform(),
        machine=platform.machine(),
        cpu_cores=os.cpu_count(),
        memory_bytes=_memory_bytes(),
        free_disk_bytes=shutil.disk_usage(Path.cwd()).free,
        accelerators=_accelerators(),
        versions={name: _version(name) for name in CORE_PACKAGES},
        capabilities=[
            Capability(extra, CAPABILITIES[extra], missing_modules(extra), install_line(extra))
            for extra in EXTRA_MODULES
        ],
    )


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _accelerators() -> list[str]:
    found = []
    if Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi"):
        found.append("cuda")
    if sys.platform == "darwin" and platform.machine() == "arm64":
        found.append("mps")
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
