"""Recoveries of a projection small enough to work out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from toolchain.pruning.recovery import Problem, bias, least_squares, mask_tuning, none

# One kept column x = (1, 2, 3) with weight 2; the target is y = 3x + 1.
X = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
T = 3 * X + 1
PROBLEM = Problem(
    gram=X.T @ X,
    cross=X.T @ T,
    weight=torch.tensor([[2.0]], dtype=torch.float64),
    input_mean=X.mean(0),
    target_mean=T.mean(0),
    tokens=3,
    has_bias=False,
)


def test_none_leaves_everything() -> None:
    found = none.recover(PROBLEM)
    assert found.weight is PROBLEM.weight
    assert found.bias is None


def test_bias_makes_up_for_the_mean() -> None:
    found = bias.recover(PROBLEM)
    assert found.weight is PROBLEM.weight
    assert found.bias is not None
    assert found.bias.tolist() == pytest.approx([7 - 2 * 2])


def test_mask_tuning_finds_the_factor() -> None:
    # min over f of Σ(3x + 1 - 2 f x)² is f = (3·14 + 6) / (2·14).
    found = mask_tuning.recover(PROBLEM)
    assert float(found.weight) == pytest.approx(48 / 14, rel=1e-3)
    assert found.bias is None


def test_mask_tuning_with_a_bias_fits_the_line() -> None:
    found = mask_tuning.recover(replace(PROBLEM, has_bias=True))
    assert float(found.weight) == pytest.approx(3, rel=1e-3)
    assert found.bias is not None
    assert float(found.bias) == pytest.approx(7 - float(found.weight) * 2)


def test_least_squares_refits_the_weight_and_no_bias() -> None:
    found = least_squares.recover(PROBLEM)
    assert float(found.weight) == pytest.approx(48 / 14, rel=1e-3)
    assert found.bias is None


def test_absurd_factors_are_refused_with_a_note() -> None:
    found = mask_tuning.recover(replace(PROBLEM, cross=100 * PROBLEM.cross))
    assert found.weight is PROBLEM.weight
    assert found.note == "factors reached 171; all were set to 1"
