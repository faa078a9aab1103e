"""Recovery methods: the best of their kind, never worse than nothing, honest when they fail."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain import registry
from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.pruning import linear
from toolchain.pruning.recovery import TARGETS, Problem, Recovered, SharedRecovery
from toolchain.pruning.recovery.least_squares import DAMPING as REFIT_DAMPING
from toolchain.pruning.recovery.mask_tuning import DAMPING as MASK_DAMPING
from toolchain.pruning.step import NONE, candidates, most_important
from toolchain.pruning.targets import kept_rows, problem, targets

WIDTH, KEPT, OUTPUTS, TOKENS = 8, 5, 4, 60
seeds = st.integers(0, 2**31)


class Draw:
    """X, W, what the dense model gave, and the drift of the stream; float64."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.x = normal(TOKENS, WIDTH) @ normal(WIDTH, WIDTH) + 0.5
        self.w = normal(WIDTH, OUTPUTS)
        self.t = self.x @ self.w + 0.3 * normal(TOKENS, OUTPUTS)
        self.d = 0.2 * normal(TOKENS, OUTPUTS)
        self.columns = torch.arange(KEPT)
        self.statistics = ProjectionStatistics(
            self.x.T @ self.x,
            self.x.sum(0),
            self.x.T @ self.t,
            self.t.sum(0),
            self.x.T @ self.d,
            self.d.sum(0),
            TOKENS,
        )

    def target(self, name: str) -> torch.Tensor:
        """The target T that the name stands for, as data."""
        own = self.x @ self.w
        whole = {"own": own, "dense": self.t, "residual": self.t + self.d}
        parts = [whole[part] for part in name.split("+")]
        return sum(parts[1:], parts[0]) / len(parts)

    def problem(self, name: str, has_bias: bool = False) -> Problem:
        """The problem of keeping the first columns."""
        kept = kept_rows(self.statistics, self.w, self.columns, has_bias)
        target = targets(self.statistics, self.w, self.columns, [name])[name]
        return problem(kept, target, kept.gram())

    def error(self, name: str, recovered: Recovered) -> float:
        """‖T - X_K W' - b‖²."""
        output = self.x[:, self.columns] @ recovered.weight
        if recovered.bias is not None:
            output = output + recovered.bias
        return float((self.target(name) - output).square().sum())


def recover(method: str, asked: Problem) -> Recovered:
    found: Recovered = registry.resolve("recovery", method)(asked)
    return found


target_names = st.sampled_from(["own", "own+dense", "dense", "own+residual", "residual"])


@pytest.mark.parametrize("panel", [1, 3, 512])
@pytest.mark.parametrize("name", TARGETS)
def test_what_a_target_still_misses_is_what_the_data_say(
    monkeypatch: pytest.MonkeyPatch, panel: int, name: str
) -> None:
    """However few rows and columns are in float64 at a time."""
    monkeypatch.setattr(linear, "SOLVED_AT_A_TIME", panel)
    draw = Draw(panel)
    found = targets(draw.statistics, draw.w, draw.columns, [name])
    assert list(found) == [name]
    kept = draw.x[:, draw.columns]
    missing = kept.T @ (draw.target(name) - kept @ draw.w[draw.columns])
    torch.testing.assert_close(found[name].rest, missing)
    torch.testing.assert_close(found[name].mean, draw.target(name).mean(0))


def test_the_products_of_the_inputs_go_once_they_are_factorised() -> None:
    """The largest matrix of a layer is not there while its candidates are made and stored."""
    draw = Draw(0)
    kept = kept_rows(draw.statistics, draw.w, draw.columns, has_bias=False)
    wanted = targets(draw.statistics, draw.w, draw.columns, ["own", "residual"])
    gram = weakref.ref(draw.statistics.gram)
    fitted = registry.resolve("recovery", "least_squares").fit(kept, wanted, {})
    del draw, kept
    assert gram() is not None
    next(fitted)
    assert gram() is None


@settings(deadline=None, max_examples=80)
@given(seeds, target_names)
def test_tuning_never_raises_the_least_squares_error(seed: int, name: str) -> None:
    drawn = Draw(seed)
    errors = {
        method: drawn.error(name, recover(method, drawn.problem(name)))
        for method in ("none", "bias", "mask_tuning", "least_squares")
    }
    slack = 1e-9 * errors["none"]
    assert errors["bias"] <= errors["none"] + slack
    assert errors["mask_tuning"] <= errors["none"] + slack
    # The refit's ridge is over more weights, so it may cost a little of the plain error.
    ridge = REFIT_DAMPING * float(
        (
            drawn.problem(name).gram.diagonal().unsqueeze(1)
            * (recover("mask_tuning", drawn.problem(name)).weight - drawn.w[:KEPT]).square()
        ).sum()
    )
    assert errors["least_squares"] <= errors["mask_tuning"] + ridge + slack


@settings(deadline=None, max_examples=40)
@given(seeds, target_names)
def test_least_squares_equals_brute_force(seed: int, name: str) -> None:
    drawn = Draw(seed)
    x, w = drawn.x[:, :KEPT].numpy(), drawn.w[:KEPT].numpy()
    ridge = np.sqrt(REFIT_DAMPING) * np.diag(np.linalg.norm(x, axis=0))
    data, wanted = np.vstack([x, ridge]), np.vstack([drawn.target(name).numpy(), ridge @ w])
    expected = np.linalg.lstsq(data, wanted, rcond=None)[0]
    found = recover("least_squares", drawn.problem(name))
    np.testing.assert_allclose(found.weight.numpy(), expected, atol=1e-6)
    assert found.bias is None


