"""Error of the least-squares refit once everything up to a neuron is gone, in greedy order.

`condition` prices each neuron as if only that one went; of two that stand in for each other it
finds both cheap. Here every choice sees what is already gone (`toolchain.pruning.removal`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.pruning.importance.condition import DAMPING
from toolchain.pruning.removal import removal_order


def score(statistics: ProjectionStatistics, weight: Tensor, block: int = 1) -> Tensor:
    """I(B) = min over W' without B and all before it of tr((W - W')ᵀ H (W - W')).

    H = XᵀX + DAMPING * diag(XᵀX). Increasing in the order of removal, so that the most important
    k blocks are what is left of it, and their least score is what removing one more comes to.
    Shapes as in `toolchain.pruning.importance`.
    """
    removal = removal_order(statistics.gram, weight, block=block, damping=DAMPING)
    scores = torch.empty_like(removal.errors)
    scores[removal.order] = removal.errors
    return scores
