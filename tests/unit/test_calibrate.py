"""Where text comes from, how it is cut, and what is drawn from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_checkpoint import BOS, write_checkpoint, write_text

from toolchain.calibrate.sources import (
    draw_samples,
    encode,
    pieces,
    read_documents,
    split_documents,
)
from toolchain.errors import BadRequestError, MissingError
from toolchain.model.checkpoint import open_checkpoint


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        (
            "one\ntwo\n<|endoftext|>\n\nthree\n\nfour\n<|endoftext|>\n",
            ["one\ntwo", "three\n\nfour"],
        ),
        ("a\n\nb\nb\n \n\nc", ["a", "b\nb", "c"]),
        (
            " \n = Lobster = \n \n Big . \n \n = = Size = = \n \n 60 cm . \n = Crab = \n Small . ",
            ["= Lobster = \n \n Big . \n \n = = Size = = \n \n 60 cm .", "= Crab = \n Small ."],
        ),
        ("   \n\n", []),
    ],
)
def test_documents_are_what_the_text_marks(text: str, documents: list[str]) -> None:
    assert split_documents(text) == documents


def test_builtin_splits_are_disjoint() -> None:
    calibration = read_documents("builtin", "calibration")
    evaluation = read_documents("builtin", "evaluation")
    assert len(calibration) > 500
    assert len(evaluation) > 100
    assert not set(calibration) & set(evaluation)


def test_unreadable_text_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="No such file"):
        read_documents(str(tmp_path / "absent.txt"), "calibration")
    with pytest.raises(BadRequestError, match="Is a directory"):
        read_documents(str(tmp_path), "calibration")
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"abc\xff\xfe")
    with pytest.raises(BadRequestError, match="not UTF-8 at byte 3"):
        read_documents(str(binary), "calibration")
    blank = tmp_path / "blank.txt"
    blank.write_text(" \n\n")
    with pytest.raises(BadRequestError, match="is empty"):
        read_documents(str(blank), "calibration")


def test_a_hub_text_without_a_network_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingError, match="needs the Hub, which cannot be reached"):
        read_documents("hub:some/dataset", "calibration")
    with pytest.raises(BadRequestError, match="not of the form"):
        read_documents("hub:a:b:c:d", "calibration")


def test_bos_comes_first_and_once(tmp_path: Path) -> None:
    tokenizer = open_checkpoint(write_checkpoint(tmp_path / "model")).tokenizer()
    assert encode(tokenizer, ["ab", ""]) == [[BOS, 4, 5], [BOS]]
    tokenizer.bos_token = None
    assert encode(tokenizer, ["ab"]) == [[4, 5]]


@pytest.mark.parametrize("length", [2, 3, 7, 50])
def test_pieces_predict_every_token_once(length: int) -> None:
    document = list(range(100, 120))
    with_bos = pieces([BOS, *document], length, BOS)
    assert [i for piece in with_bos for i in piece[1:]] == document
    assert all(piece[0] == BOS and len(piece) <= length for piece in with_bos)
    without = pieces(document, length, None)
    assert [i for piece in without for i in piece[1:]] == document[1:]
    assert all(len(piece) <= length for piece in without)


def test_a_document_of_one_token_is_one_piece() -> None:
    assert pieces([BOS], 5, BOS) == [[BOS]]
    assert pieces([7], 5, None) == [[7]]


def documents(count: int, length: int) -> list[list[int]]:
    """Documents whose tokens are all different, so that overlap would show."""
    return [[BOS, *range(1 + i * length, 1 + (i + 1) * length)] for i in range(count)]


def test_held_out_text_is_never_calibrated_on() -> None:
    drawn = draw_samples(
        documents(30, 25), source="t", samples=32, seq_len=11, seed=3, bos_token_id=BOS
    )
    assert len(drawn.training) == 32
    assert len(drawn.held_out) == 4
    used = {i for s in drawn.training for i in s} - {BOS}
    held = {i for s in drawn.held_out for i in s} - {BOS}
    assert not used & held
    assert all(8 <= len(s) <= 11 and s[0] == BOS for s in [*drawn.training, *drawn.held_out])
    assert drawn.record()["tokens"] == sum(map(len, drawn.training))


def test_the_seed_decides_the_draw() -> None:
    def hashed(seed: int) -> str:
        drawn = draw_samples(
            documents(30, 25), source="t", samples=8, seq_len=11, seed=seed, bos_token_id=BOS
        )
        return str(drawn.record()["token_ids_sha256"])

    assert hashed(1) == hashed(1)
    assert hashed(1) != hashed(2)


def test_too_little_text_says_how_much_there_is() -> None:
    with pytest.raises(BadRequestError, match=r"gives 5 samples .* 8 \+ 2 held-out") as caught:
        draw_samples(documents(5, 10), source="t", samples=8, seq_len=20, seed=0, bos_token_id=BOS)
    assert "--samples 3 or less" in str(caught.value)
    drawn = draw_samples(
        documents(5, 10), source="t", samples=3, seq_len=20, seed=0, bos_token_id=BOS
    )
    assert len(drawn.training) + len(drawn.held_out) == 5


def test_a_text_file_of_the_tests_is_what_it_says(tmp_path: Path) -> None:
    assert len(read_documents(str(write_text(tmp_path / "t.txt", 7)), "calibration")) == 7
