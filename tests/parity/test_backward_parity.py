"""Gradients of the streamed backward pass against plain autograd over transformers' whole model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_checkpoint import VARIANTS, write_checkpoint
from torch import Tensor, nn
from torch.func import functional_call
from transformers import AutoModelForCausalLM

from runtime_py.schema import LayerShape
from toolchain.model import families
from toolchain.model.block import Block, Rotary
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.model.compact import (
    ATTENTION,
    MLP,
    PARTS,
    projection_name,
    read_projection,
    slices,
)
from toolchain.model.family import Family
from toolchain.model.outer import Outer
from toolchain.pruning import backward as streamed
from toolchain.pruning.backward import Decoder
from toolchain.pruning.gradients import (
    DenseModel,
    GradientPass,
    GradientStore,
    collect_gradients,
)
from toolchain.registry import resolve

IDS = torch.tensor([[0, 5, 9, 33, 12, 60, 7, 7, 20], [0, 14, 3, 3, 41, 8, 0, 0, 0]])
LENGTHS = (9, 6)
MASK = torch.arange(9) < torch.tensor(LENGTHS).unsqueeze(1)
SEQUENCES = [IDS[row, :length].tolist() for row, length in enumerate(LENGTHS)]


def decoder_of(checkpoint: Checkpoint, in_slices: bool = False) -> Decoder:
    """`in_slices`: the head in slices of three rows, for two positions at a time."""
    width = checkpoint.spec.hidden_size
    sizes = {"slice_elements": 3 * width, "chunk_logits": 6} if in_slices else {}
    outer = Outer(checkpoint, **sizes)
    rotary = Rotary(outer.rotary_embedding, "cpu")
    blocks = [Block(checkpoint.family, part, rotary) for part in PARTS]
    return Decoder(outer, blocks, len(checkpoint.spec.layers), "cpu")


def reference_model(folder: Path) -> nn.Module:
    model: nn.Module = AutoModelForCausalLM.from_pretrained(folder).eval()
    return model.requires_grad_(True)


def text_loss(logits: Tensor, row: int | None = None) -> Tensor:
    """Summed cross-entropy over the real next tokens, of one sequence or of both."""
    mask = MASK[:, 1:].clone()
    if row is not None:
        mask[1 - row] = False
    return nn.functional.cross_entropy(logits[:, :-1][mask], IDS[:, 1:][mask], reduction="sum")


class EveryWeight:
    """A layer of which all gradients are wanted."""

    def __init__(self, decoder: Decoder, layer: nn.Module, found: dict[str, Tensor]) -> None:
        self.decoder, self.layer, self.found = decoder, layer, found
        self.weights = dict(layer.requires_grad_(True).named_parameters())

    def trace(self, hidden: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.decoder.run(self.layer, hidden), list(self.weights.values())

    def take(self, batch: int, wanted: list[Tensor], gradients: list[Tensor]) -> None:
        del batch, wanted
        for name, gradient in zip(self.weights, gradients, strict=True):
            self.found[name] = self.found.get(name, torch.zeros_like(gradient)) + gradient

    def done(self) -> None:
        pass


def streamed_gradients(
    checkpoint: Checkpoint, splits: list[tuple[Tensor, Tensor]], in_slices: bool = False
) -> tuple[float, Tensor, list[dict[str, Tensor]]]:
    """Loss, gradient at the embedding of the last split's batch, weight gradients by layer."""
    decoder = decoder_of(checkpoint, in_slices)
    found: list[dict[str, Tensor]] = [{} for _ in checkpoint.spec.layers]
    starts = [decoder.embed(ids) for ids, _ in splits]
    states = streamed.forward(decoder, lambda i: partial(decoder.run, checkpoint.layer(i)), starts)
    ends = [
        streamed.text_loss(decoder, hidden, ids, mask)
        for hidden, (ids, mask) in zip(states[-1], splits, strict=True)
    ]
    first = streamed.backward(
        decoder,
        lambda i: EveryWeight(decoder, checkpoint.layer(i), found[i]),
        states,
        [end.gradient for end in ends],
    )
    return sum(end.total for end in ends), first[-1], found


