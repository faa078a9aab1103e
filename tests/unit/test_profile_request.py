"""Lists, ranges, durations and formats of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime_py.schema import Protocol
from toolchain.errors import BadRequestError
from toolchain.profiling.request import (
    choose_output,
    grid,
    numbers,
    one_of_each,
    seconds,
    share,
)


def test_a_row_for_every_combination() -> None:
    protocols = grid("128,512", "128", "0,1024", "1-2", {"repetitions": 5, "launches": 5})
    assert len(protocols) == 8
    assert len({protocol.fingerprint for protocol in protocols}) == 8
    assert protocols[0] == Protocol(prompt_tokens=128, generated_tokens=128)
    assert protocols[-1].label == "pp512+tg128 @ d1024"
    assert [protocol.threads for protocol in protocols[:2]] == [1, 2]


@pytest.mark.parametrize(
    ("text", "values"), [("7", [7]), ("1-4", [1, 2, 3, 4]), ("512, 128,1-2,128", [512, 128, 1, 2])]
)
def test_numbers(text: str, values: list[int]) -> None:
    assert numbers(text, "-p") == values


@pytest.mark.parametrize("text", ["", "a", "1,", "4-1", "1-2-3", "-1", "1.5", "0-99999999999"])
def test_no_numbers(text: str) -> None:
    with pytest.raises(BadRequestError, match="--threads is"):
        numbers(text, "--threads")


def test_bounds_are_those_of_the_settings() -> None:
    with pytest.raises(BadRequestError, match="threads is 0"):
        grid("8", "8", "0", "0", {})
    with pytest.raises(BadRequestError, match="affinity is 'tiny'"):
        grid("8", "8", "0", "1", {"affinity": "tiny"})
    with pytest.raises(BadRequestError, match="400 rows"):
        grid("1-20", "1-20", "0", "1", {})


@pytest.mark.parametrize(
    ("text", "value"), [("600s", 600), ("10m", 600), ("0.5h", 1800), ("3", 3), ("1min", 60)]
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "s", "5x", "-3s", "1e3"])
def test_no_durations(text: str) -> None:
    with pytest.raises(BadRequestError, match="is no duration"):
        seconds(text)


def test_shares() -> None:
    assert share("5%", "--margin") == 0.05
    assert share("0.05", "--margin") == 0.05
    for text in ("5", "-1%", "x", "nan"):
        with pytest.raises(BadRequestError, match="--margin is"):
            share(text, "--margin")


def test_formats_and_devices() -> None:
    assert choose_output("csv", as_json=False) == "csv"
    assert choose_output("md", as_json=True) == "json"
    with pytest.raises(BadRequestError, match="unknown output 'yaml'"):
        choose_output("yaml", as_json=False)
    assert one_of_each(["local", "ssh:pi"], None) == ["local", "ssh:pi"]
    with pytest.raises(BadRequestError, match="named twice"):
        one_of_each(["local", "local"], None)
    with pytest.raises(BadRequestError, match="no one recording"):
        one_of_each(["local", "ssh:pi"], Path("x"))
