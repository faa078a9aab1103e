"""Divergences and likelihoods over slices of the vocabulary equal those over all of it at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_checkpoint import write_checkpoint

from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.model.outer import Outer

VOCABULARY, HIDDEN = 53, 48
seeds = st.integers(0, 2**31)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("sliced") / "model"
    return open_checkpoint(write_checkpoint(folder, "llama-untied", vocab_size=VOCABULARY))


def states(seed: int, scale: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Final hidden states [7, h] of a reference, one near it and one far away."""
    generator = torch.Generator().manual_seed(seed)
    reference, noise, other = torch.randn(3, 7, HIDDEN, generator=generator) * scale
    return reference, {"near": reference + 0.01 * noise, "far": other, "same": reference}


@settings(deadline=None, max_examples=60)
@given(
    seed=seeds,
    scale=st.sampled_from([0.01, 1.0, 100.0]),
    rows=st.integers(1, VOCABULARY + 5),
    chunk=st.integers(1, 400),
    cap=st.sampled_from([None, 3.0]),
)
def test_any_slicing_gives_the_brute_force(
    source: Checkpoint, seed: int, scale: float, rows: int, chunk: int, cap: float | None
) -> None:
    outer = Outer(source, slice_elements=rows * HIDDEN, chunk_logits=chunk)
    outer._cap = cap
    reference, others = states(seed, scale)
    head = source.tensor("lm_head.weight").double()

    def log_softmax(hidden: torch.Tensor) -> torch.Tensor:
        logits = outer.normed(hidden).double() @ head.T
        if cap is not None:
            logits = cap * (logits / cap).tanh()
        return logits.log_softmax(-1)

    p = log_softmax(reference)
    found = outer.divergences(reference, others)
    for name, hidden in others.items():
        expected = (p.exp() * (p - log_softmax(hidden))).sum(-1)
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-5, msg=name)
    assert bool((found["same"].abs() < 1e-6).all())
    targets = torch.randint(
        VOCABULARY, (len(reference),), generator=torch.Generator().manual_seed(seed)
    )
    nats = outer.negative_log_likelihood(others["far"], targets)
    expected = -log_softmax(others["far"]).gather(1, targets.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(nats, expected, rtol=1e-5, atol=1e-5)
    assert nats.dtype == torch.float64
    logits = outer.logits(reference)
    assert logits.shape == (7, VOCABULARY)
    torch.testing.assert_close(logits.double().log_softmax(-1), p, rtol=1e-4, atol=1e-4)
