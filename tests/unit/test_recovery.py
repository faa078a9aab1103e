"""Recoveries of a projection small enough to work out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from toolchain.model.block import Block, Rotary
from toolchain.model.compact import MLP
from toolchain.model.families import FAMILIES
from toolchain.pruning.recovery import Problem, Recovered, bias, least_squares, mask_tuning, none
from toolchain.pruning.step import NONE, as_stored

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


MLP_BLOCK = Block(FAMILIES["llama"], MLP, Rotary(None, "cpu"))
DOWN = f"{MLP_BLOCK.projection_name}.weight"
DOWN_BIAS = f"{MLP_BLOCK.projection_name}.bias"


def test_a_candidate_that_the_dtype_cannot_hold_is_left_out_with_a_note() -> None:
    tensors = {DOWN: torch.ones(2, 3, dtype=torch.float16)}
    plain = torch.full((3, 2), 0.5, dtype=torch.float64)
    found = [(NONE, Recovered(plain)), ("dense", Recovered(plain * 1e6))]
    stored, notes = as_stored(tensors, MLP_BLOCK, found)
    assert list(stored) == [NONE]
    assert stored[NONE][DOWN].dtype == torch.float16
    assert stored[NONE][DOWN].tolist() == [[0.5] * 3] * 2
    assert notes == ["dense: the weights overflow torch.float16"]


def test_a_target_that_changes_nothing_is_no_candidate_and_its_note_stays() -> None:
    tensors = {DOWN: torch.ones(2, 3, dtype=torch.bfloat16)}
    plain = torch.full((3, 2), 0.5, dtype=torch.float64)
    below_rounding = Recovered(plain + 1e-9, note="so little")
    moved = Recovered(plain, torch.ones(2, dtype=torch.float64))
    found = [(NONE, Recovered(plain)), ("own", below_rounding), ("dense", moved)]
    stored, notes = as_stored(tensors, MLP_BLOCK, found)
    assert list(stored) == [NONE, "dense"]
    assert notes == ["own: so little"]


def test_a_recovered_bias_adds_to_the_old_one() -> None:
    tensors = {DOWN: torch.ones(2, 3), DOWN_BIAS: torch.tensor([1.0, 2.0])}
    weight = torch.ones(3, 2, dtype=torch.float64)
    moved = Recovered(weight, torch.tensor([0.5, -1.0], dtype=torch.float64))
    found = [(NONE, Recovered(weight)), ("own", moved)]
    assert as_stored(tensors, MLP_BLOCK, found)[0]["own"][DOWN_BIAS].tolist() == [1.5, 1.0]
    del tensors[DOWN_BIAS]
    assert as_stored(tensors, MLP_BLOCK, found)[0]["own"][DOWN_BIAS].tolist() == [0.5, -1.0]
