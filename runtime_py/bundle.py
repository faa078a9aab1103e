"""Reading a bundle: nothing runs before every byte is what the manifest says."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from runtime_py.errors import BadRequestError, BrokenBundleError
from runtime_py.schema import MANIFEST_NAME, FileEntry, Manifest, SchemaError, loads

_AGAIN = "export it again or copy it again"


def open_bundle(path: Path, verify: bool = True) -> Manifest:
    """Read and check a bundle directory.

    Args:
        path: the bundle.
        verify: also compare every file's size and SHA-256 with the manifest.

    Raises:
        BadRequestError: `path` is not a bundle.
        BrokenBundleError: the manifest is not readable, or a file is missing, edited, unlisted or
            outside of the bundle; the message names it.
    """
    manifest_path = path / MANIFEST_NAME
    if not path.is_dir():
        raise BadRequestError(f"no such bundle: {path}", "give a folder made by 'paredown export'")
    if not manifest_path.is_file():
        raise BadRequestError(
            f"{path} is not a bundle: it has no {MANIFEST_NAME}",
            "give a folder made by 'paredown export'",
        )
    manifest = _read_manifest(manifest_path)
    _check_names(path, manifest)
    if verify:
        for entry in manifest.files:
            _check_file(path / entry.path, entry)
    return manifest


def model_files(manifest: Manifest) -> list[FileEntry]:
    """The model file and its external data (`model.onnx` and `model.onnx.data`)."""
    stem = PurePosixPath(manifest.model_file).stem + "."
    return [e for e in manifest.files if PurePosixPath(e.path).name.startswith(stem)]


def model_bytes(manifest: Manifest) -> int:
    """Bytes of the model file and of its external data."""
    return sum(entry.bytes for entry in model_files(manifest))


def _read_manifest(path: Path) -> Manifest:
    try:
        return loads(Manifest, path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise BrokenBundleError(f"{path} is not UTF-8 text", _AGAIN) from error
    except SchemaError as error:
        raise BrokenBundleError(error.message, error.hint or _AGAIN) from error


def _check_names(path: Path, manifest: Manifest) -> None:
    """Every listed name lies in the bundle, once, and every file of the bundle is listed."""
    listed = [entry.path for entry in manifest.files]
    for name in [*listed, manifest.model_file]:
        if not _stays_inside(path, name):
            raise BrokenBundleError(f"{path}: the manifest lists {name!r}, outside of the bundle")
    for name in listed:
        if listed.count(name) > 1:
            raise BrokenBundleError(f"{path}: the manifest lists {name!r} twice", _AGAIN)
    if manifest.model_file not in listed:
        raise BrokenBundleError(
            f"{path}: the model file {manifest.model_file!r} is not among the manifest's files",
            _AGAIN,
        )
    present = {p.relative_to(path).as_posix() for p in path.rglob("*") if not p.is_dir()}
    unlisted = sorted(present - set(listed) - {MANIFEST_NAME})
    if unlisted:
        raise BrokenBundleError(
            f"{path / unlisted[0]} is not listed in the manifest", "remove it or export again"
        )


def _stays_inside(bundle: Path, name: str) -> bool:
    pure = PurePosixPath(name)
    if not name or "\\" in name or "\0" in name or pure.is_absolute() or ".." in pure.parts:
        return False
    return (bundle / name).resolve().is_relative_to(bundle.resolve())


def _check_file(path: Path, entry: FileEntry) -> None:
    if not path.is_file():
        raise BrokenBundleError(f"{path} is missing", _AGAIN)
    size = path.stat().st_size
    if size != entry.bytes:
        raise BrokenBundleError(f"{path} has {size} bytes, the manifest says {entry.bytes}", _AGAIN)
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != entry.sha256:
        raise BrokenBundleError(
            f"{path} was edited or damaged: its SHA-256 is not the manifest's", _AGAIN
        )
