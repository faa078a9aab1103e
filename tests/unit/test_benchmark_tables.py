"""The parts of the pruning benchmarks that decide what runs and what their pages claim."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_checkpoint import BOS, write_checkpoint

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import baselines
import evaluation
import peers
import pruning_methods
import pruning_page
from pruning_methods import Cell, Row

from toolchain.model.checkpoint import Checkpoint, open_checkpoint

OURS = Row("ours", "ours", ours=True)
ROWS = (Row("plain", "plain"), Row("strong", "strong"), OURS)


def cell(row: str, kl: float, seed: int = 0, **values: Any) -> dict[str, Any]:
    """A finished cell of stories3M at 20%."""
    return {
        "model": "stories3M",
        "ratio": 0.2,
        "row": row,
        "seed": seed,
        "layout": "uniform",
        "block_share": 0.8,
        "parameters": 80,
        "kl": kl,
        "perplexity": 10 * kl,
        "ending": 0.5,
        "ending_items": 100,
        "prune_s": 1.0,
        "machine": "machine",
        "versions": "versions",
        **values,
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A tiny random Llama."""
    return open_checkpoint(write_checkpoint(tmp_path_factory.mktemp("benchmark") / "model"))


def test_the_page_averages_seeds_and_marks_the_best() -> None:
    records = [cell("plain", 0.5), cell("strong", 0.3), cell("strong", 0.5, seed=1)]
    text = pruning_page.page([*records, cell("ours", 0.2)], ROWS, {})
    assert "| strong | uniform | 80.0% | - | 0.400 [0.300, 0.500] |" in text
    assert "| **0.200** | **2.00** |" in text
    assert text.count("**0.") == 1


def test_published_methods_are_counted_for_themselves() -> None:
    rows = (Row("plain", "plain", published=True), *ROWS[1:])
    text = pruning_page.page([cell("plain", 0.5), cell("strong", 0.3), cell("ours", 0.4)], rows, {})
    assert "least KL in 1 of 1 cells (a model at a ratio) against 1 published methods." in text
    assert "least KL in 0 of 1 cells (a model at a ratio) against 2 rows" in text


def test_a_row_without_cells_is_a_line_of_dashes_with_its_reason() -> None:
    text = pruning_page.page([cell("plain", 0.5)], ROWS, {"ours": "no such setting"})
    assert "- not measured: `ours` (no such setting)" in text
    assert "| ours | - |" in text
    assert "has the least KL" not in text


@pytest.mark.parametrize(("ours", "won"), [(0.2, 1), (0.3, 1), (0.4, 0)])
def test_the_claim_of_the_least_kl_is_counted(ours: float, won: int) -> None:
    groups = pruning_page.grouped([cell("plain", 0.5), cell("strong", 0.3), cell("ours", ours)])
    claim = pruning_page.least_kl(groups, OURS, ROWS[:2], "other rows")
    assert f"the least KL in {won} of 1 cells" in claim
    assert ("stories3M at 20% (`strong` 0.3, 0.4)" in claim) is (won == 0)


@pytest.mark.parametrize(
    ("ending", "points", "behind", "far"),
    [(0.6, "+0.0", 0, 0), (0.5, "-10.0", 1, 0), (0.3, "-30.0", 1, 1)],
)
def test_accuracy_is_compared_with_every_other_row(
    ending: float, points: str, behind: int, far: int
) -> None:
    records = [cell("plain", 1.0, ending=0.3), cell("strong", 1.0, ending=0.6)]
    groups = pruning_page.grouped([*records, cell("ours", 1.0, ending=ending)])
    text = "\n".join(pruning_page.zero_shot(groups, OURS, ROWS[:2]))
    assert f"than one standard error in {behind}, by more than 1.64 in {far}." in text
    assert f"| strong | 1 | {points} ± " in text
    assert "| stories3M ending, 20% |" in text
    assert pruning_page.zero_shot(groups, OURS, []) == []


def test_rows_are_compared_on_the_draws_that_both_have() -> None:
    """A third of a task's items may be easier than another."""
    ours = [cell("ours", 0.4, ending=0.9), cell("ours", 0.8, 1, ending=0.5)]
    groups = pruning_page.grouped([*ours, cell("plain", 0.5, ending=0.8)])
    assert "the least KL in 1 of 1" in pruning_page.least_kl(groups, OURS, ROWS[:1], "rows")
    assert "| plain | 1 | +10.0 ± 5.0 |" in pruning_page.zero_shot(groups, OURS, ROWS[:1])[-1]
    elsewhere = pruning_page.grouped([*ours, cell("plain", 0.1, 2)])
    assert "the least KL in 1 of 1" in pruning_page.least_kl(elsewhere, OURS, ROWS[:1], "rows")
    assert pruning_page.zero_shot(elsewhere, OURS, ROWS[:1]) == []


