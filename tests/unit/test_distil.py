"""Tuning masks, norms and low-rank changes of a pruned model towards the dense one."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_checkpoint import write_checkpoint
from torch import Tensor, nn

from toolchain.model.block import Block, Rotary
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.model.compact import ATTENTION, MLP, PARTS, cut, read_projection
from toolchain.model.outer import Outer
from toolchain.pruning.backward import Decoder, final_states
from toolchain.pruning.distil import (
    Adaptation,
    Lesson,
    PrunedModel,
    Trained,
    Training,
    fold,
    train,
)
from toolchain.pruning.gradients import DenseModel, GradientPass, GradientStore, collect_gradients
from toolchain.pruning.joint import Masks
from toolchain.pruning.tune import Lora, Norms

KEPT = {ATTENTION: torch.arange(8), MLP: torch.arange(0, 40, 2)}
HOW = Training(steps=16, learning_rate=0.01, batch_sequences=8, seed=1)
VARIANTS = ("llama-tied", "qwen3", "gpt2", "gemma2")
KINDS = ("masks", "columns", "norms", "lora")


def adaptation(kind: str, checkpoint: Checkpoint) -> Adaptation:
    family = checkpoint.family
    made: dict[str, Adaptation] = {
        "masks": Masks(family),
        "columns": Masks(family, outputs=False),
        "norms": Norms(family),
        "lora": Lora(family, rank=2),
    }
    return made[kind]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("distil")
    return {v: write_checkpoint(root / v, v) for v in VARIANTS}


def sequences(count: int, seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(5, 12, (count,), generator=generator).tolist()
    return [torch.randint(4, 60, (n,), generator=generator).tolist() for n in lengths]


def decoder_of(checkpoint: Checkpoint) -> Decoder:
    outer = Outer(checkpoint)
    blocks = [Block(checkpoint.family, p, Rotary(outer.rotary_embedding, "cpu")) for p in PARTS]
    return Decoder(outer, blocks, len(checkpoint.spec.layers), "cpu")


def pruned_tensors(checkpoint: Checkpoint, index: int) -> dict[str, Tensor]:
    """A layer without every other neuron."""
    shape = checkpoint.spec.layers[index]
    return cut(checkpoint.layer_tensors(index), checkpoint.family, shape, MLP, KEPT[MLP])


def pruned_model(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> PrunedModel:
    def read(index: int) -> dict[str, Tensor]:
        return {n: t.to(dtype) for n, t in pruned_tensors(checkpoint, index).items()}

    return PrunedModel(decoder_of(checkpoint), read, checkpoint.layer_from)


def taught(checkpoint: Checkpoint, found: list[list[int]]) -> list[Lesson]:
    """What the dense model makes of the sequences."""
    decoder = decoder_of(checkpoint)
    starts = [decoder.embed(torch.tensor([ids])) for ids in found]
    ends = final_states(decoder, lambda i: partial(decoder.run, checkpoint.layer(i)), starts)
    return [Lesson(ids, partial(torch.clone, end[0])) for ids, end in zip(found, ends, strict=True)]


def trained(checkpoint: Checkpoint, kind: str, how: Training = HOW) -> Trained:
    return train(
        pruned_model(checkpoint),
        adaptation(kind, checkpoint),
        taught(checkpoint, sequences(64, 0)),
        taught(checkpoint, sequences(4, 1)),
        how,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_start_is_neutral_bit_by_bit(variant: str, kind: str, folders: dict[str, Path]) -> None:
    checkpoint = open_checkpoint(folders[variant])
    method = adaptation(kind, checkpoint)
    for dtype in (torch.float32, torch.bfloat16):
        tensors = {n: t.to(dtype) for n, t in pruned_tensors(checkpoint, 1).items()}
        start = method.start(tensors, torch.Generator().manual_seed(0))
        folded = fold(method, tensors, start)
        assert folded.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert folded[name].dtype == dtype
            assert torch.equal(folded[name], tensor), name


def test_factors_scale_what_flows(folders: dict[str, Path]) -> None:
    """Folded into columns and rows, they are factors on the projection's input and output."""
    for variant in VARIANTS:
        checkpoint = open_checkpoint(folders[variant])
        method = Masks(checkpoint.family)
        tensors = pruned_tensors(checkpoint, 1)
        generator = torch.Generator().manual_seed(2)
        factors = {
            name: 1 + 0.3 * torch.randn(tensor.shape, generator=generator)
            for name, tensor in method.start(tensors, generator).items()
        }
        folded = fold(method, tensors, factors)
        for part in PARTS:
            weight = read_projection(tensors, checkpoint.family, part)
            inputs = torch.randn(7, len(weight), generator=generator)
            ours = inputs @ read_projection(folded, checkpoint.family, part)
            scaled = (inputs * factors[f"{part}.inputs"]) @ weight * factors[f"{part}.outputs"]
            torch.testing.assert_close(ours, scaled, rtol=1e-5, atol=1e-6)


