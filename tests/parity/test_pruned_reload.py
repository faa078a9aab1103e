"""Pruned checkpoints against the masked dense-shape model, reloaded by plain transformers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoint import CHAT_TEMPLATE, HEADS_STAY, VARIANTS, write_checkpoint, write_text
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from toolchain.model import families
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.model.compact import ATTENTION, MLP, scatter
from toolchain.pruning.result import PruneResult
from toolchain.pruning.run import prune_checkpoint
from toolchain.pruning.workbench import Measured, Workbench
from toolchain.recipe import MATCHING_IMPORTANCE, PruneSettings
from toolchain.store import work_directory

IDS = torch.tensor([[0, 5, 9, 33, 12, 60, 7, 7, 20, 31, 30, 29], [0, *range(11, 22)]])
SEARCH_PATH = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parents[1])])


def settings(folder: Path, **changes: Any) -> PruneSettings:
    """Small and quick: nothing open, a quarter of everything, 8 samples."""
    text = write_text(folder / "text.txt")
    recovery = changes.get("recovery", "least_squares")
    nothing_open = {
        "layers": 0,
        "allocation": "uniform",
        "importance": MATCHING_IMPORTANCE.get(recovery, "condition"),
        "joint_masks": False,
    }
    values = {"ratio": 0.3, "samples": 8, "seq_len": 16, "round_to": 4, "device": "cpu"}
    return PruneSettings(**{**values, **nothing_open, "calibration": str(text), **changes})


def prune(folder: Path, variant: str, model: dict[str, Any], **changes: Any) -> PruneResult:
    """Write a tiny model and prune it; only its MLP where the family's heads have to stay."""
    if variant in HEADS_STAY:
        changes = {"parts": "mlp", **changes}
    source = open_checkpoint(write_checkpoint(folder / "dense", variant, **model))
    return prune_checkpoint(source, settings(folder, **changes), folder / "out")


def kept(out: Path, name: str, index: int) -> torch.Tensor:
    """Kept indices from structure.safetensors."""
    return load_file(out / "structure.safetensors")[f"layers.{index}.{name}"].long()


def masked_model(source: Checkpoint, out: Path) -> torch.nn.Module:
    """A dense-shape transformers model with zeros wherever something was removed."""
    shape = source.spec.layers[0]
    config = families.with_shape(
        json.loads((out / "config.json").read_text()),
        num_attention_heads=shape.num_attention_heads,
        num_key_value_heads=shape.num_key_value_heads,
        intermediate_size=shape.intermediate_size,
    )
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    stored = load_file(out / "model.safetensors")
    for index in range(len(source.spec.layers)):
        prefix = source.family.layer_prefix(index)
        names = [n for n in stored if n.startswith(prefix)]
        layer = {n.removeprefix(prefix): stored.pop(n) for n in names}
        for part, name in ((ATTENTION, "heads"), (MLP, "neurons")):
            layer = scatter(layer, source.family, shape, part, kept(out, name, index))
        stored |= {f"{prefix}{name}": tensor for name, tensor in layer.items()}
    missing, unexpected = model.load_state_dict(stored, strict=False)
    assert not unexpected
    assert set(missing) <= {f"{source.family.head}.weight"}
    model.tie_weights()
    return model.eval()


def outputs(model: torch.nn.Module) -> list[torch.Tensor]:
    """Every layer's hidden states, and the logits."""
    with torch.inference_mode():
        result = model(IDS, output_hidden_states=True)
    return [*result.hidden_states, result.logits]


LLAMAS = tuple(v for v in VARIANTS if v.startswith("llama"))
CASES = [(v, r) for v in VARIANTS for r in ("least_squares", "mask_tuning")]
CASES += [(v, "bias") for v in (*LLAMAS, "smollm3", "opt", "gpt2")]


