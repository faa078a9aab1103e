"""One step of pruning: the attention or the MLP of one layer, from statistics to a decision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from runtime_py.schema import LayerShape
from toolchain.calibrate.stats import ProjectionStatistics
from toolchain.model.block import Block
from toolchain.model.compact import MLP, read_projection, write_projection
from toolchain.pruning.flow import DENSE, PRUNED, Batch
from toolchain.pruning.recovery import TARGETS, Problem, Recovered, SharedRecovery
from toolchain.pruning.targets import MIXTURES, kept_rows, problem, targets

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


def collect_(
    block: Block,
    layer: nn.Module,
    batches: Sequence[Batch],
    device: str,
    scale: float = 1.0,
) -> ProjectionStatistics:
    """Statistics of the block's projection on the calibration text, float32 on the CPU.

    Inputs are those after the pruned prefix, targets the outputs in the dense model, whose stream
    is past the block afterwards: what was computed for the targets is not computed again.

    Args:
        block: attention or MLP.
        layer: the dense layer.
        batches: the calibration text with its streams.
        device: where to compute.
        scale: of the pruned stream relative to the dense one (see `Structure.scales`).
    """
    output_scale = scale if block.family.targets_stream else 1.0
    projection = block.projection(layer)
    outputs, width = projection.weight.shape
    statistics = ProjectionStatistics.zeros(width, outputs, device)
    for batch in batches:
        pruned, dense = batch.hidden[PRUNED].to(device), batch.hidden[DENSE].to(device)
        inputs = block.inputs(layer, pruned)
        output = block.output(layer, dense)
        batch.hidden[DENSE] = block.join(layer, dense, output).cpu()
        target = output if projection.bias is None else output - projection.bias
        drift = scale * dense - pruned
        statistics.update_(inputs, output_scale * target, drift, batch.mask.to(device))
    return statistics.on_cpu()


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
    only: str | None = None,
) -> Iterator[tuple[str, Recovered]]:
    """The kept weights unrecovered, and recovered towards each target, by the target's name.

    Args:
        recover: the recovery method.
        statistics: of the whole projection, on the CPU.
        weight: W, [d, m] in their dtype.
        columns: kept columns of X, [k].
        has_bias: whether the projection has a bias.
        only: the one target that is wanted; None: all that the method is tried with.
    """
    kept = kept_rows(statistics, weight, columns, has_bias)
    yield NONE, Recovered(kept.weight)
    shared = recover if isinstance(recover, SharedRecovery) else None
    names = (only,) if only else (shared.tried if shared else TARGETS)
    # The mean of two targets that are fitted anyway is left to the method, to which it is free.
    later = {n: p for n, p in MIXTURES.items() if n in names and shared and set(p) <= set(names)}
    wanted = targets(statistics, weight, columns, [name for name in names if name not in later])
    del statistics, weight  # what is not in `kept` is not needed any more
    if shared is not None:
        fitted = shared.fit(kept, wanted, later)
        del kept, wanted  # whose parts it drops as soon as it can
        yield from fitted
        return
    gram = kept.gram()
    for name, target in wanted.items():
        yield name, recover(problem(kept, target, gram))


def as_stored(
    tensors: Mapping[str, Tensor], block: Block, found: Iterable[tuple[str, Recovered]]
) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """Each candidate as a cut layer's tensors, in the dtype that will be saved.

    A target for which the method left everything as it was is no candidate of its own, nor is one
    that the dtype cannot hold.

    Returns:
        The layer's tensors by candidate, and what there is to say about any of them.
    """
    stored: dict[str, dict[str, Tensor]] = {}
    notes = []
    for name, recovered in found:
        if recovered.note:
            notes.append(f"{name}: {recovered.note}")
        bias = recovered.bias
        if bias is not None:
            bias = bias + tensors.get(f"{block.projection_name}.bias", torch.zeros_like(bias))
        family, part = block.family, block.part
        candidate = write_projection(tensors, family, part, recovered.weight, bias)
        weight = read_projection(candidate, family, part)
        if not bool(weight.isfinite().all()):
            notes.append(f"{name}: the weights overflow {weight.dtype}")
        elif name == NONE or not _same_projection(candidate, stored[NONE], block):
            stored[name] = candidate
        del recovered, weight, candidate  # not there while the next one is solved for
    return stored, notes


def _same_projection(one: Mapping[str, Tensor], other: Mapping[str, Tensor], block: Block) -> bool:
    names = {f"{block.projection_name}.{kind}" for kind in ("weight", "bias")}
    if names & one.keys() != names & other.keys():
        return False
    return all(torch.equal(one[name], other[name]) for name in names & one.keys())