def test_lora_merges_to_the_two_small_products(folders: dict[str, Path]) -> None:
    for variant in VARIANTS:
        checkpoint = open_checkpoint(folders[variant])
        method = Lora(checkpoint.family, rank=3)
        tensors = pruned_tensors(checkpoint, 0)
        generator = torch.Generator().manual_seed(4)
        start = method.start(tensors, generator)
        factors = {n: torch.randn(t.shape, generator=generator) for n, t in start.items()}
        folded = fold(method, tensors, factors)
        changed = [name for name in tensors if not torch.equal(folded[name], tensors[name])]
        assert len(changed) * 2 == len(factors)
        for name in changed:
            a, b = (factors[f"{name}.{side}"] for side in "ab")
            inputs = torch.randn(5, tensors[name].shape[1], generator=generator)
            ours = inputs @ folded[name].T
            expected = inputs @ tensors[name].T + (inputs @ a.T) @ b.T
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_kl_and_what_is_saved_has_that_kl(
    kind: str, folders: dict[str, Path]
) -> None:
    checkpoint = open_checkpoint(folders["llama-tied"])
    found = trained(checkpoint, kind)
    start, first, second = found.checks
    assert (start.step, first.step, second.step) == (0, 8, 16)
    assert found.best.step > 0
    assert found.best.held_out_kl == min(first.held_out_kl, second.held_out_kl) < start.held_out_kl
    assert start.training_kl is None
    assert first.training_kl is not None and second.training_kl is not None
    assert second.training_kl < first.training_kl
    method = adaptation(kind, checkpoint)
    decoder = decoder_of(checkpoint)
    total, tokens = 0.0, 0
    for lesson in taught(checkpoint, sequences(4, 1)):
        with torch.no_grad():
            hidden = decoder.embed(torch.tensor([lesson.token_ids]))
            for index, parameters in enumerate(found.parameters):
                folded = fold(method, pruned_tensors(checkpoint, index), parameters)
                hidden = decoder.run(checkpoint.layer_from(index, folded), hidden)
            p = torch.log_softmax(decoder.outer.logits(lesson.teacher[:-1]), -1)
            q = torch.log_softmax(decoder.outer.logits(hidden[0, :-1]), -1)
        total += float((p.exp() * (p - q)).sum())
        tokens += len(lesson.token_ids) - 1
    assert total / tokens == pytest.approx(found.best.held_out_kl, rel=1e-5)


def test_the_same_seed_gives_the_same_bits(folders: dict[str, Path]) -> None:
    checkpoint = open_checkpoint(folders["qwen3"])
    first, second, other = (
        trained(checkpoint, "lora", replace(HOW, steps=4, seed=seed)) for seed in (1, 1, 2)
    )
    assert first.checks == second.checks != other.checks
    for one, two in zip(first.parameters, second.parameters, strict=True):
        for name, tensor in one.items():
            assert torch.equal(tensor, two[name])


def test_a_run_that_only_hurts_returns_the_start(folders: dict[str, Path]) -> None:
    checkpoint = open_checkpoint(folders["llama-tied"])
    wild = replace(HOW, learning_rate=50.0)
    found = trained(checkpoint, "masks", wild)
    assert found.best == found.checks[0]
    assert all(check.held_out_kl > found.best.held_out_kl for check in found.checks[1:])
    for layer in found.parameters:
        assert all(bool((factors == 1).all()) for factors in layer.values())


def test_reading_layers_again_changes_nothing(folders: dict[str, Path]) -> None:
    checkpoint = open_checkpoint(folders["llama-tied"])
    kept, again = (
        trained(checkpoint, "masks", replace(HOW, steps=3, max_bytes=size)) for size in (1 << 30, 0)
    )
    assert kept.checks == again.checks


class Census:
    """How many layers that came through it are alive, and the bytes that graphs hold."""

    def __init__(self) -> None:
        self.alive: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self.most_layers = 0
        self.saved_bytes = 0
        self.most_saved_bytes = 0

    def watched(self, layer: nn.Module) -> nn.Module:
        self.alive.add(layer)
        self.most_layers = max(self.most_layers, len(self.alive))
        return layer

    @contextmanager
    def counting(self) -> Iterator[None]:
        with torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack):
            yield

    def _pack(self, tensor: Tensor) -> _Saved:
        return _Saved(self, tensor)

    def _unpack(self, saved: _Saved) -> Tensor:
        return saved.tensor


