"""What single steps are judged on: the first sequences, never more tokens than are wanted."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from toolchain.pruning.flow import PRUNED, Batch
from toolchain.pruning.judge import judged_part

lengths = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=4)


def batch(counts: list[int], first_id: int) -> Batch:
    """Sequences of the given lengths; every id says which sequence it belongs to."""
    mask = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
    ids = (torch.arange(len(counts)) + first_id)[:, None] * mask
    return Batch(ids, mask, {PRUNED: ids[..., None].float()})


@given(lengths, st.integers(1, 60))
def test_the_part_is_the_longest_beginning_that_is_not_too_long(
    counts: list[list[int]], most: int
) -> None:
    starts = [1 + sum(map(len, counts[:i])) for i in range(len(counts))]
    batches = [batch(each, start) for each, start in zip(counts, starts, strict=True)]
    part = judged_part(batches, most)
    taken = [int(row.max()) for chosen in part for row in chosen.token_ids]
    flat = [count for each in counts for count in each]
    assert taken == list(range(1, len(taken) + 1))
    assert taken == [1] or sum(flat[: len(taken)]) <= most
    assert len(taken) == len(flat) or sum(flat[: len(taken) + 1]) > most
    for chosen in part:
        assert torch.equal(chosen.hidden[PRUNED][..., 0].long(), chosen.token_ids)
        assert chosen.mask.shape == chosen.token_ids.shape