@settings(deadline=None, max_examples=40)
@given(seeds, target_names, st.booleans())
def test_mask_tuning_equals_brute_force(seed: int, name: str, has_bias: bool) -> None:
    drawn = Draw(seed)
    x, t = drawn.x[:, :KEPT].numpy(), drawn.target(name).numpy()
    mean = t.mean(0)
    if has_bias:
        x, t = x - x.mean(0), t - mean
    w = drawn.w[:KEPT].numpy()
    parts = np.stack([np.outer(x[:, j], w[j]).ravel() for j in range(KEPT)], axis=1)
    ridge = np.sqrt(MASK_DAMPING) * np.diag(np.linalg.norm(parts, axis=0))
    data = np.vstack([parts, ridge])
    wanted = np.concatenate([t.ravel(), ridge @ np.ones(KEPT)])
    mask = np.linalg.lstsq(data, wanted, rcond=None)[0]
    found = recover("mask_tuning", drawn.problem(name, has_bias))
    np.testing.assert_allclose(found.weight.numpy(), mask[:, None] * w, atol=1e-6)
    if has_bias:
        assert found.bias is not None
        expected = mean - drawn.x[:, :KEPT].numpy().mean(0) @ found.weight.numpy()
        np.testing.assert_allclose(found.bias.numpy(), expected, atol=1e-9)
    else:
        assert found.bias is None


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_nothing_removed_and_its_own_target_change_nothing(seed: int) -> None:
    drawn = Draw(seed)
    drawn.columns = torch.arange(WIDTH)
    for method in ("none", "mask_tuning", "least_squares"):
        found = recover(method, drawn.problem("own"))
        torch.testing.assert_close(found.weight, drawn.w, rtol=1e-7, atol=1e-7)
    assert torch.equal(recover("none", drawn.problem("own")).weight, drawn.w)


@settings(deadline=None, max_examples=30)
@given(seeds, st.sampled_from(["none", "bias", "mask_tuning", "least_squares"]))
def test_every_candidate_is_there_or_explained(seed: int, method: str) -> None:
    drawn = Draw(seed)
    asked = (drawn.statistics, drawn.w, drawn.columns, False)
    found = dict(candidates(registry.resolve("recovery", method), *asked))
    assert torch.equal(found.pop(NONE).weight, drawn.w[:KEPT])
    chosen = registry.resolve("recovery", method)
    tried = chosen.tried if isinstance(chosen, SharedRecovery) else TARGETS
    assert set(found) == set(tried)
    for recovered in found.values():
        fell_back = method == "none" or "set to 1" in recovered.note
        untouched = recovered.bias is None and torch.equal(recovered.weight, drawn.w[:KEPT])
        assert untouched == fell_back


@settings(deadline=None, max_examples=60)
@given(seeds, st.sampled_from(["mask_tuning", "least_squares"]), st.booleans())
def test_a_shared_factorisation_gives_what_separate_solves_give(
    seed: int, method: str, has_bias: bool
) -> None:
    drawn = Draw(seed)
    chosen = registry.resolve("recovery", method)
    shared = dict(candidates(chosen, drawn.statistics, drawn.w, drawn.columns, has_bias))
    for name in (n for n in shared if n != NONE):
        alone = chosen(drawn.problem(name, has_bias))
        torch.testing.assert_close(shared[name].weight, alone.weight, rtol=1e-9, atol=1e-9)
        assert (shared[name].bias is None) == (alone.bias is None)
        if alone.bias is not None:
            torch.testing.assert_close(shared[name].bias, alone.bias, rtol=1e-9, atol=1e-9)
        assert shared[name].note == alone.note


def test_factors_that_explode_leave_the_mask_alone_and_say_so() -> None:
    drawn = Draw(3)
    asked = drawn.problem("own")
    absurd = replace(asked, cross=asked.cross * 1e4)
    found = recover("mask_tuning", absurd)
    assert torch.equal(found.weight, asked.weight)
    assert "all were set to 1" in found.note
    listed = dict(
        candidates(
            registry.resolve("recovery", "mask_tuning"),
            replace(drawn.statistics, target_cross=drawn.statistics.target_cross * 1e4),
            drawn.w,
            drawn.columns,
            False,
        )
    )
    assert torch.equal(listed["dense"].weight, drawn.w[:KEPT])
    assert listed["dense"].note.startswith("factors reached")


@pytest.mark.parametrize("method", ["mask_tuning", "least_squares"])
def test_a_singular_gram_matrix_is_solved_all_the_same(method: str) -> None:
    drawn = Draw(5)
    drawn.x[:, 1] = drawn.x[:, 0]
    drawn.x[:, 2] = 0
    statistics = replace(drawn.statistics, gram=drawn.x.T @ drawn.x)
    drawn.statistics = replace(statistics, target_cross=drawn.x.T @ drawn.t)
    found = recover(method, drawn.problem("dense"))
    assert bool(found.weight.isfinite().all())


@settings(max_examples=50)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.data())
def test_the_most_important_stay_in_order(scores: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(scores)))
    kept = most_important(torch.tensor(scores, dtype=torch.float64), count).tolist()
    assert kept == sorted(set(kept))
    assert len(kept) == count
    gone = set(range(len(scores))) - set(kept)
    for lost in gone:
        for stays in kept:
            assert (scores[stays], -stays) > (scores[lost], -lost)