def assert_close(ours: Tensor, theirs: Tensor, what: str, floor: float = 1e-4) -> None:
    """Relative to the largest value, or to `floor` where that is larger."""
    scale = max(float(theirs.abs().max()), floor)
    error = float((ours - theirs).abs().max()) / scale
    assert error < 1e-4, f"{what}: largest difference is {error:.2g} of the largest gradient"


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_gradient_equals_autograd(variant: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", variant)
    checkpoint = open_checkpoint(folder)
    model = reference_model(folder)
    expected = text_loss(model(IDS).logits)
    expected.backward()
    total, _, found = streamed_gradients(checkpoint, [(IDS, MASK)])
    assert total == pytest.approx(expected.item(), rel=1e-5)
    known = dict(model.named_parameters())
    # The gradient of a key's bias is zero but for rounding.
    floor = 1e-2 * max(float(p.grad.abs().max()) for p in known.values() if p.grad is not None)
    for index, gradients in enumerate(found):
        prefix = checkpoint.family.layer_prefix(index)
        assert len(gradients) == sum(name.startswith(prefix) for name in known)
        for name, gradient in gradients.items():
            theirs = known[f"{prefix}{name}"].grad
            assert theirs is not None
            assert_close(gradient, theirs, f"{prefix}{name}", floor)


def test_batches_add_up_and_slices_of_the_head_change_nothing(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "model", "gemma2"))
    whole, start, together = streamed_gradients(checkpoint, [(IDS, MASK)])
    rows = [(IDS[r : r + 1, :n], MASK[r : r + 1, :n]) for r, n in enumerate(LENGTHS)]
    total, last, apart = streamed_gradients(checkpoint, rows, in_slices=True)
    assert total == pytest.approx(whole, rel=1e-6)
    assert_close(last[0], start[1, : LENGTHS[1]], "embedding")
    for ours, theirs in zip(apart, together, strict=True):
        for name, gradient in ours.items():
            assert_close(gradient, theirs[name], name)


@pytest.mark.parametrize("in_slices", [False, True])
@pytest.mark.parametrize("variant", ["llama-tied", "llama-untied", "gemma2", "gpt2"])
def test_distilling_starts_from_the_gradient_of_kl(
    variant: str, in_slices: bool, tmp_path: Path
) -> None:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "model", variant))
    decoder = decoder_of(checkpoint, in_slices)
    generator = torch.Generator().manual_seed(3)
    teacher, hidden = torch.randn(2, 2, 9, checkpoint.spec.hidden_size, generator=generator)
    found = streamed.distillation_loss(decoder, hidden, teacher, MASK)
    model = checkpoint.outer().requires_grad_(False)
    leaf = hidden.clone().requires_grad_()
    p, q = (
        torch.log_softmax(families.logits(model, families.final_norm(model)(states)), -1)
        for states in (teacher, leaf)
    )
    kl = nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(-1)
    expected = kl[:, :-1][MASK[:, 1:]].sum()
    expected.backward()
    assert leaf.grad is not None
    assert found.total == pytest.approx(expected.item(), rel=1e-5)
    assert_close(found.gradient, leaf.grad, "final states")


