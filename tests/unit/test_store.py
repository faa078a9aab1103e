"""Output directories appear whole or not at all; unfinished work comes back to the same inputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolchain.errors import BadRequestError
from toolchain.store import (
    atomic_directory,
    check_output,
    is_ours,
    resumable_directory,
    sha256_file,
    sha256_files,
    work_directory,
    write_json,
    write_text,
)


def _make_ours(directory: Path) -> None:
    directory.mkdir()
    write_json(directory / "paredown.json", {"schema": "paredown.checkpoint/1"})


def test_atomic_directory_appears_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with atomic_directory(out) as work:
        (work / "file").write_text("x")
        assert not out.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (out / "file").read_text() == "x"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_atomic_directory_leaves_nothing_of_a_failure(
    tmp_path: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error), atomic_directory(tmp_path / "out") as work:
        (work / "file").write_text("x")
        raise error
    assert not list(tmp_path.iterdir())


def test_a_failure_keeps_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _make_ours(out)
    with pytest.raises(ValueError, match="no"), atomic_directory(out) as work:
        (work / "file").write_text("x")
        raise ValueError("no")
    assert is_ours(out)
    assert not (out / "file").exists()


def test_success_replaces_what_was_ours(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _make_ours(out)
    with atomic_directory(out) as work:
        (work / "file").write_text("x")
    assert [p.name for p in out.iterdir()] == ["file"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_interrupted_work_comes_back_to_the_same_inputs_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), resumable_directory(out, "a") as work:
        (work / "layer0").write_text("done")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), resumable_directory(out, "a") as work:
        assert (work / "layer0").read_text() == "done"
        raise KeyboardInterrupt
    with resumable_directory(out, "b") as work:
        assert not (work / "layer0").exists()
    assert not list(out.iterdir())


def test_a_user_error_leaves_no_work_behind(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(BadRequestError), resumable_directory(out, "a"):
        raise BadRequestError("damaged")
    assert not work_directory(out).exists()


@pytest.mark.parametrize("content", ['{"schema": "other/1"}', "not json", "[]", "{}"])
def test_a_record_of_somebody_else_is_not_ours(tmp_path: Path, content: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text(content)
    assert not is_ours(out)
    with pytest.raises(BadRequestError, match="not written by paredown"):
        check_output(out)


def test_an_empty_directory_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    check_output(tmp_path / "out")


def test_hashes_depend_on_names_and_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"abc")
    two.write_bytes(b"abc")
    assert sha256_file(one) == sha256_file(two)
    assert sha256_file(one).startswith("ba7816bf")  # FIPS 180-2, appendix B.1
    assert sha256_files([one]) != sha256_files([two])


def test_write_refuses_what_json_cannot_say_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text()) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_write_to_an_impossible_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadRequestError, match="cannot write"):
        write_text(tmp_path / "file" / "below", "x")
