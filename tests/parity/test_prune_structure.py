"""Dropped layers, searched and adaptive structures, joint tuning: whole runs on tiny models."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoint import write_checkpoint, write_text
from torch import nn
from transformers import AutoModelForCausalLM

from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.progress import SILENT, Progress
from toolchain.pruning import search
from toolchain.pruning.drop import LayerStage
from toolchain.pruning.flow import DENSE
from toolchain.pruning.judge import judged_part
from toolchain.pruning.layers import LayerStore
from toolchain.pruning.request import check_request
from toolchain.pruning.result import PruneResult
from toolchain.pruning.run import prune_checkpoint
from toolchain.pruning.search import _neighbours
from toolchain.pruning.stream import Method, Pruner
from toolchain.pruning.structure import budget_of, planned_structure
from toolchain.pruning.workbench import Workbench
from toolchain.recipe import PruneSettings
from toolchain.store import work_directory

IDS = torch.tensor([[0, 5, 9, 33, 12, 60, 7, 7, 20, 31, 30, 29], [0, *range(11, 22)]])
NOTHING_OPEN = {
    "layers": 0,
    "allocation": "uniform",
    "importance": "condition",
    "joint_masks": False,
}


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Four layers, eight query heads on four KV heads."""
    folder = tmp_path_factory.mktemp("dense") / "model"
    return open_checkpoint(write_checkpoint(folder, "llama-tied", num_hidden_layers=4))


def settings(folder: Path, **changes: Any) -> PruneSettings:
    text = write_text(folder / "text.txt")
    values = {"ratio": 0.3, "samples": 8, "seq_len": 16, "round_to": 4, "device": "cpu"}
    return PruneSettings(**{**values, **NOTHING_OPEN, "calibration": str(text), **changes})


def prune(
    source: Checkpoint, folder: Path, progress: Progress = SILENT, **changes: Any
) -> PruneResult:
    return prune_checkpoint(source, settings(folder, **changes), folder / "out", progress)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model(IDS).logits


def assert_all_accounted_for(record: dict[str, Any]) -> None:
    """Every layer is in the record: its two steps, or that it was dropped."""
    count = len(record["shapes"]["before"]["layers"])
    steps = [(step["layer"], step["part"]) for step in record["steps"]]
    assert steps == [(i, part) for i in record["layers"] for part in ("attention", "mlp")]
    assert set(record["layers"]) <= set(range(count))
    assert {0, count - 1} <= set(record["layers"])
    assert len(record["shapes"]["after"]["layers"]) == len(record["layers"])


# Whole layers


def test_a_dropped_layer_is_gone_and_the_others_are_scaled(
    dense: Checkpoint, tmp_path: Path
) -> None:
    result = prune(dense, tmp_path, parts="layers", layers=1, ratio=0.2, recovery="none")
    assert_all_accounted_for(result.record)
    model = dense.load()
    model.model.layers = torch.nn.ModuleList(model.model.layers[i] for i in result.record["layers"])
    for layer, scale in zip(model.model.layers, result.record["scales"], strict=True):
        layer.self_attn.o_proj.weight.data *= scale
        layer.mlp.down_proj.weight.data *= scale
    for place, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = place
    model.config.num_hidden_layers = 3
    reloaded = AutoModelForCausalLM.from_pretrained(result.path).eval()
    torch.testing.assert_close(logits(reloaded), logits(model), atol=1e-5, rtol=1e-5)


def workbench(dense: Checkpoint, folder: Path, **changes: Any) -> Workbench:
    request = check_request(dense, settings(folder, **changes), folder / "out")
    (folder / "work").mkdir()
    return Workbench(request, folder / "work", SILENT)


def test_influence_and_growth_are_those_of_the_hidden_states(
    dense: Checkpoint, tmp_path: Path
) -> None:
    bench = workbench(dense, tmp_path)
    with torch.no_grad():
        stage = LayerStage(bench)
        model = dense.load()
        distances, growths = [], []
        states = [
            model(torch.tensor([ids]), output_hidden_states=True).hidden_states
            for ids in bench.samples.training
        ]
    for index in range(3):  # transformers gives the last layer's output normed
        old = torch.cat([s[index][0] for s in states])
        new = torch.cat([s[index + 1][0] for s in states])
        distances.append(1 - float(torch.cosine_similarity(old, new, dim=-1).mean()))
        growths.append(float((new.norm(dim=-1) / old.norm(dim=-1)).mean()))
    found = stage._influences[:3]
    assert [i.distance for i in found] == pytest.approx(distances, rel=1e-4)
    assert [i.growth for i in found] == pytest.approx(growths, rel=1e-4)


