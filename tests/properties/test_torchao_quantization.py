"""Rounded weights: what the scales promise, for any weight."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import save_tiny_checkpoint
from torch import Tensor, nn

from toolchain.exporting.torchao_quantization import quantize_, weights_at_hand
from toolchain.model import families
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.quiet import quiet

EPSILON = 1e-6


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = tmp_path_factory.mktemp("model") / "llama"
    return open_checkpoint(save_tiny_checkpoint(path, "llama", hidden_size=64))


def heads(checkpoint: Checkpoint, weight: Tensor, bits: int, group_size: int) -> nn.Module:
    """The head of a model whose head's weight is `weight`, rounded."""
    model = checkpoint.load()
    head = families.head(model)
    head.weight = nn.Parameter(weight.clone(), requires_grad=False)
    for layer in families.decoder_layers(model):
        layer.requires_grad_(False)
    families.set_decoder_layers_(model, nn.ModuleList())
    quantize_(model, checkpoint.spec, linear_bits=bits, table_bits=32, group_size=group_size)
    return head


def weights(seed: int, spread: float) -> Tensor:
    """[24, 64] normal numbers of very different sizes, a row of zeros and an outlier among them."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(24, 64, generator=generator)
    rows *= torch.exp(spread * torch.randn(24, 1, generator=generator))
    rows[3] = 0.0
    rows[5, 7] *= 40
    return rows


def torchaos(weight: Tensor, bits: int, group: int) -> Tensor:
    """What torchao's own choice of scales makes of it."""
    with quiet():
        from torchao.quantization import IntxUnpackedToInt8Tensor

    dtype = {4: torch.int4, 8: torch.int8}[bits]
    return IntxUnpackedToInt8Tensor.from_hp(weight, (1, group), dtype).dequantize()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), spread=st.floats(0, 4), group=st.sampled_from([32, 64]))
def test_4_bits_lose_no_more_than_torchaos_scales(
    checkpoint: Checkpoint, seed: int, spread: float, group: int
) -> None:
    weight = weights(seed, spread)
    head = heads(checkpoint, weight, 4, group)
    scale, whole = head.weight.scale, head.weight.qdata
    assert scale.shape == (24, 64 // group)
    assert torch.equal(scale, scale.to(torch.bfloat16).float())  # as XNNPACK stores it
    assert bool((scale > 0).all() & torch.isfinite(scale).all())
    assert int(whole.min()) >= -8 and int(whole.max()) <= 7
    mine = (head.weight.dequantize() - weight).reshape(24, -1, group).square().sum(-1)
    theirs = (torchaos(weight, 4, group) - weight).reshape(24, -1, group).square().sum(-1)
    # Each group: a fine search against one scale that is not rounded to bfloat16, which may
    # happen to lie between two that are tried.
    assert bool((mine <= theirs * 1.1 + EPSILON).all())
    # One row of these is so much larger than the others that the sum is its error alone.
    assert bool(((mine + EPSILON) / (theirs + EPSILON)).log().mean() < 0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), spread=st.floats(0, 4))
def test_8_bits_are_torchaos(checkpoint: Checkpoint, seed: int, spread: float) -> None:
    weight = weights(seed, spread)
    rounded = heads(checkpoint, weight, 8, 32).weight.dequantize()
    assert torch.allclose(rounded, torchaos(weight, 8, 64), rtol=1e-5, atol=1e-30)
    step = weight.abs().amax(1, keepdim=True) / 127.5
    assert bool(((rounded - weight).abs() <= 0.501 * step + 1e-30).all())


def test_only_what_was_asked_for_changes(checkpoint: Checkpoint) -> None:
    before, after = checkpoint.load(), checkpoint.load()
    quantize_(after, checkpoint.spec, linear_bits=8, table_bits=32, group_size=32)
    assert torch.equal(families.embedding(after).weight, families.embedding(before).weight)
    quantize_(before, checkpoint.spec, linear_bits=32, table_bits=4, group_size=32)
    assert type(families.head(before).weight) is nn.Parameter
    assert families.embedding(before).weight.scale.shape == (checkpoint.spec.vocab_size, 2)
    for name, parameter in before.named_parameters():
        if "norm" in name:
            assert torch.equal(parameter, after.get_parameter(name))


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_at_hand_change_nothing_and_leave_nothing(
    checkpoint: Checkpoint, bits: int
) -> None:
    model = checkpoint.load()
    quantize_(model, checkpoint.spec, linear_bits=8, table_bits=bits, group_size=32)
    ids = torch.tensor([[1, 5, 9, 2]])
    made = {name: set(vars(weight)) for name, weight in model.named_parameters()}
    with torch.no_grad():
        expected = model(ids).logits
        with weights_at_hand(model):
            first = families.head(model).weight
            assert first.dequantize() is first.dequantize()
            found = model(ids).logits
    assert torch.equal(found, expected)
    assert {name: set(vars(weight)) for name, weight in model.named_parameters()} == made
