"""What an export backend offers, and a bundle's settings read back. Torch-free at import."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from runtime_py.schema import Manifest
from toolchain.exporting.formats import GROUPED
from toolchain.exporting.written import Written
from toolchain.model.spec import ModelSpec
from toolchain.recipe import ExportSettings

if TYPE_CHECKING:
    from torch import nn

    from toolchain.exporting.wrapper import Decoder
    from toolchain.model.checkpoint import Checkpoint


class Backend(Protocol):
    """One module of `toolchain.exporting` for each backend."""

    MAX_PREFILL_TOKENS: int
    """Most tokens of one call of the model."""

    def check(self, spec: ModelSpec, settings: ExportSettings) -> None:
        """Refuse what cannot be written, such as widths that do not fit the group.

        Raises:
            BadRequestError: naming the width and the way out.
        """
        ...

    def prepare_(self, model: nn.Module, spec: ModelSpec, settings: ExportSettings) -> None:
        """Make the loaded transformers model compute what the artifact will: weights and
        activations rounded. Nothing happens where nothing is quantised."""
        ...

    def write(
        self,
        decoder: Decoder,
        out: Path,
        settings: ExportSettings,
        bos_token_id: int | None,
        eos_token_ids: list[int],
    ) -> Written:
        """Write the model file of a decoder over the prepared model into the folder `out`."""
        ...


def backend_of(name: str) -> Backend:
    """The module that writes a backend's files; importing it needs the backend's extra."""
    return cast("Backend", importlib.import_module(f"toolchain.exporting.{name}"))


def settings_of(manifest: Manifest) -> ExportSettings:
    """The settings that a bundle was exported with."""
    grouped = manifest.quantization in GROUPED
    bits = manifest.embedding_bits
    return ExportSettings.model_validate(
        {
            "backend": manifest.backend,
            "quant": manifest.quantization,
            "context": manifest.context_length,
            "target": manifest.target,
            **({"group_size": manifest.group_size} if grouped else {}),
            **({"embedding_bits": bits} if bits in (4, 8, 32) else {}),
        }
    )


def prepared_model(checkpoint: Checkpoint, manifest: Manifest) -> nn.Module:
    """The torch model that computes what the artifact of `manifest` should."""
    settings = settings_of(manifest)
    model = checkpoint.load()
    backend_of(settings.backend).prepare_(model, checkpoint.spec, settings)
    return model
