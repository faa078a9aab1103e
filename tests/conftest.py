"""Fixtures that several test files share. What is slow to make is made once per session."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from toolchain.exporting.written import Written
    from toolchain.model.spec import ModelSpec

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the Hub's client


class MakeCheckpoint(Protocol):
    def __call__(self, family: str, *, per_layer: bool = False) -> Path: ...


class MakeBundle(Protocol):
    def __call__(self, family: str, backend: str, *, per_layer: bool = False) -> Path: ...


class ExportEmbedded(Protocol):
    def __call__(self, backend: str, quant: str = "none") -> Path: ...


@dataclass(frozen=True)
class LoweredPte:
    """A .pte of a tiny checkpoint, and the torch models before and after rounding."""

    path: Path
    written: Written
    spec: ModelSpec
    float_model: Any
    model: Any


class LowerPte(Protocol):
    def __call__(
        self, family: str, quant: str, target: str, embedding_bits: int | None
    ) -> LoweredPte: ...


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
    """`embedded_bundle("onnx", "int4")`: the embedded model, dense, with a context of 128; of 256,
    twice what one call takes, in a .pte."""
    made: dict[tuple[str, str], Path] = {}

    def make(backend: str, quant: str = "none") -> Path:
        if (backend, quant) not in made:
            from toolchain.embedded import MODEL_DIR

            out = tmp_path_factory.mktemp("bundles") / f"embedded-{backend}-{quant}"
            _export(MODEL_DIR, backend, 256 if backend == "executorch" else 128, out, quant)
            made[backend, quant] = out
        return made[backend, quant]

    return make


@pytest.fixture(scope="session")
def native_runner() -> Path:
    """Folder of the native runner for this machine; the first build takes half a minute."""
    from toolchain.errors import MissingError
    from toolchain.native import build

    try:
        return build("host")
    except MissingError as error:
        pytest.skip(str(error))


def _export(checkpoint: Path, backend: str, context: int, out: Path, quant: str = "none") -> None:
    from toolchain.exporting.bundle import export_checkpoint
    from toolchain.model.checkpoint import open_checkpoint
    from toolchain.recipe import ExportSettings

    settings = ExportSettings(backend=backend, quant=quant, context=context)
    export_checkpoint(open_checkpoint(checkpoint), settings, out)


@pytest.fixture(scope="session")
def lower_pte(tmp_path_factory: pytest.TempPathFactory) -> LowerPte:
    """`lower_pte("llama", "8da4w", "any", 4)`: a .pte of calls of at most 16 tokens.

    Its two layers differ in width, all widths are multiples of 32. Slow: ask for few.
    """
    made: dict[tuple[str, str, str, int | None], LoweredPte] = {}

    def make(family: str, quant: str, target: str, embedding_bits: int | None) -> LoweredPte:
        key = (family, quant, target, embedding_bits)
        if key not in made:
            made[key] = _lower(tmp_path_factory.mktemp("lowered"), *key)
        return made[key]

    return make


def _lower(
    folder: Path, family: str, quant: str, target: str, embedding_bits: int | None
) -> LoweredPte:
    from tiny_models import CONTEXT, save_tiny_checkpoint

    from toolchain.exporting import executorch
    from toolchain.exporting.wrapper import Decoder
    from toolchain.model.checkpoint import open_checkpoint
    from toolchain.recipe import ExportSettings

    wide = {
        "gpt2": {"n_inner": 96, "hidden_size": 128},
        "gemma2": {"intermediate_size": 96, "hidden_size": 64, "head_dim": 16},
    }.get(family, {"intermediate_size": 96, "hidden_size": 64})
    source = save_tiny_checkpoint(folder / family, family, per_layer=True, widths=(96, 64), **wide)
    checkpoint = open_checkpoint(source)
    settings = ExportSettings(
        backend="executorch",
        quant=quant,
        context=CONTEXT,
        target=target,
        embedding_bits=embedding_bits,
    )
    executorch.check(checkpoint.spec, settings)
    model = checkpoint.load()
    executorch.prepare_(model, checkpoint.spec, settings)
    decoder = Decoder(model, checkpoint.spec, CONTEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executorch, "MAX_PREFILL_TOKENS", 16)
        written = executorch.write(decoder, folder, settings, *checkpoint.special_ids())
    path = folder / written.model_file
    return LoweredPte(path, written, checkpoint.spec, checkpoint.load(), model)
