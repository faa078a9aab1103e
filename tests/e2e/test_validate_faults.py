"""`paredown validate` on real bundles: good ones ship, a planted fault is held by its gate."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from runtime_py.schema import Manifest, ModelIdentity, dumps, loads, to_json
from toolchain.calibrate.sources import read_documents
from toolchain.cli import main
from toolchain.embedded import MODEL_DIR
from toolchain.exporting.bundle import export_checkpoint
from toolchain.model.checkpoint import open_checkpoint
from toolchain.recipe import ExportSettings
from toolchain.store import CHECKPOINT_RECORD, sha256_file

DROPPED_LAYER = 0

Validate = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the dense model said is kept for this module alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAREDOWN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen held-out stories."""
    path = tmp_path_factory.mktemp("text") / "stories.txt"
    stories = read_documents("builtin", "evaluation")[:16]
    path.write_text("\n<|endoftext|>\n".join(stories), encoding="utf-8")
    return path


@pytest.fixture
def validate(text: Path, capsys: pytest.CaptureFixture[str]) -> Validate:
    """Run the command; returns its verdict as JSON after checking the exit code."""

    def run(bundle: Path, exit_code: int, *arguments: str) -> dict[str, Any]:
        command = ["validate", str(bundle), "--text", str(text), "--json", *arguments]
        if "--tasks" not in arguments:
            command += ["--tasks", "none", "--prompts", "0"]
        if "--reference" not in arguments:
            command += ["--reference", str(MODEL_DIR)]
        assert main(command) == exit_code
        verdict: dict[str, Any] = json.loads(capsys.readouterr().out)
        return verdict

    return run


