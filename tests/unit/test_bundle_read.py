"""A bundle is what its manifest says, or it is refused by the name of the file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from handmade_bundle import file_entries, write_bundle, write_manifest

from runtime_py.bundle import model_bytes, open_bundle
from runtime_py.errors import BadRequestError, BrokenBundleError
from runtime_py.schema import FileEntry


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def _refused(bundle: Path, *words: str) -> None:
    with pytest.raises(BrokenBundleError) as caught:
        open_bundle(bundle)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_good_bundle_opens(bundle: Path) -> None:
    manifest = open_bundle(bundle)
    assert manifest.name == "tiny"
    assert manifest.model_path(bundle).is_file()
    assert model_bytes(manifest) == (bundle / "model.onnx").stat().st_size


def test_external_data_counts_as_the_model(bundle: Path) -> None:
    (bundle / "model.onnx.data").write_bytes(b"x" * 100)
    (bundle / "modelling.txt").write_bytes(b"y" * 10)
    manifest = write_manifest(bundle)
    assert model_bytes(manifest) == (bundle / "model.onnx").stat().st_size + 100


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_one_flipped_bit_is_named(bundle: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    _refused(bundle, name, "edited")
    assert open_bundle(bundle, verify=False).name == "tiny"


def test_a_truncated_file_is_named(bundle: Path) -> None:
    data = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(data[:-1])
    _refused(bundle, "model.onnx", str(len(data) - 1), str(len(data)))


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / "tokenizer.json").unlink()
    _refused(bundle, "tokenizer.json", "missing")


@pytest.mark.parametrize("name", ["extra.txt", "sub/folder/extra.txt", ".hidden"])
def test_an_unlisted_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).write_text("x")
    _refused(bundle, name, "not listed")


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/hostname", "a/../../outside", "a\\b", "", "a\0b"]
)
def test_paths_that_leave_the_bundle_are_refused(bundle: Path, name: str) -> None:
    (bundle.parent / "outside").write_text("x")
    entry = FileEntry(name, 1, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881")
    write_manifest(bundle, files=[*file_entries(bundle), entry])
    _refused(bundle, "outside of the bundle")


def test_a_model_file_outside_is_refused(bundle: Path) -> None:
    write_manifest(bundle, model_file="../model.onnx")
    _refused(bundle, "../model.onnx")


def test_a_link_out_of_the_bundle_is_refused(bundle: Path) -> None:
    (bundle / "tokenizer.json").rename(bundle.parent / "tokenizer.json")
    (bundle / "tokenizer.json").symlink_to(bundle.parent / "tokenizer.json")
    _refused(bundle, "tokenizer.json", "outside")


def test_a_file_listed_twice_is_refused(bundle: Path) -> None:
    entries = file_entries(bundle)
    write_manifest(bundle, files=[*entries, entries[0]])
    _refused(bundle, entries[0].path, "twice")


def test_a_model_file_that_is_not_listed_is_refused(bundle: Path) -> None:
    write_manifest(bundle, model_file="other.onnx")
    _refused(bundle, "other.onnx")


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff\xfe", b"{}", b'{"schema": "other/1"}'])
def test_an_unreadable_manifest_is_named(bundle: Path, text: bytes) -> None:
    (bundle / "manifest.json").write_bytes(text)
    _refused(bundle, "manifest.json")


def test_an_edited_manifest_is_refused(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "surprise": 1}))
    _refused(bundle, "manifest.json", "surprise")


def test_what_is_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="no such bundle"):
        open_bundle(tmp_path / "absent")
    with pytest.raises(BadRequestError, match=r"has no manifest\.json"):
        open_bundle(tmp_path)


def test_sizes_come_from_the_files_not_from_their_names(bundle: Path) -> None:
    entries = [dataclasses.replace(e, bytes=e.bytes + 1) for e in file_entries(bundle)]
    write_manifest(bundle, files=entries)
    _refused(bundle, entries[0].path, "bytes")
