"""The warning of `validate` where the text of the gates was calibrated on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_checkpoint import write_checkpoint

from toolchain.calibrate.mixture import calibration_samples
from toolchain.embedded import documents
from toolchain.model.checkpoint import open_checkpoint
from toolchain.validation.text import overlap_notes, read_gate_text


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_checkpoint(write_checkpoint(tmp_path_factory.mktemp("model"))).tokenizer()


def text_file(path: Path, texts: list[str]) -> str:
    path.write_text("\n\n".join(texts))
    return str(path)


def test_text_that_was_calibrated_on_is_found_from_the_record_alone(
    tokenizer: Any, tmp_path: Path
) -> None:
    stories = documents("train", 40)
    calibration = text_file(tmp_path / "calibration.txt", stories[:20])
    drawn = calibration_samples([calibration], tokenizer, samples=171, seq_len=64, seed=0)
    assert drawn.portions[0].documents == list(range(20))
    record = {"calibration": drawn.record()}
    mixed = read_gate_text(text_file(tmp_path / "mixed.txt", stories[10:]), tokenizer)
    assert overlap_notes(record, mixed) == [
        "33.3% of the evaluation documents occur in the calibration text"
    ]
    fresh = read_gate_text(text_file(tmp_path / "fresh.txt", stories[20:]), tokenizer)
    assert overlap_notes(record, fresh) == []


def test_no_record_no_note_and_a_broken_one_says_so(tokenizer: Any, tmp_path: Path) -> None:
    text = read_gate_text(text_file(tmp_path / "text.txt", documents("train", 4)), tokenizer)
    for record in ({}, {"calibration": {}}, {"calibration": "builtin"}):
        assert overlap_notes(record, text) == []
    for sketch in ("?", {"hashes": 3}):
        (note,) = overlap_notes({"calibration": {"sketch": sketch}}, text)
        assert note.startswith("whether the text was calibrated on is unknown")
    assert overlap_notes({}, replace(text, texts=[])) == []