@pytest.mark.parametrize(("variant", "recovery"), CASES)
def test_reloaded_equals_masked(variant: str, recovery: str, tmp_path: Path) -> None:
    result = prune(tmp_path, variant, {}, recovery=recovery)
    shape = result.after.layers[0]
    if variant not in HEADS_STAY:
        assert (shape.num_key_value_heads, shape.num_attention_heads) == (3, 6)
    assert shape.intermediate_size < 40
    compact = AutoModelForCausalLM.from_pretrained(result.path).eval()
    assert compact.num_parameters() == result.after.parameters
    source = open_checkpoint(tmp_path / "dense")
    ours, theirs = outputs(compact), outputs(masked_model(source, result.path))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert open_checkpoint(result.path).spec.parameters == result.after.parameters


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_recovery_it_is_the_dense_model_with_inputs_zeroed(
    variant: str, tmp_path: Path
) -> None:
    result = prune(tmp_path, variant, {}, recovery="none")
    dense = AutoModelForCausalLM.from_pretrained(tmp_path / "dense").eval()
    family = families.FAMILIES[dense.config.model_type]
    for index, layer in enumerate(families.decoder_layers(dense)):
        heads = kept(result.path, "heads", index)
        columns = (heads[:, None] * 6 + torch.arange(6)).flatten()
        zero_all_but_(layer.get_submodule(family.output), columns)
        zero_all_but_(layer.get_submodule(family.down), kept(result.path, "neurons", index))
    compact = AutoModelForCausalLM.from_pretrained(result.path).eval()
    for one, other in zip(outputs(compact), outputs(dense), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def zero_all_but_(projection: torch.nn.Module, columns: torch.Tensor) -> None:
    """Let only the given inputs of `projection` through."""

    def masked(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        mask = torch.zeros(inputs[0].shape[-1])
        mask[columns] = 1
        return (inputs[0] * mask,)

    projection.register_forward_pre_hook(masked)


def test_a_llama_whose_heads_no_longer_divide_reloads_as_mistral(tmp_path: Path) -> None:
    result = prune(tmp_path, "llama-untied", {"hidden_size": 64, "head_dim": 8})
    assert json.loads((result.path / "config.json").read_text())["model_type"] == "mistral"
    compact = AutoModelForCausalLM.from_pretrained(result.path).eval()
    masked = masked_model(open_checkpoint(tmp_path / "dense"), result.path)
    for one, other in zip(outputs(compact), outputs(masked), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_sources_dtype_stays(dtype: torch.dtype, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "dense", "qwen2")
    AutoModelForCausalLM.from_pretrained(folder).to(dtype).save_pretrained(folder)
    result = prune_checkpoint(open_checkpoint(folder), settings(tmp_path), tmp_path / "out")
    assert {t.dtype for t in load_file(result.path / "model.safetensors").values()} == {dtype}
    assert AutoModelForCausalLM.from_pretrained(result.path).dtype == dtype


def test_everything_around_the_weights_travels(tmp_path: Path) -> None:
    result = prune(tmp_path, "llama-tied", {})
    tokenizer = AutoTokenizer.from_pretrained(result.path)
    assert tokenizer.chat_template == CHAT_TEMPLATE
    dense = tmp_path / "dense"
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (result.path / name).read_bytes() == (dense / name).read_bytes()
    model = AutoModelForCausalLM.from_pretrained(result.path)
    ids = tokenizer("abc", return_tensors="pt")
    generated = model.generate(**ids, do_sample=False, pad_token_id=1)
    assert model.generation_config.max_new_tokens == 7
    assert 3 < generated.shape[1] <= 10


def test_every_step_is_on_record(tmp_path: Path) -> None:
    result = prune(tmp_path, "llama-tied", {})
    record = json.loads((result.path / "paredown.json").read_text())
    assert record == result.record
    steps = [(s["layer"], s["part"]) for s in record["steps"]]
    assert steps == [(i, p) for i in range(3) for p in ("attention", "mlp")]
    for step in record["steps"]:
        assert step["kept"] < step["of"]
        assert step["chosen"] == min(step["held_out_kl"], key=step["held_out_kl"].__getitem__)
        assert "none" in step["held_out_kl"]
    held = record["held_out"]
    assert set(held["kl_by_stage"]) == {"recovered", "unrecovered"}
    assert held["kl"] == held["kl_by_stage"][held["result"]] == min(held["kl_by_stage"].values())
    assert record["dense"]["parameters"] == record["shapes"]["before"]["parameters"]
    after = held["perplexity_after"]
    card = (result.path / "README.md").read_text()
    for fact in (
        record["structure_sha256"],
        record["calibration"]["token_ids_sha256"],
        f"{record['shapes']['after']['parameters']:,}",
        f"{after['value']:.3f} ± {after['standard_error']:.3f}",
    ):
        assert fact in card


def test_the_unrecovered_weights_are_saved_where_they_are_the_better_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Magnitude looks at no activations, so the structure is the same with and without recovery.
    changes = {"importance": "magnitude", "recovery": "none"}
    expected = prune(tmp_path, "llama-biased", {}, **changes)
    real = Workbench.measure

    def prefers_plain(bench: Workbench, structure: Any, read: Any) -> Measured:
        found = real(bench, structure, read)
        plain = isinstance(read, partial)
        return replace(found, kl=found.kl + 100 * (not plain))

    monkeypatch.setattr(Workbench, "measure", prefers_plain)
    chosen = settings(tmp_path, importance="magnitude", recovery="least_squares")
    found = prune_checkpoint(open_checkpoint(tmp_path / "dense"), chosen, tmp_path / "other")
    assert found.record["recovery"] == "none"
    assert found.record["structure_sha256"] == expected.record["structure_sha256"]
    assert "preferred the weights as they were" in (found.path / "README.md").read_text()
    name = "model.safetensors"
    assert (found.path / name).read_bytes() == (expected.path / name).read_bytes()
    after = "perplexity_after"
    assert found.record["held_out"][after] == expected.record["held_out"][after]


def test_your_own_methods_are_called(tmp_path: Path) -> None:
    ours = prune(tmp_path, "qwen2", {}, recovery="none", importance="magnitude")
    chosen = settings(
        tmp_path,
        recovery="toolchain.pruning.recovery.none:recover",
        importance="toolchain.pruning.importance.magnitude:score",
    )
    theirs = prune_checkpoint(open_checkpoint(tmp_path / "dense"), chosen, tmp_path / "other")
    name = "model.safetensors"
    assert (theirs.path / name).read_bytes() == (ours.path / name).read_bytes()
    assert {step["chosen"] for step in theirs.record["steps"]} == {"none"}


def test_a_part_that_stays_whole_is_untouched_and_on_record(tmp_path: Path) -> None:
    result = prune(tmp_path, "llama-tied", {}, ratio=0.2, recovery="bias", importance="wanda")
    untouched = [s for s in result.record["steps"] if s["part"] == "attention"]
    assert [(s["kept"], s["of"], s["chosen"]) for s in untouched] == [(8, 8, "none")] * 3
    assert all(s["notes"] for s in untouched)
    dense = load_file(tmp_path / "dense" / "model.safetensors")
    pruned = load_file(result.path / "model.safetensors")
    for name, tensor in pruned.items():
        if "mlp." not in name:
            assert torch.equal(tensor, dense[name]), name


def test_the_recorded_perplexity_is_that_of_the_reloaded_model(tmp_path: Path) -> None:
    from toolchain.model.likelihood import Perplexity, document_nlls
    from toolchain.pruning.request import check_request

    result = prune(tmp_path, "qwen3", {})
    chosen = PruneSettings(**result.record["settings"])
    source = open_checkpoint(tmp_path / "dense")
    held_out = check_request(source, chosen, tmp_path / "other").samples.held_out
    for model, key in ((source, "before"), (open_checkpoint(result.path), "after")):
        nlls = document_nlls(model.load(), held_out, context_length=64, bos_token_id=0)
        recorded = result.record["held_out"][f"perplexity_{key}"]
        assert Perplexity.of(nlls).value == pytest.approx(recorded["value"], rel=1e-4)
        assert Perplexity.of(nlls).tokens == recorded["tokens"]


CHILD = """
import sys, time
from pathlib import Path
from contextlib import contextmanager
from toolchain.model.checkpoint import open_checkpoint
from toolchain.pruning.run import prune_checkpoint
from toolchain.recipe import MATCHING_IMPORTANCE, PruneSettings

class Stopping:
    @contextmanager
    def task(self, description, total):
        self.description = description
        yield self
    def note(self, message):
        pass
    def advance(self, steps=1):
        if self.description == "pruning layers":
            print("layer", flush=True)
            time.sleep(120)

settings = PruneSettings.model_validate_json(sys.argv[3])
prune_checkpoint(open_checkpoint(sys.argv[1]), settings, Path(sys.argv[2]), Stopping())
"""


@pytest.mark.parametrize(
    ("stop", "variant", "recovery"),
    [(signal.SIGKILL, "llama-biased", "least_squares"), (signal.SIGINT, "llama-tied", "bias")],
)
def test_resuming_gives_the_same_bytes(
    stop: signal.Signals, variant: str, recovery: str, tmp_path: Path
) -> None:
    source = open_checkpoint(write_checkpoint(tmp_path / "dense", variant))
    chosen = settings(tmp_path, recovery=recovery)
    whole = prune_checkpoint(source, chosen, tmp_path / "whole").path
    out = tmp_path / "out"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(source.path), str(out), chosen.model_dump_json()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": SEARCH_PATH},
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"layer\n"
        child.send_signal(stop)
        assert child.wait() != 0
    assert not out.exists()
    finished = work_directory(out) / "work" / "layers" / "layer-00000.safetensors"
    written = finished.stat().st_mtime_ns
    notes: list[str] = []
    prune_checkpoint(source, chosen, out, Notes(finished, notes))
    assert notes == [f"going on after 1 finished layers at {written}"]
    assert not work_directory(out).exists()
    names = sorted(p.name for p in whole.iterdir())
    assert names == sorted(p.name for p in out.iterdir())
    for name in names:
        if name != "paredown.json":
            assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    records = [json.loads((p / "paredown.json").read_text()) for p in (out, whole)]
    for record in records:
        del record["seconds"], record["peak_rss_bytes"]
    assert records[0] == records[1]


class Notes:
    """Progress that keeps its notes, with the time at which the first layer was written."""

    def __init__(self, layer: Path, notes: list[str]) -> None:
        self._layer = layer
        self._notes = notes

    def task(self, description: str, total: int | None) -> Any:
        from toolchain.progress import SILENT

        return SILENT.task(description, total)

    def note(self, message: str) -> None:
        self._notes.append(f"{message} at {self._layer.stat().st_mtime_ns}")
