"""G0: a whole bundle passes; each thing that was swapped is named by its own finding."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime_py.bundle import open_bundle
from runtime_py.schema import MANIFEST_NAME, Manifest, loads
from toolchain.embedded import MODEL_DIR
from toolchain.errors import BrokenBundleError
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.validation.integrity import chat_template, integrity_gate
from toolchain.validation.verdict import FAIL, PASS, GateResult


@pytest.fixture
def bundle(embedded_bundle: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the embedded bundle to change."""
    return Path(shutil.copytree(embedded_bundle("onnx"), tmp_path / "bundle"))


@pytest.fixture
def reference() -> Checkpoint:
    return open_checkpoint(MODEL_DIR)


@pytest.fixture
def copied_model(tmp_path: Path) -> Path:
    """A copy of the reference to change."""
    return Path(shutil.copytree(MODEL_DIR, tmp_path / "model"))


def gate(bundle: Path, reference: Checkpoint, **changes: object) -> GateResult:
    """G0 without the hashes: what a consistent forger, who also edits the manifest, gets past."""
    manifest = loads(Manifest, (bundle / MANIFEST_NAME).read_text(encoding="utf-8"))
    changed = dataclasses.replace(manifest, **changes)  # type: ignore[arg-type]
    return integrity_gate(bundle, changed, reference)


def failed(result: GateResult) -> dict[str, str]:
    return {f.name: f.sentence for f in result.findings if not f.passed}


def test_a_fresh_bundle_passes(bundle: Path, reference: Checkpoint) -> None:
    result = gate(bundle, reference)
    assert result.outcome == PASS
    assert failed(result) == {}
    assert {f.name for f in result.findings} == {
        "hashes",
        "reference",
        "shapes",
        "vocabulary",
        "special ids",
        "end of text",
        "chat template",
        "tokenizer",
        "golden encodings",
    }


def test_a_flipped_byte_is_refused_before_any_gate(bundle: Path) -> None:
    path = bundle / "tokenizer.json"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(BrokenBundleError, match=r"tokenizer\.json was edited or damaged"):
        open_bundle(bundle)


def test_swapped_tokens_are_caught_twice(bundle: Path, reference: Checkpoint) -> None:
    path = bundle / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["e"] = vocabulary["e"], vocabulary["a"]
    path.write_text(json.dumps(tokenizer))
    names = failed(gate(bundle, reference))
    assert set(names) == {"tokenizer", "golden encodings"}
    assert "differs from the reference's in model" in names["tokenizer"]


def test_a_tokenizer_that_only_splits_otherwise_is_caught(
    bundle: Path, reference: Checkpoint
) -> None:
    path = bundle / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["normalizer"] = {"type": "Lowercase"}
    path.write_text(json.dumps(tokenizer))
    assert set(failed(gate(bundle, reference))) == {"tokenizer", "golden encodings"}


def test_formatting_of_the_tokenizer_file_is_no_difference(
    bundle: Path, reference: Checkpoint
) -> None:
    path = bundle / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7))
    assert gate(bundle, reference).outcome == PASS


def test_a_missing_tokenizer_is_a_finding(bundle: Path, reference: Checkpoint) -> None:
    (bundle / "tokenizer.json").unlink()
    assert set(failed(gate(bundle, reference))) == {"tokenizer"}


@pytest.mark.parametrize("changes", [{"bos_token_id": 5}, {"eos_token_ids": [1, 2]}])
def test_altered_special_ids(
    changes: dict[str, object], bundle: Path, reference: Checkpoint
) -> None:
    result = gate(bundle, reference, **changes)
    assert result.outcome == FAIL
    assert set(failed(result)) == {"special ids"}
    assert result.sentence == failed(result)["special ids"]


def test_another_vocabulary(bundle: Path, reference: Checkpoint) -> None:
    assert set(failed(gate(bundle, reference, vocab_size=1023))) == {"vocabulary"}


def test_another_chat_template(bundle: Path, reference: Checkpoint) -> None:
    (bundle / "chat_template.jinja").write_text("{{ messages }}")
    assert set(failed(gate(bundle, reference))) == {"chat template"}


def test_a_renamed_reference_is_the_same_model(bundle: Path, copied_model: Path) -> None:
    assert gate(bundle, open_checkpoint(copied_model)).outcome == PASS


def test_a_reference_of_other_weights(bundle: Path, copied_model: Path) -> None:
    path = copied_model / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(bytes(data))
    names = failed(gate(bundle, open_checkpoint(copied_model)))
    assert set(names) == {"reference"}
    assert "not from the reference model" in names["reference"]


def test_a_reference_of_another_config(bundle: Path, copied_model: Path) -> None:
    path = copied_model / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    assert set(failed(gate(bundle, open_checkpoint(copied_model)))) == {"reference"}


@pytest.mark.parametrize(
    ("name", "content", "template"),
    [
        ("chat_template.jinja", "{{ a }}", "{{ a }}"),
        ("chat_template.json", '{"chat_template": "{{ b }}"}', "{{ b }}"),
        ("tokenizer_config.json", '{"chat_template": "{{ c }}"}', "{{ c }}"),
        ("tokenizer_config.json", "{}", None),
    ],
)
def test_chat_templates_are_found_wherever_they_are_kept(
    name: str, content: str, template: str | None, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    assert chat_template(tmp_path) == template
