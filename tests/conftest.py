"""Fixtures that several test files share. What is slow to make is made once per session."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the Hub's client


class MakeCheckpoint(Protocol):
    def __call__(self, family: str, *, per_layer: bool = False) -> Path: ...


class MakeBundle(Protocol):
    def __call__(self, family: str, backend: str, *, per_layer: bool = False) -> Path: ...


class ExportEmbedded(Protocol):
    def __call__(self, backend: str) -> Path: ...


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real checkpoints and texts; tests that need it are marked `assets`."""
    default = Path(__file__).parents[2] / "shared" / "assets"
    folder = Path(os.environ.get("PAREDOWN_ASSETS", default))
    if not folder.is_dir():
        pytest.skip(f"no assets at {folder}; set PAREDOWN_ASSETS")
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """`tiny_checkpoint("qwen2", per_layer=True)`: the folder of a random two-layer checkpoint."""
    made: dict[tuple[str, bool], Path] = {}

    def make(family: str, *, per_layer: bool = False) -> Path:
        from tiny_models import save_tiny_checkpoint

        key = (family, per_layer)
        if key not in made:
            name = f"{family}-{'per-layer' if per_layer else 'uniform'}"
            path = tmp_path_factory.mktemp("checkpoints") / name
            made[key] = save_tiny_checkpoint(path, family, per_layer=per_layer)
        return made[key]

    return make


@pytest.fixture(scope="session")
def tiny_bundle(
    tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: MakeCheckpoint
) -> MakeBundle:
    """`tiny_bundle("llama", "onnx")`: the exported bundle of a tiny checkpoint.

    A .pte takes ten seconds and more: ask for the per-layer ones, which the parity tests make.
    """
    made: dict[tuple[str, str, bool], Path] = {}

    def make(family: str, backend: str, *, per_layer: bool = False) -> Path:
        from tiny_models import CONTEXT

        key = (family, backend, per_layer)
        if key not in made:
            out = tmp_path_factory.mktemp("bundles") / "-".join((family, backend, str(per_layer)))
            _export(tiny_checkpoint(family, per_layer=per_layer), backend, CONTEXT, out)
            made[key] = out
        return made[key]

    return make


@pytest.fixture(scope="session")
def embedded_bundle(tmp_path_factory: pytest.TempPathFactory) -> ExportEmbedded:
    """`embedded_bundle("executorch")`: the embedded model, dense, with a context of 128."""
    made: dict[str, Path] = {}

    def make(backend: str) -> Path:
        if backend not in made:
            from toolchain.embedded import MODEL_DIR

            out = tmp_path_factory.mktemp("bundles") / f"embedded-{backend}"
            _export(MODEL_DIR, backend, 128, out)
            made[backend] = out
        return made[backend]

    return make


def _export(checkpoint: Path, backend: str, context: int, out: Path) -> None:
    from toolchain.exporting.bundle import export_checkpoint
    from toolchain.model.checkpoint import open_checkpoint
    from toolchain.recipe import ExportSettings

    settings = ExportSettings(backend=backend, context=context)
    export_checkpoint(open_checkpoint(checkpoint), settings, out)
