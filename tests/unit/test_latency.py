"""From a latency to a number of parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.embedded import MODEL_DIR
from toolchain.errors import BadRequestError
from toolchain.model.spec import spec_from_config
from toolchain.pruning.latency import parameters_within, read_latency_table
from toolchain.pruning.structure import budget_of, planned_structure
from toolchain.recipe import PruneSettings

POINTS = [(1_000_000, 1.0), (2_000_000, 1.5), (4_000_000, 3.5)]


def write(path: Path, **content: Any) -> Path:
    path.write_text(json.dumps({"schema": "paredown.latency/1", **content}))
    return path


@given(st.floats(0.5, 6.0), st.floats(0.5, 6.0))
def test_more_time_is_never_fewer_parameters(one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert parameters_within(POINTS, less) <= parameters_within(POINTS, more)


@pytest.mark.parametrize(
    ("latency_ms", "parameters"),
    [(1.0, 1_000_000), (1.25, 1_500_000), (1.5, 2_000_000), (2.5, 3_000_000), (4.5, 5_000_000)],
)
def test_measured_points_and_the_lines_between_them(latency_ms: float, parameters: int) -> None:
    assert parameters_within(POINTS, latency_ms) == parameters


def test_a_latency_is_a_budget(tmp_path: Path) -> None:
    spec = spec_from_config(json.loads((MODEL_DIR / "config.json").read_text()), "embedded")
    table = write(tmp_path / "table.json", points=[[500_000, 0.5], [1_700_000, 1.7]])
    settings = PruneSettings(latency_ms=1.3, latency_table=str(table))
    assert planned_structure(spec, settings).spec.parameters <= 1_300_000
    by_count = budget_of(spec, PruneSettings(params="1.3M"))
    assert budget_of(spec, settings).block_parameters == by_count.block_parameters


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"points": [[1, 1.0]]}, "has 1 points"),
        ({"points": [[1, 2.0], [2, 1.0]]}, "2 parameters take 1 ms"),
        ({"points": [[1, 2.0], [1, 3.0]]}, "1 parameters take 3 ms"),
        ({"points": "none"}, "is not JSON of the schema"),
        ({}, "is not JSON of the schema"),
        ({"schema": "other/1", "points": [[1, 1.0], [2, 2.0]]}, "has the schema 'other/1'"),
    ],
)
def test_a_table_that_says_nothing_is_refused(
    content: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadRequestError, match=message):
        read_latency_table(write(tmp_path / "table.json", **content))


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="cannot read latency table"):
        read_latency_table(tmp_path / "none.json")