def test_scaling_later_branches_down_is_scaling_the_stream_up(dense: Checkpoint) -> None:
    alpha = 1.7
    with torch.no_grad():
        one, other = dense.load(), dense.load()
        for layer in one.model.layers[2:]:
            layer.self_attn.o_proj.weight /= alpha
            layer.mlp.down_proj.weight /= alpha
        layer = other.model.layers[1]
        layer.register_forward_hook(lambda *inputs_and_output: inputs_and_output[-1] * alpha)
        torch.testing.assert_close(logits(one), logits(other), atol=2e-3, rtol=2e-3)


def test_the_layer_that_goes_is_the_one_that_hurts_least(dense: Checkpoint, tmp_path: Path) -> None:
    bench = workbench(dense, tmp_path)
    with torch.no_grad():
        chosen = LayerStage(bench).dropped(1)
        model = dense.load()
        reference = [model(torch.tensor([ids])).logits for ids in bench.samples.held_out]
        found = {}
        for gone in (1, 2):
            cut = dense.load()
            cut.model.layers = torch.nn.ModuleList(
                layer for i, layer in enumerate(cut.model.layers) if i != gone
            )
            for place, layer in enumerate(cut.model.layers):
                layer.self_attn.layer_idx = place
            total, tokens = 0.0, 0
            for ids, target in zip(bench.samples.held_out, reference, strict=True):
                p = torch.log_softmax(target[0, :-1].double(), -1)
                q = torch.log_softmax(cut(torch.tensor([ids])).logits[0, :-1].double(), -1)
                total += float((p.exp() * (p - q)).sum())
                tokens += len(p)
            found[gone] = total / tokens
    assert chosen.held_out_kl <= min(found.values()) + 1e-6
    if not chosen.compensated:
        gone = next(i for i in range(4) if i not in chosen.kept)
        assert chosen.held_out_kl == pytest.approx(found[gone], rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": 3}, "3 of the 4 layers"),
        ({"parts": "layers", "layers": 1, "ratio": 0.5}, "drop more of them"),
        ({"params": "10"}, "cannot be pruned to 10 parameters"),
        ({"bytes": "1KB"}, "cannot be pruned to 1,000 bytes"),
        ({"bytes": "much"}, "'much' is not"),
        ({"max_memory": "-1"}, "'-1' is not"),
    ],
)
def test_what_cannot_be_made_is_refused_before_any_work(
    dense: Checkpoint, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    from toolchain.errors import BadRequestError

    with pytest.raises(BadRequestError, match=message):
        prune(dense, tmp_path, **changes)
    assert not (tmp_path / "out").exists()
    assert not work_directory(tmp_path / "out").exists()


# The search


def test_auto_takes_the_best_of_its_drafts(dense: Checkpoint, tmp_path: Path) -> None:
    open_ = {"layers": "auto", "allocation": "auto", "importance": "auto", "recovery": "auto"}
    result = prune(dense, tmp_path, **open_)
    record = result.record
    assert_all_accounted_for(record)
    drafts = record["drafts"]
    assert len(drafts) >= 5
    assert {draft["importance"] for draft in drafts} >= {"condition", "fisher", "greedy"}
    assert len({len(draft["layers"]) for draft in drafts}) > 1
    best = min(drafts, key=lambda draft: draft["held_out_kl"])
    assert best["layers"] == record["layers"]
    assert best["shapes"] == record["shapes"]["after"]["layers"]
    assert (best["importance"], best["allocation"]) == (record["importance"], record["allocation"])
    limit = budget_of(dense.spec, settings(tmp_path)).block_parameters
    assert record["shapes"]["after"]["block_parameters"] <= limit
    text = (result.path / "paredown.json").read_text()
    assert json.loads(text)["drafts"] == drafts


def test_finals_are_drafted_from_all_of_the_text(
    dense: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few samples mislead; here the few are so few that they do."""
    monkeypatch.setattr(search, "DRAFT_SAMPLES", 2)
    open_ = {"importance": "auto", "recovery": "auto", "allocation": "auto", "samples": 16}
    record = prune(dense, tmp_path, **open_).record
    finals = [draft for draft in record["drafts"] if draft["samples"] > 2]
    assert 2 <= len(finals) <= 4
    assert record["drafts"][-len(finals) :] == finals
    best = min(finals, key=lambda draft: draft["held_out_kl"])
    assert {name: record[name] for name in ("importance", "allocation")} == {
        name: best[name] for name in ("importance", "allocation")
    }
    assert record["shapes"]["after"]["layers"] == best["shapes"]

    def answer(draft: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in draft.items() if k not in ("samples", "held_out_kl")}

    without_a_search = answer(record["drafts"][0])
    assert without_a_search in [answer(draft) for draft in finals]


@pytest.mark.parametrize("most", [0, 2])
def test_no_more_drafts_than_asked_for(dense: Checkpoint, tmp_path: Path, most: int) -> None:
    open_ = {"layers": "auto", "allocation": "auto", "importance": "auto", "drafts": most}
    record = prune(dense, tmp_path, **open_).record
    assert len(record["drafts"]) == most
    limit = budget_of(dense.spec, settings(tmp_path)).block_parameters
    assert record["shapes"]["after"]["block_parameters"] <= limit


def test_nothing_open_means_no_draft(dense: Checkpoint, tmp_path: Path) -> None:
    assert prune(dense, tmp_path).record["drafts"] == []


def test_neighbours_differ_by_one_group_or_one_head(dense: Checkpoint) -> None:
    from toolchain.pruning.allocate import uniform_shapes

    spec = dense.spec
    budget = budget_of(spec, PruneSettings(ratio=0.3))
    shapes = uniform_shapes(spec, budget, 4, "all")
    for shape in shapes:
        for other in _neighbours(shape, shapes):
            groups = abs(other.num_key_value_heads - shape.num_key_value_heads)
            heads = abs(
                other.num_attention_heads // other.num_key_value_heads
                - shape.num_attention_heads // shape.num_key_value_heads
            )
            assert groups + heads == 1


@pytest.mark.parametrize("budget", [{"params": "30K"}, {"bytes": "120KB"}, {"ratio": 0.45}])
def test_the_result_is_within_its_budget(
    dense: Checkpoint, tmp_path: Path, budget: dict[str, Any]
) -> None:
    result = prune(dense, tmp_path, **budget)
    parameters = sum(t.numel() for t in load_file(result.path / "model.safetensors").values())
    assert parameters == result.after.parameters
    if "ratio" not in budget:
        assert parameters <= 30_000
    else:
        assert result.after.block_parameters <= 0.55 * dense.spec.block_parameters


# A width for each layer


@pytest.mark.parametrize("allocation", ["global", "kl"])
def test_an_adaptive_result_and_its_padded_twin_are_the_same_function(
    dense: Checkpoint, tmp_path: Path, allocation: str
) -> None:
    adaptive: dict[str, Any] = {"layout": "adaptive", "allocation": allocation}
    result = prune(dense, tmp_path, **adaptive)
    assert_all_accounted_for(result.record)
    shapes = result.record["shapes"]["after"]["layers"]
    assert len({json.dumps(shape) for shape in shapes}) > 1
    assert result.after.block_parameters <= 0.7 * dense.spec.block_parameters
    ours = open_checkpoint(result.path)
    assert ours.spec.layers == result.after.layers
    theirs = AutoModelForCausalLM.from_pretrained(result.path, trust_remote_code=True).eval()
    expected = logits(ours.load())
    torch.testing.assert_close(logits(theirs), expected, atol=1e-5, rtol=1e-5)
    (tmp_path / "pad").mkdir()
    padded = prune(dense, tmp_path / "pad", pad=True, **adaptive)
    assert padded.record["structure_sha256"] == result.record["structure_sha256"]
    stock = AutoModelForCausalLM.from_pretrained(padded.path).eval()
    torch.testing.assert_close(logits(stock), expected, atol=1e-5, rtol=1e-5)
    saved = padded.record["shapes"]["saved"]
    assert stock.num_parameters() == saved["parameters"] > result.after.parameters


# Tuning of all layers together


def test_joint_tuning_is_never_worse_on_held_out_text(dense: Checkpoint, tmp_path: Path) -> None:
    result = prune(dense, tmp_path, joint_masks=True, tune="norms", steps=4)
    held, stages = result.record["held_out"], result.record["polish"]
    assert [stage["stage"] for stage in stages] == ["joint_masks", "norms"]
    assert held["kl"] == min(held["kl_by_stage"].values())
    for stage in stages:
        checks = [check["held_out_kl"] for check in stage["checks"]]
        assert stage["best"]["held_out_kl"] == min(checks)
        if stage["best"]["step"] > 0:
            measured = held["kl_by_stage"][stage["stage"]]
            assert measured == pytest.approx(stage["best"]["held_out_kl"], rel=1e-3)
    names = load_file(result.path / "model.safetensors").keys()
    model = AutoModelForCausalLM.from_pretrained(result.path)
    assert set(names) <= set(model.state_dict())


# Judging


def test_a_part_of_a_batch_is_judged_as_transformers_sees_it(
    dense: Checkpoint, tmp_path: Path
) -> None:
    bench = workbench(dense, tmp_path, samples=24, seq_len=10)
    batches = bench.batches(bench.samples.held_out, [DENSE])
    counts = batches[0].mask.sum(1).tolist()
    assert len(counts) > 2
    part = judged_part(batches, counts[0] + counts[1])
    noise = 0.1 * torch.randn(
        part[0].hidden[DENSE].shape, generator=torch.Generator().manual_seed(0)
    )
    changed = part[0].hidden[DENSE] + noise
    model, expected = dense.load(), []
    with torch.no_grad():
        found = bench.dense_judge.divergences(part, [{"changed": changed}], 0)["changed"]
        for row in range(2):
            ids, states = part[0].token_ids[row, : counts[row]], changed[row, : counts[row]]
            logs = [
                torch.log_softmax(model(**given).logits[0, :-1], -1)
                for given in ({"input_ids": ids[None]}, {"inputs_embeds": states[None]})
            ]
            expected.append((logs[0].exp() * (logs[0] - logs[1])).sum(-1))
    assert found == pytest.approx(float(torch.cat(expected).mean()), rel=1e-3)


# One layer in memory at a time


def test_no_finished_layer_stays_in_memory(dense: Checkpoint, tmp_path: Path) -> None:
    bench = workbench(dense, tmp_path)
    structure = planned_structure(dense.spec, bench.settings)
    store = LayerStore(tmp_path / "layers")
    with torch.no_grad():
        pruner = Pruner(bench, structure, Method("condition", "least_squares"), store)
        layers = pruner.run(SILENT, "pruning")
    assert [layer.tensors for layer in layers] == [{}] * 4
    assert all(store.load(index).tensors for index in structure.layers)


def test_one_layer_is_in_float32_at_a_time(
    dense: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[nn.Module] = weakref.WeakSet()
    most = []
    build = Checkpoint.layer_from

    def counted(*given: Any) -> nn.Module:
        layer = build(*given)
        alive.add(layer)
        most.append(len(alive))
        return layer

    monkeypatch.setattr(Checkpoint, "layer_from", counted)
    bench = workbench(dense, tmp_path)
    structure = planned_structure(dense.spec, bench.settings)
    store = LayerStore(tmp_path / "layers")
    with torch.no_grad():
        Pruner(bench, structure, Method("condition", "least_squares"), store).run(SILENT, "pruning")
    assert len(most) > 10
    assert max(most) == 1


# Going on after an interruption


class Interrupting:
    """Progress that raises what Ctrl-C raises after so many steps of anything."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Interrupting]:
        del description, total
        yield self

    def advance(self, steps: int = 1) -> None:
        del steps
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        pass


EVERYTHING: dict[str, Any] = {
    "layers": "auto",
    "importance": "auto",
    "joint_masks": True,
    "max_memory": "1KB",
    "samples": 8,
}


def test_going_on_from_anywhere_gives_the_identical_checkpoint(
    dense: Checkpoint, tmp_path: Path
) -> None:
    whole = prune(dense, tmp_path, **EVERYTHING).path
    counter = Interrupting(-1)
    (tmp_path / "counted").mkdir()
    prune_checkpoint(dense, settings(tmp_path, **EVERYTHING), tmp_path / "counted" / "out", counter)
    steps = -1 - counter.left
    assert steps > 20
    for stop in range(1, steps, max(1, steps // 8)):
        out = tmp_path / f"stopped-{stop}"
        with pytest.raises(KeyboardInterrupt):
            prune_checkpoint(dense, settings(tmp_path, **EVERYTHING), out, Interrupting(stop))
        assert not out.exists()
        prune_checkpoint(dense, settings(tmp_path, **EVERYTHING), out)
        assert not work_directory(out).exists()
        assert_same_folder(out, whole)


def assert_same_folder(one: Path, other: Path) -> None:
    names = sorted(p.name for p in one.iterdir())
    assert names == sorted(p.name for p in other.iterdir())
    for name in names:
        if name != "paredown.json":
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
    records = [json.loads((p / "paredown.json").read_text()) for p in (one, other)]
    for record in records:
        del record["seconds"], record["peak_rss_bytes"]
    assert records[0] == records[1]
