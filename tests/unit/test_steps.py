"""The run log: what is repeated and what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from toolchain.errors import BadRequestError
from toolchain.progress import SILENT
from toolchain.steps import StepLog


class Work:
    """Counts how often it is done."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.times = 0

    def __call__(self) -> None:
        self.times += 1
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.output.write_text("result")


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "run" / "result.json")


def _do(work: Work, tmp_path: Path, **inputs: Any) -> None:
    StepLog(tmp_path / "run", SILENT).do("step", inputs, work.output, work)


def test_the_same_inputs_are_not_worked_on_twice(work: Work, tmp_path: Path) -> None:
    _do(work, tmp_path, ratio=0.2)
    _do(work, tmp_path, ratio=0.2)
    assert work.times == 1


def test_other_inputs_are(work: Work, tmp_path: Path) -> None:
    _do(work, tmp_path, ratio=0.2)
    _do(work, tmp_path, ratio=0.3)
    _do(work, tmp_path, ratio=0.2)
    assert work.times == 3


@pytest.mark.parametrize("fate", ["deleted", "edited"])
def test_an_output_that_is_not_as_it_was_is_made_again(
    work: Work, tmp_path: Path, fate: str
) -> None:
    _do(work, tmp_path, ratio=0.2)
    if fate == "deleted":
        work.output.unlink()
    else:
        work.output.write_text("edited")
    _do(work, tmp_path, ratio=0.2)
    assert work.times == 2
    assert work.output.read_text() == "result"


def test_a_failed_step_is_not_recorded(work: Work, tmp_path: Path) -> None:
    def fail() -> None:
        raise BadRequestError("no")

    with pytest.raises(BadRequestError):
        StepLog(tmp_path / "run", SILENT).do("step", {}, work.output, fail)
    _do(work, tmp_path)
    assert work.times == 1


def test_a_run_directory_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(BadRequestError, match="not written by paredown"):
        StepLog(tmp_path, SILENT)


def test_a_run_interrupted_in_its_first_step_goes_on(work: Work, tmp_path: Path) -> None:
    def interrupted() -> None:
        work.output.parent.mkdir(parents=True, exist_ok=True)
        (work.output.parent / ".result.partial").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        StepLog(tmp_path / "run", SILENT).do("step", {}, work.output, interrupted)
    _do(work, tmp_path)
    assert work.times == 1


def test_a_run_refused_in_its_first_step_leaves_nothing(work: Work, tmp_path: Path) -> None:
    def refuse() -> None:
        (work.output.parent / "bundles").mkdir(parents=True)
        raise BadRequestError("no")

    with pytest.raises(BadRequestError):
        StepLog(tmp_path / "run", SILENT).do("step", {}, work.output, refuse)
    assert not (tmp_path / "run").exists()
