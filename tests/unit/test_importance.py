"""Importance scores of a projection small enough to work out by hand."""

from __future__ import annotations

import pytest
import torch

from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.errors import BadRequestError
from toolchain.registry import resolve

# Columns: an independent one, two that are equal, and a constant one.
INPUTS = torch.tensor(
    [[3.0, 1.0, 1.0, 1.0], [-3.0, 1.0, 1.0, 1.0], [3.0, -1.0, -1.0, 1.0], [-3.0, -1.0, -1.0, 1.0]]
)
WEIGHT = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 4.0]], dtype=torch.float64)


def scores(name: str, block: int = 1) -> list[float]:
    statistics = ProjectionStatistics.zeros(4, 2)
    zeros = torch.zeros(4, 2)
    statistics.update_(INPUTS, zeros, zeros, torch.ones(4, dtype=torch.bool))
    found: torch.Tensor = resolve("importance", name)(statistics.in_float64(), WEIGHT, block)
    return found.tolist()


def test_magnitude_sees_weights_alone() -> None:
    assert scores("magnitude") == [1, 4, 9, 16]
    assert scores("magnitude", 2) == [5, 25]


def test_wanda_is_energy_times_weight() -> None:
    assert scores("wanda") == [36, 16, 36, 64]


def test_fluctuation_gives_a_constant_away() -> None:
    assert scores("fluctuation") == pytest.approx([9, 4, 9, 0])


def test_condition_gives_away_what_the_others_can_say() -> None:
    independent, twin, other_twin, constant = scores("condition")
    assert independent == pytest.approx(36, rel=2e-3)
    assert twin < 0.04
    assert other_twin < 0.08
    assert constant == pytest.approx(64, rel=2e-3)


def test_condition_mask_knows_that_factors_cannot_mix_outputs() -> None:
    # The twins write to different outputs, so one cannot stand in for the other.
    assert scores("condition_mask") == pytest.approx([36, 16, 36, 64], rel=2e-3)


def test_a_block_counts_its_cross_terms() -> None:
    # Columns 0 and 1 write to the same output but never fire together on average.
    assert scores("wanda", 2) == [52, 100]
    assert scores("condition", 2)[0] == pytest.approx(36, rel=2e-3)


def test_an_unknown_name_suggests_a_known_one() -> None:
    with pytest.raises(BadRequestError, match="did you mean 'condition'"):
        resolve("importance", "conditon")