class _Saved:
    def __init__(self, census: Census, tensor: Tensor) -> None:
        self.census, self.tensor = census, tensor
        census.saved_bytes += tensor.nbytes
        census.most_saved_bytes = max(census.most_saved_bytes, census.saved_bytes)

    def __del__(self) -> None:
        self.census.saved_bytes -= self.tensor.nbytes


def test_one_layer_and_its_graph_at_a_time(tmp_path: Path) -> None:
    """Twice the layers: no more of them alive, and no more saved for backward."""
    most = []
    for count in (2, 5):
        folder = write_checkpoint(tmp_path / str(count), num_hidden_layers=count)
        checkpoint = open_checkpoint(folder)
        model = pruned_model(checkpoint)
        census = Census()

        def build(
            index: int,
            tensors: dict[str, Tensor],
            checkpoint: Checkpoint = checkpoint,
            census: Census = census,
        ) -> nn.Module:
            return census.watched(checkpoint.layer_from(index, tensors))

        lessons = taught(checkpoint, sequences(4, 0))
        with census.counting():
            train(
                replace(model, build=build),
                Masks(checkpoint.family),
                lessons,
                lessons,
                replace(HOW, steps=1, max_bytes=0),
            )
        assert census.most_layers <= 2  # the next one is read before the last name of it is gone
        assert census.saved_bytes == 0
        most.append(census.most_saved_bytes)
    assert most[1] <= 1.1 * most[0], f"saved for backward: {most} bytes at 2 and 5 layers"


def test_taking_gradients_holds_one_layer(tmp_path: Path) -> None:
    most = []
    for count in (2, 5):
        checkpoint = open_checkpoint(
            write_checkpoint(tmp_path / str(count), num_hidden_layers=count)
        )
        census = Census()

        def read(
            index: int, checkpoint: Checkpoint = checkpoint, census: Census = census
        ) -> nn.Module:
            return census.watched(checkpoint.layer(index))

        model = DenseModel(decoder_of(checkpoint), read, checkpoint.family, checkpoint.spec.layers)
        with census.counting():
            collect_gradients(model, sequences(6, 0), GradientStore(), GradientPass())
        assert census.most_layers <= 2
        most.append(census.most_saved_bytes)
    assert most[1] <= 1.1 * most[0], f"saved for backward: {most} bytes at 2 and 5 layers"


def test_rounds_and_files_give_the_same_sums(tmp_path: Path, folders: dict[str, Path]) -> None:
    checkpoint = open_checkpoint(folders["qwen3"])
    model = DenseModel(
        decoder_of(checkpoint), checkpoint.layer, checkpoint.family, checkpoint.spec.layers
    )
    text = sequences(6, 0)
    whole, parts = GradientStore(), GradientStore(tmp_path / "gradients")
    collect_gradients(model, text, whole, GradientPass(batch_tokens=24))
    collect_gradients(model, text, parts, GradientPass(batch_tokens=24, max_bytes=1))
    for index in range(len(checkpoint.spec.layers)):
        for part in PARTS:
            one, two = whole[index, part], parts[index, part]
            assert one.tokens == two.tokens == sum(map(len, text))
            for name in ("taylor", "taylor_shared", "energy", "fisher"):
                torch.testing.assert_close(
                    getattr(two, name), getattr(one, name), rtol=1e-4, atol=1e-5
                )


class Interrupted(Exception):
    pass


def test_an_interrupted_pass_is_done_again_and_a_finished_one_is_not(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    checkpoint = open_checkpoint(folders["qwen3"])
    reads: list[int] = []

    def read(index: int) -> nn.Module:
        reads.append(index)
        if len(reads) == 5:  # three layers forward, one and a bit backward
            raise Interrupted
        return checkpoint.layer(index)

    model = DenseModel(decoder_of(checkpoint), read, checkpoint.family, checkpoint.spec.layers)
    text = sequences(4, 0)
    with pytest.raises(Interrupted):
        collect_gradients(model, text, GradientStore(tmp_path / "sums"), GradientPass())
    assert list((tmp_path / "sums").iterdir())
    again = GradientStore(tmp_path / "sums")
    assert not again.finished
    collect_gradients(model, text, again, GradientPass())
    whole = GradientStore()
    collect_gradients(model, text, whole, GradientPass())
    for place in [(index, part) for index in range(3) for part in PARTS]:
        assert torch.equal(again[place].fisher, whole[place].fisher)
        assert again[place].tokens == whole[place].tokens
    before = len(reads)
    collect_gradients(model, text, GradientStore(tmp_path / "sums"), GradientPass())
    assert len(reads) == before
