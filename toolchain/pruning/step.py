"""One step of pruning: the attention or the MLP of one layer, from statistics to a decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from runtime_py.schema import LayerShape
from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.model.block import Block
from toolchain.model.compact import MLP
from toolchain.pruning.flow import DENSE, PRUNED, Batch
from toolchain.pruning.recovery import Problem, Recovered
from toolchain.pruning.targets import problem, targets

Score = Callable[[ProjectionStatistics, Tensor, int], Tensor]
Recover = Callable[[Problem], Recovered]

NONE = "none"
"""The candidate that is always there: the kept weights as they were."""


@dataclass(frozen=True)
class Decision:
    """What one step did and why, for the checkpoint's record."""

    layer: int
    part: str
    kept: int
    """Neurons or query heads that stay."""
    of: int
    """Neurons or query heads before."""
    chosen: str
    """The recovery's target that won on held-out text, or `none`."""
    held_out_kl: dict[str, float] = field(default_factory=dict)
    """KL to the dense model by candidate, nats per token; empty when there was no choice."""
    notes: list[str] = field(default_factory=list)


def collect(
    block: Block, layer: nn.Module, batches: Sequence[Batch], device: str
) -> ProjectionStatistics:
    """Statistics of the block's projection on the calibration text, float64 on the CPU.

    Inputs are those after the pruned prefix, targets the dense model's outputs; `layer` is dense.
    """
    projection = block.projection(layer)
    outputs, width = projection.weight.shape
    statistics = ProjectionStatistics.zeros(width, outputs, device)
    for batch in batches:
        pruned, dense = batch.hidden[PRUNED].to(device), batch.hidden[DENSE].to(device)
        inputs, _ = block.branch(layer, pruned)
        _, target = block.branch(layer, dense)
        if projection.bias is not None:
            target = target - projection.bias
        statistics.update_(inputs, target, dense - pruned, batch.mask.to(device))
    return statistics.in_float64()


def most_important(scores: Tensor, count: int) -> Tensor:
    """Indices, in increasing order, of the `count` largest scores; ties go to the lower index."""
    ranked = torch.sort(scores, descending=True, stable=True).indices
    return ranked[:count].sort().values


def choose_units(
    score: Callable[[int], Tensor], before: LayerShape, after: LayerShape, part: str
) -> Tensor:
    """The neurons or query heads that stay, in increasing order.

    Whole KV groups go first, the least important ones; then, where the groups that are left keep
    fewer query heads each, the least important heads of every group.

    Args:
        score: importance by number of adjacent columns of the projection that go together.
        before: the layer's shape.
        after: its shape afterwards.
        part: ATTENTION or MLP.
    """
    if part == MLP:
        return most_important(score(1), after.intermediate_size)
    per_group = before.num_attention_heads // before.num_key_value_heads
    keep = after.num_attention_heads // after.num_key_value_heads
    heads = torch.arange(before.num_attention_heads).view(-1, per_group)
    groups = torch.arange(len(heads))
    if after.num_key_value_heads < len(heads):
        group_scores = score(per_group * before.head_dim)
        groups = most_important(group_scores, after.num_key_value_heads)
    if keep < per_group:
        scores = score(before.head_dim).view(-1, per_group)
        return torch.cat([heads[g][most_important(scores[g], keep)] for g in groups])
    return heads[groups].flatten()


def candidates(
    recover: Recover,
    statistics: ProjectionStatistics,
    weight: Tensor,
    columns: Tensor,
    has_bias: bool,
) -> tuple[dict[str, Recovered], list[str]]:
    """The kept weights unrecovered, and recovered towards each target, by the target's name.

    A target for which the method left everything as it was is no candidate of its own.

    Args:
        recover: the recovery method.
        statistics: float64 statistics of the whole projection.
        weight: W, [d, m] float64.
        columns: kept columns of X, [k].
        has_bias: whether the projection has a bias.

    Returns:
        The candidates, and what the method had to say about any target.
    """
    found = {NONE: Recovered(weight[columns])}
    notes = []
    for name, target in targets(statistics, weight).items():
        recovered = recover(problem(statistics, target, weight, columns, has_bias))
        if recovered.note:
            notes.append(f"{name}: {recovered.note}")
        if recovered.bias is not None or not torch.equal(recovered.weight, weight[columns]):
            found[name] = recovered
    return found, notes


def as_stored(
    tensors: Mapping[str, Tensor], projection: str, found: Mapping[str, Recovered]
) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """Each candidate as a cut layer's tensors, in the dtype that will be saved.

    Returns:
        The layer's tensors by candidate, and a note for each candidate that the dtype cannot hold,
        which is left out.
    """
    stored, notes = {}, []
    for name, recovered in found.items():
        candidate = _with_projection(tensors, projection, recovered)
        if bool(candidate[f"{projection}.weight"].isfinite().all()):
            stored[name] = candidate
        else:
            notes.append(f"{name}: the weights overflow {candidate[f'{projection}.weight'].dtype}")
    return stored, notes


def _with_projection(
    tensors: Mapping[str, Tensor], projection: str, recovered: Recovered
) -> dict[str, Tensor]:
    out = dict(tensors)
    old = out[f"{projection}.weight"]
    out[f"{projection}.weight"] = recovered.weight.T.to(old.dtype).contiguous()
    if recovered.bias is not None:
        bias = out.get(f"{projection}.bias", torch.zeros_like(recovered.bias)).double()
        out[f"{projection}.bias"] = (bias + recovered.bias).to(old.dtype)
    return out
