"""Quantised bundles: what the manifest says of their faithfulness, and their size on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ExportEmbedded

from runtime_py.bundle import model_bytes, open_bundle
from runtime_py.schema import Manifest, ParityRecord
from toolchain.embedded import MODEL_DIR
from toolchain.exporting.backend import settings_of
from toolchain.exporting.bundle import export_checkpoint
from toolchain.exporting.formats import artifact_bytes, graph_bytes
from toolchain.model.checkpoint import open_checkpoint
from toolchain.recipe import ExportSettings

CELLS = [
    ("onnx", "fp16"),
    ("onnx", "int8"),
    ("onnx", "int4"),
    pytest.param("executorch", "8da8w", marks=pytest.mark.slow),
    pytest.param("executorch", "8da4w", marks=pytest.mark.slow),
]
LARGEST_DAMAGE_NATS = {"fp16": 1e-5, "int8": 0.02, "8da8w": 0.02, "int4": 0.2, "8da4w": 0.2}
LARGEST_DAMAGE_STORIES3M_NATS = {"int8": 0.02, "int4": 0.3, "8da4w": 0.3}
"""Small, and trained to the last bit. One range for all tokens of a call would cost int8 0.14."""


def records(manifest: Manifest) -> tuple[ParityRecord, ParityRecord, ParityRecord]:
    """Against the rounded torch model; against float; what the scheme costs in torch."""
    strict, damage, scheme = manifest.parity
    assert (strict.reference, strict.candidate) == ("quantised", "artifact")
    assert (damage.reference, damage.candidate) == ("float", "artifact")
    assert (scheme.reference, scheme.candidate) == ("float", "quantised")
    return strict, damage, scheme


def check_damage(manifest: Manifest, most_nats: float) -> None:
    """The artifact passed, and costs what its scheme costs in torch."""
    strict, damage, scheme = records(manifest)
    assert strict.passed is True
    assert damage.passed is None
    assert scheme.passed is None
    assert damage.kl_nats is not None
    assert scheme.kl_nats is not None
    assert strict.kl_nats is not None
    assert 0 < damage.kl_nats < most_nats
    assert damage.kl_nats == pytest.approx(scheme.kl_nats, rel=0.1)
    assert strict.kl_nats < 0.2 * damage.kl_nats + 2e-3, "codes that a last bit tips"


@pytest.mark.parametrize(("backend", "quant"), CELLS)
def test_the_artifact_costs_what_its_scheme_costs(
    embedded_bundle: ExportEmbedded, backend: str, quant: str
) -> None:
    check_damage(open_bundle(embedded_bundle(backend, quant)), LARGEST_DAMAGE_NATS[quant])


@pytest.mark.parametrize(
    ("backend", "quant"),
    [("onnx", "none"), pytest.param("executorch", "none", marks=pytest.mark.slow), *CELLS],
)
def test_predicted_bytes_are_the_files(
    embedded_bundle: ExportEmbedded, backend: str, quant: str
) -> None:
    manifest = open_bundle(embedded_bundle(backend, quant))
    spec = open_checkpoint(MODEL_DIR).spec
    predicted = artifact_bytes(spec, settings_of(manifest))
    beside = model_bytes(manifest) - predicted
    assert -0.02 * predicted <= beside <= 0.02 * predicted + graph_bytes(spec)


@pytest.mark.parametrize(("backend", "quant"), CELLS)
def test_settings_come_back_from_the_manifest(
    embedded_bundle: ExportEmbedded, backend: str, quant: str
) -> None:
    manifest = open_bundle(embedded_bundle(backend, quant))
    settings = settings_of(manifest)
    assert (settings.backend, settings.quant) == (backend, quant)
    assert settings.context == manifest.context_length
    assert manifest.group_size == (32 if quant in ("int4", "8da4w") else 0)


@pytest.mark.assets
@pytest.mark.parametrize(
    ("backend", "quant"),
    [
        ("onnx", "int8"),
        ("onnx", "int4"),
        pytest.param("executorch", "8da4w", marks=pytest.mark.slow),
    ],
)
def test_a_trained_model_costs_what_its_scheme_costs(
    assets: Path, tmp_path: Path, backend: str, quant: str
) -> None:
    settings = ExportSettings(backend=backend, quant=quant, context=256)
    source = open_checkpoint(assets / "models" / "stories3M")
    manifest = export_checkpoint(source, settings, tmp_path / "bundle")
    check_damage(manifest, LARGEST_DAMAGE_STORIES3M_NATS[quant])
