"""Hidden states come back as they were put, wherever they waited."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_checkpoint import write_checkpoint

from toolchain.model.block import Block, Rotary
from toolchain.model.checkpoint import open_checkpoint
from toolchain.model.compact import PARTS
from toolchain.model.outer import Outer
from toolchain.pruning.flow import DENSE, PRUNED, Batch, HiddenStates, advance_, start_batches

STREAMS = (DENSE, PRUNED)


@settings(deadline=None, max_examples=60)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5)), min_size=1, max_size=4),
    limit=st.integers(0, 700),
    changes=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(STREAMS)), max_size=8),
    seed=st.integers(0, 2**31),
)
def test_any_limit_gives_back_every_bit(
    shapes: list[tuple[int, int]], limit: int, changes: list[tuple[int, str]], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        states = HiddenStates(limit, Path(folder) / "states")
        expected = []
        for shape in shapes:
            batch = states.batch()
            hidden = torch.randn(*shape, 4, generator=generator)
            for stream in STREAMS:
                batch[stream] = hidden
            expected.append((batch, dict.fromkeys(STREAMS, hidden)))
        for place, stream in changes:
            batch, known = expected[place % len(expected)]
            # A view with other strides, as slices of a batch are.
            known[stream] = (
                torch.randn(known[stream].shape[::-1], generator=generator)
                .mT.permute(1, 2, 0)
                .reshape(known[stream].shape)
            )
            batch[stream] = known[stream]
        for batch, known in expected:
            assert sorted(batch) == sorted(STREAMS)
            assert len(batch) == len(STREAMS)
            for stream in STREAMS:
                assert torch.equal(batch[stream], known[stream])
        files = list(Path(folder).glob("states/*"))
        in_memory = sum(
            known[s].numel() * 4
            for batch, known in expected
            for s in STREAMS
            if not (Path(folder) / "states" / f"{s}-{batch._batch:05d}.f32").exists()
        )
        assert in_memory <= limit
        assert sum(file.stat().st_size for file in files) + in_memory == sum(
            2 * known[DENSE].numel() * 4 for _, known in expected
        )
        for batch, _ in expected:
            del batch[DENSE]
            with pytest.raises(KeyError):
                batch[DENSE]
        assert not list(Path(folder).glob("states/dense-*"))


def test_a_limit_without_a_folder_is_refused() -> None:
    with pytest.raises(ValueError, match="folder"):
        HiddenStates(10)


@pytest.mark.parametrize("limit", [0, 20_000, None])
def test_layers_compute_the_same_bits_with_and_without_files(
    limit: int | None, tmp_path: Path
) -> None:
    source = open_checkpoint(write_checkpoint(tmp_path / "model"))
    outer = Outer(source)
    rotary = Rotary(outer.rotary_embedding, "cpu")
    blocks = [Block(source.family, part, rotary) for part in PARTS]
    generator = torch.Generator().manual_seed(1)
    lengths = (12, 30, 7, 30, 18)
    sequences = [torch.randint(60, (n,), generator=generator).tolist() for n in lengths]

    def run(states: HiddenStates | None) -> list[Batch]:
        batches = start_batches(
            sequences, outer.embed, STREAMS, "cpu", states=states, most_tokens=40
        )
        layers = {DENSE: source.layer(0), PRUNED: source.layer(1)}
        with torch.inference_mode():
            for block in blocks:
                advance_(batches, block, layers, "cpu")
        return batches

    expected = run(None)
    found = run(HiddenStates(limit, tmp_path / "states"))
    written = list(tmp_path.glob("states/*"))
    assert len(written) == {0: 8, 20_000: 3, None: 0}[limit], [f.stat().st_size for f in written]
    for one, other in zip(found, expected, strict=True):
        for stream in STREAMS:
            assert torch.equal(one.hidden[stream], other.hidden[stream])
        assert not torch.equal(one.hidden[DENSE], one.hidden[PRUNED])
