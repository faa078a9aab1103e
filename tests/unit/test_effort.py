"""What a default run does and leaves out, by size alone."""

from __future__ import annotations

import pytest

from toolchain.model.sizes import STEP_TOKENS
from toolchain.model.spec import ModelSpec, spec_from_config
from toolchain.pruning.effort import (
    FEWEST_DRAFTS,
    FEWEST_STEP_TOKENS,
    MOST_DRAFTS,
    affordable_drafts,
    draft_operations,
    finalists,
    step_tokens,
    tunes_masks,
)
from toolchain.recipe import PruneSettings


def llama(layers: int, hidden: int, heads: int, width: int, vocabulary: int) -> ModelSpec:
    return spec_from_config(
        {
            "model_type": "llama",
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": width,
            "vocab_size": vocabulary,
            "max_position_embeddings": 2048,
        },
        "x",
    )


SMALL = llama(6, 192, 6, 512, 4096)
LARGE = llama(32, 4096, 32, 11008, 32000)


def test_a_small_model_gets_everything_and_a_large_one_on_a_cpu_nothing() -> None:
    default = PruneSettings()
    assert affordable_drafts(SMALL, default, "cpu") == MOST_DRAFTS
    assert tunes_masks(SMALL, default, "cpu")
    assert affordable_drafts(LARGE, default, "cpu") == 0
    assert not tunes_masks(LARGE, default, "cpu")


def test_the_steps_of_a_deep_model_are_judged_on_less_text() -> None:
    tokens = [
        step_tokens(llama(layers, 2048, 32, 8192, 128256), "cpu") for layers in (4, 16, 24, 64)
    ]
    assert tokens == sorted(tokens, reverse=True)
    assert tokens[0] == STEP_TOKENS > tokens[1] > tokens[2] > tokens[3] == FEWEST_STEP_TOKENS
    assert step_tokens(SMALL, "cpu") == step_tokens(LARGE, "cuda") == STEP_TOKENS
    assert step_tokens(LARGE, "cpu") == FEWEST_STEP_TOKENS


def test_less_text_and_a_faster_device_allow_more() -> None:
    little = PruneSettings(samples=8, seq_len=64)
    assert draft_operations(LARGE, little) < draft_operations(LARGE, PruneSettings())
    assert affordable_drafts(LARGE, little, "cuda") >= FEWEST_DRAFTS
    assert tunes_masks(LARGE, little, "cuda")


@pytest.mark.parametrize("asked", [0, 1, 100])
def test_what_is_asked_for_is_done_whatever_it_takes(asked: int) -> None:
    settings = PruneSettings(drafts=asked, joint_masks=bool(asked))
    assert affordable_drafts(LARGE, settings, "cpu") == asked
    assert tunes_masks(LARGE, settings, "cpu") == bool(asked)


def test_wider_layers_are_more_work() -> None:
    assert draft_operations(LARGE, PruneSettings()) > 100 * draft_operations(SMALL, PruneSettings())


@pytest.mark.parametrize(("drafts", "count"), [(0, 0), (4, 0), (10, 2), (24, 4), (1000, 4)])
def test_finals_are_less_work_than_the_search(drafts: int, count: int) -> None:
    assert finalists(drafts) == count