@pytest.fixture
def bundle(embedded_bundle: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the embedded bundle to change."""
    return Path(shutil.copytree(embedded_bundle("onnx"), tmp_path / "bundle"))


@pytest.fixture(scope="module")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `compact`, the embedded model without the effect of one layer, and its
    `bundle`, which remembers the embedded model as the dense one."""
    folder = tmp_path_factory.mktemp("shallow")
    dense = open_checkpoint(MODEL_DIR)
    compact = Path(shutil.copytree(MODEL_DIR, folder / "compact"))
    tensors = load_file(compact / "model.safetensors")
    for part in (dense.family.output, dense.family.down):
        name = f"{dense.family.layer_prefix(DROPPED_LAYER)}{part}.weight"
        tensors[name] = torch.zeros_like(tensors[name])
    save_file(tensors, compact / "model.safetensors", {"format": "pt"})
    record = {"schema": "paredown.checkpoint/1", "dense": to_json(dense.identity)}
    (compact / CHECKPOINT_RECORD).write_text(json.dumps(record))
    settings = ExportSettings(backend="onnx", context=128)
    export_checkpoint(open_checkpoint(compact), settings, folder / "bundle")
    return folder


def outcomes(verdict: dict[str, Any]) -> list[str]:
    return [gate["outcome"] for gate in verdict["gates"]]


def failed(verdict: dict[str, Any], gate: int) -> set[str]:
    return {f["name"] for f in verdict["gates"][gate]["findings"] if not f["passed"]}


def edit_manifest(bundle: Path, change: Callable[[Manifest], Manifest]) -> None:
    """Rewrite the manifest as a forger would: consistent with the files as they are now."""
    path = bundle / "manifest.json"
    manifest = loads(Manifest, path.read_text(encoding="utf-8"))
    entries = [
        dataclasses.replace(
            entry,
            bytes=(bundle / entry.path).stat().st_size,
            sha256=sha256_file(bundle / entry.path),
        )
        for entry in manifest.files
    ]
    path.write_text(dumps(change(dataclasses.replace(manifest, files=entries))), encoding="utf-8")


def claim_checkpoint(identity: ModelIdentity) -> Callable[[Manifest], Manifest]:
    def change(manifest: Manifest) -> Manifest:
        provenance = dataclasses.replace(manifest.provenance, checkpoint=identity, pruning={})
        return dataclasses.replace(manifest, provenance=provenance)

    return change


@pytest.mark.parametrize("backend", ["onnx", pytest.param("executorch", marks=pytest.mark.slow)])
def test_a_faithful_bundle_ships(
    backend: str, embedded_bundle: Callable[[str], Path], validate: Validate, tmp_path: Path
) -> None:
    out = tmp_path / "verdict.json"
    # The fewest items and texts that a bundle without any difference passes on.
    enough = ["--tasks", "default", "--limit", "60", "--prompts", "12", "--device", "local"]
    verdict = validate(embedded_bundle(backend), 0, "--out", str(out), *enough)
    assert verdict["sentence"].startswith("SHIP: ")
    assert outcomes(verdict) == ["PASS"] * 8
    assert [gate["gate"] for gate in verdict["gates"]] == ["G0", "G1", *["G2"] * 5, "G3"]
    tasks = verdict["evidence"]["tasks"]
    assert [task["kind"] for task in tasks] == ["language", "knowledge", "generation"]
    assert {task["counts"]["lost"] + task["counts"]["gained"] for task in tasks} == {0}
    assert verdict["evidence"]["texts"]["identical"] == 12
    assert verdict["suggestions"] == []
    assert main(["gate", str(out), "--bundle", str(embedded_bundle(backend))]) == 0
    assert verdict["gates"][2]["measures"]["perplexity_ratio"]["value"] == pytest.approx(
        1, abs=1e-5
    )
    assert json.loads(out.read_text(encoding="utf-8")) == verdict
    page = out.with_suffix(".md").read_text(encoding="utf-8")
    assert page.startswith(f"# {verdict['sentence']}")


def test_a_flipped_byte_is_refused_by_name(
    bundle: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = max(bundle.iterdir(), key=lambda p: p.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x10
    path.write_bytes(bytes(data))
    out = tmp_path / "verdict.json"
    command = ["validate", str(bundle), "--reference", str(MODEL_DIR), "--out", str(out)]
    assert main([*command, "--text", str(text)]) == 2
    captured = capsys.readouterr()
    assert path.name in captured.err
    assert captured.out == ""
    assert not out.exists()


def test_a_swapped_tokenizer_is_held_by_g0(bundle: Path, validate: Validate) -> None:
    path = bundle / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["t"], vocabulary["s"] = vocabulary["s"], vocabulary["t"]
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    edit_manifest(bundle, lambda manifest: manifest)
    verdict = validate(bundle, 1)
    assert verdict["sentence"].startswith("HOLD: ")
    assert outcomes(verdict) == ["FAIL", "SKIPPED", "SKIPPED"]
    assert failed(verdict, 0) == {"tokenizer", "golden encodings"}


def test_altered_special_ids_are_held_by_g0(bundle: Path, validate: Validate) -> None:
    edit_manifest(bundle, lambda manifest: dataclasses.replace(manifest, eos_token_ids=[7]))
    verdict = validate(bundle, 1)
    assert outcomes(verdict) == ["FAIL", "SKIPPED", "SKIPPED"]
    assert failed(verdict, 0) == {"special ids"}


def test_the_wrong_reference_is_held_by_g0(shallow: Path, bundle: Path, validate: Validate) -> None:
    verdict = validate(bundle, 1, "--reference", str(shallow / "compact"))
    assert outcomes(verdict) == ["FAIL", "SKIPPED", "SKIPPED"]
    assert failed(verdict, 0) == {"reference"}


def test_damage_that_was_exported_faithfully_is_held_by_g2(
    shallow: Path, validate: Validate
) -> None:
    """The compact checkpoint is found by the manifest's hint; parity holds, quality does not."""
    verdict = validate(shallow / "bundle", 1)
    assert outcomes(verdict) == ["PASS", "PASS", "FAIL"]
    ratio = verdict["gates"][2]["measures"]["perplexity_ratio"]
    assert 1.1 < ratio["low"] < ratio["value"] < ratio["high"]
    assert verdict["gates"][2]["measures"]["kl_nats"]["low"] > 0
    assert "fails G2 non-inferiority" in verdict["sentence"]
    assert verdict["suggestions"] == []  # its record says neither how nor how much was pruned


def test_a_layer_dropped_on_the_way_is_held_by_g1(
    shallow: Path, validate: Validate, tmp_path: Path
) -> None:
    """The manifest claims the whole model, never pruned; the artifact lacks a layer."""
    forged = Path(shutil.copytree(shallow / "bundle", tmp_path / "bundle"))
    edit_manifest(forged, claim_checkpoint(open_checkpoint(MODEL_DIR).identity))
    verdict = validate(forged, 1)
    assert outcomes(verdict)[:2] == ["PASS", "FAIL"]
    assert {"prefill = torch", "decode = torch"} <= failed(verdict, 1)
    assert "fails G1 export parity" in verdict["sentence"]


def test_a_checkpoint_that_cannot_be_found_is_asked_for(
    shallow: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = Path(shutil.copytree(shallow / "bundle", tmp_path / "elsewhere" / "bundle"))
    command = ["validate", str(moved), "--reference", str(MODEL_DIR), "--text", str(text)]
    command += ["--tasks", "none", "--prompts", "0"]
    assert main(command) == 2
    assert "pass the compact checkpoint with --checkpoint" in capsys.readouterr().err
    assert main([*command, "--checkpoint", str(shallow / "compact")]) == 1
    assert main([*command, "--checkpoint", str(MODEL_DIR)]) == 2
    assert "was exported from compact" in capsys.readouterr().err


def test_a_checkpoint_that_changed_since_is_refused(
    shallow: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(shallow, tmp_path / "copy"))
    weights = copy / "compact" / "model.safetensors"
    weights.write_bytes((MODEL_DIR / "model.safetensors").read_bytes())
    command = ["validate", str(copy / "bundle"), "--reference", str(MODEL_DIR)]
    assert main([*command, "--text", str(text)]) == 2
    assert "has changed since" in capsys.readouterr().err


def test_the_margin_decides_and_too_little_text_is_inconclusive(
    shallow: Path, validate: Validate, tmp_path: Path
) -> None:
    short = tmp_path / "short.txt"
    stories = read_documents("builtin", "evaluation")[:3]
    short.write_text("\n<|endoftext|>\n".join(stories), encoding="utf-8")
    wide = validate(shallow / "bundle", 0, "--text", str(short), "--margin", "ppl=1000000%")
    ratio = wide["gates"][2]["measures"]["perplexity_ratio"]["value"]
    near = validate(
        shallow / "bundle", 4, "--text", str(short), "--margin", f"ppl={ratio * 1.02 - 1}"
    )
    assert outcomes(near) == ["PASS", "PASS", "INCONCLUSIVE"]
    assert near["sentence"].startswith("HOLD: ")
    assert near["gates"][2]["measures"]["documents_needed"]["value"] > 3
    measures = [v["gates"][2]["measures"]["delta_nats"] for v in (wide, near)]
    assert measures[0] == measures[1]
    assert wide["criteria"]["text_sha256"] == near["criteria"]["text_sha256"]
    assert wide["criteria_sha256"] != near["criteria_sha256"]
