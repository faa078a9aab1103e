"""A constant stands in for what was removed (FLAP, An et al. 2023, arXiv 2312.11983)."""

from __future__ import annotations

from toolchain.pruning.recovery import Problem, Recovered


def recover(problem: Problem) -> Recovered:
    """b = mean(T) - mean(X_K) W_K, the least-squares constant; the weights stay."""
    bias = problem.target_mean - problem.input_mean @ problem.weight
    return Recovered(problem.weight, bias)