def test_a_finished_cell_is_not_run_again_unless_it_was_made_otherwise(tmp_path: Path) -> None:
    raw = tmp_path / "raw.jsonl"
    lines = [cell("plain", 0.9, fingerprint="old"), cell("plain", 0.5, fingerprint="a")]
    raw.write_text("".join(json.dumps(line) + "\n" for line in lines))
    records = pruning_methods.read_records(raw)
    assert [record["kl"] for record in records.values()] == [0.5]
    done, new = Cell("stories3M", 0.2, "plain", 0), Cell("stories3M", 0.2, "plain", 1)
    unknown = Cell("stories3M", 0.2, "ours", 0)
    current = {done.key: "a", new.key: "a"}
    assert pruning_methods.to_run([done, new, unknown], records, current) == [new]
    assert pruning_methods.to_run([done], records, {done.key: "b"}) == [done]
    assert pruning_methods.read_records(tmp_path / "absent.jsonl") == {}


def test_filters_choose_cells_and_keep_the_dense_reference() -> None:
    cells = pruning_methods.wanted(["model=stories260K", "ratio=0.2,0.5", "seed=1", "row=auto"])
    assert [(c.ratio, c.row, c.seed) for c in cells] == [
        (0, "dense", 1),
        (0.2, "auto", 1),
        (0.5, "auto", 1),
    ]
    with pytest.raises(SystemExit, match="write model="):
        pruning_methods.wanted(["method=auto"])


def test_a_row_that_the_settings_refuse_is_reported() -> None:
    assert pruning_methods.refusal(Row("x", "x", {"importance": "nonsense"})) is not None
    assert pruning_methods.refusal(Row("x", "x", {"importance": "wanda"})) is None


def test_rows_have_names_of_their_own() -> None:
    for rows in (pruning_methods.ROWS, peers.ROWS):
        assert len({row.name for row in rows}) == len(rows)


def test_the_page_of_peers_names_what_did_not_run() -> None:
    ours, other, broken = peers.ROWS[0], peers.ROWS[2], peers.ROWS[-1]
    shared = {"layout": "uniform", "plain": True, "block_share": 0.8, "parameters_share": 0.9}
    shared |= {"prune_s": 1.0, "wall_s": 2.0, "imported_rss_bytes": 10**8, "version": "1.0"}
    shared |= {"peak_rss_bytes": 2 * 10**8, "machine": "machine", "versions": "versions"}
    records: list[dict[str, Any]] = [
        {"row": ours.name, "kl": 0.2, "perplexity": 5.0, **shared},
        {"row": other.name, "kl": 0.4, "perplexity": 7.0, **shared},
        {"row": broken.name, "error": "KeyError: 'mode'"},
    ]
    records = [{"model": "stories3M", "ratio": 0.2, "seed": 0, **record} for record in records]
    text = peers.page(records, peers.ROWS)
    assert "0.200, best of the others" in text
    assert "0.400 (2.00 times)" in text
    again = [{**record, "seed": 1} for record in records[:2]]
    lucky = {**records[0], "row": peers.ROWS[1].name, "kl": 0.1}
    assert peers.ROWS[1].package == ours.package
    assert "(2.00 times)" in peers.page([*records, *again, lucky], peers.ROWS)
    assert f"does not run here: {broken.package}: {broken.label} (`KeyError: 'mode'`)" in text


def test_packed_candidates_score_as_they_do_alone(tiny: Checkpoint) -> None:
    model = tiny.load()
    texts = [[BOS, 5, 6, 7, 8], [BOS, 5, 6, 9], [BOS, 5, 6, 7, 10, 11]]
    item = evaluation.candidates(texts)
    assert item.start == [BOS, 5, 6]
    with torch.inference_mode():
        longer = evaluation.candidates([[BOS, *range(4, 20)], [BOS, 30, 31]])
        found = evaluation.score_candidates(model, [item, longer], per_token=False)[0]
        for ids, score in zip(texts, found, strict=True):
            log = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            alone = sum(float(log[at - 1, ids[at]]) for at in range(3, len(ids)))
            assert score == pytest.approx(alone, abs=1e-5)


def test_accuracy_demands_the_first_strictly_highest() -> None:
    assert evaluation.accuracy([[-1.0, -2.0], [-1.0, -1.0], [-3.0, -2.0], [0.0, -9.0]]) == 0.5


def test_slicing_nothing_away_changes_nothing(
    tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [[BOS, *range(4, 30)], [BOS, *range(30, 60)]]
    ids = torch.tensor([samples[0]])
    with torch.inference_mode():
        dense = tiny.load()(ids).logits
        cut = baselines.slicegpt(tiny, samples, 0.2)
        assert cut.block_parameters <= 0.8 * tiny.spec.block_parameters
        assert not torch.allclose(cut.model(ids).logits, dense, atol=1e-2)
        monkeypatch.setattr(baselines, "sliced_width", lambda *_: tiny.spec.hidden_size)
        whole = baselines.slicegpt(tiny, samples, 0.2).model(ids).logits
    assert torch.allclose(whole, dense, atol=1e-4)


def test_whole_layers_go_by_the_nearest_share(tiny: Checkpoint) -> None:
    assert [baselines.layers_to_drop(6, ratio) for ratio in (0.1, 0.2, 0.35, 0.5)] == [1, 1, 2, 3]
    assert baselines.layers_to_drop(5, 0.5) == 2
    made = baselines.shortgpt(tiny, [[BOS, *range(4, 30)]], 0.5)
    assert made.block_parameters == tiny.spec.block_parameters * 2 // 3