def collected(folder: Path, how: GradientPass, store: GradientStore) -> GradientStore:
    checkpoint = open_checkpoint(folder)
    model = DenseModel(
        decoder_of(checkpoint), checkpoint.layer, checkpoint.family, checkpoint.spec.layers
    )
    collect_gradients(model, SEQUENCES, store, how)
    return store


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_sums_equal_brute_force(variant: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", variant)
    checkpoint = open_checkpoint(folder)
    store = collected(folder, GradientPass(), GradientStore())
    model = reference_model(folder)
    outputs: dict[str, Tensor] = {}
    for index in range(len(checkpoint.spec.layers)):
        for part in PARTS:
            name = f"{checkpoint.family.layer_prefix(index)}"
            name += projection_name(checkpoint.family, part)
            model.get_submodule(name).register_forward_hook(partial(_keep, outputs, name))
    energies: dict[str, Tensor] = {}
    for row in range(2):
        model.zero_grad()
        text_loss(model(IDS).logits, row).backward()
        for name in outputs:
            module = model.get_submodule(name)
            known = {"weight": module.weight.grad}
            change = (module.weight * known["weight"]).square()
            energies[name] = energies.get(name, torch.zeros(())) + change.detach()
    model.zero_grad()
    text_loss(model(IDS).logits).backward()
    for index in range(len(checkpoint.spec.layers)):
        prefix = checkpoint.family.layer_prefix(index)
        for part in PARTS:
            name = f"{prefix}{projection_name(checkpoint.family, part)}"
            sums = store[index, part]
            gradient = outputs[name].grad
            assert gradient is not None
            rows = gradient.reshape(-1, gradient.shape[-1])
            assert_close(sums.fisher, rows.T @ rows, f"{name} fisher")
            relative = {f"{projection_name(checkpoint.family, part)}.weight": energies[name]}
            energy = read_projection(relative, checkpoint.family, part).sum(1)
            assert_close(sums.energy.float(), energy, f"{name} energy")
            assert sums.tokens == sum(LENGTHS)


def _keep(
    outputs: dict[str, Tensor], name: str, module: nn.Module, inputs: object, output: Tensor
) -> None:
    del module, inputs
    output.retain_grad()
    outputs[name] = output


@pytest.mark.parametrize("variant", VARIANTS)
def test_taylor_is_the_derivative_of_scaling_a_unit(variant: str, tmp_path: Path) -> None:
    """Σ w ∂L/∂w is dL/ds for one factor s on all that the unit owns."""
    folder = write_checkpoint(tmp_path / "model", variant)
    checkpoint = open_checkpoint(folder)
    store = collected(folder, GradientPass(), GradientStore())
    model = reference_model(folder).requires_grad_(False)
    family, shape, index = checkpoint.family, checkpoint.spec.layers[1], 1
    per_group = shape.num_attention_heads // shape.num_key_value_heads
    cases = [(MLP, 1, False), (ATTENTION, per_group * shape.head_dim, False)]
    if per_group > 1:
        cases.append((ATTENTION, shape.head_dim, True))
    for part, block, alone in cases:
        sums = store[index, part]
        weight = torch.zeros(len(sums.energy), 1, dtype=torch.float64)
        found = resolve("importance", "taylor")(None, weight, block, sums)
        prefix = family.layer_prefix(index)
        expected = []
        for unit in range(3):
            units = torch.arange(per_group) + unit * per_group if part == ATTENTION else None
            if units is None or alone:
                units = torch.tensor([unit])
            owned = slices(family, shape, part, units)
            kept = _without_keys(family, shape, owned) if alone else owned
            expected.append(abs(_slope(model, prefix, kept)) / sums.tokens)
        assert_close(found[:3], torch.tensor(expected, dtype=torch.float64), f"{part} {block}")


Owned = list[tuple[str, int, int, Tensor]]


def _without_keys(family: Family, shape: LayerShape, owned: Owned) -> Owned:
    """What a query head owns alone, without the key and value of its group."""
    queries = shape.num_attention_heads * shape.head_dim
    shared = {family.key, family.value} - {family.query}
    return [
        (name, along, full, indices[indices < queries])
        for name, along, full, indices in owned
        if name.rpartition(".")[0] not in shared
    ]


def _slope(model: nn.Module, prefix: str, owned: Owned) -> float:
    """dL/ds at s = 1 of a factor s on the owned slices."""
    factor = torch.ones((), requires_grad=True)
    known = dict(model.named_parameters())
    changed = {}
    for name, along, _, indices in owned:
        if (full := f"{prefix}{name}") in known:
            scaled = known[full].index_select(along, indices) * factor
            changed[full] = known[full].index_copy(along, indices, scaled)
    loss = text_loss(functional_call(model, changed, (IDS,)).logits)
    return float(torch.autograd.grad(loss, factor)[0])
