"""Bad input at the command line: one line, the right exit code, nothing left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from toolchain.cli import main
from toolchain.embedded import MODEL_DIR

Refused = Callable[..., str]


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """Run the command in an empty folder; check the form of its refusal and return the line."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def run(*arguments: str, exit_code: int = 2) -> str:
        before = sorted(work.rglob("*"))
        assert main(list(arguments)) == exit_code
        captured = capsys.readouterr()
        assert captured.out == ""
        lines = [line for line in captured.err.splitlines() if line.startswith("paredown: ")]
        assert len(lines) == 1, captured.err
        assert "Traceback" not in captured.err
        assert sorted(work.rglob("*")) == before
        return lines[0]

    return run


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A copy of the embedded model to damage."""
    return Path(shutil.copytree(MODEL_DIR, tmp_path / "damaged"))


def _edit_config(model: Path, **values: object) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, **values}))


@pytest.mark.parametrize("verb", ["prune", "export"])
def test_no_such_model(refused: Refused, verb: str) -> None:
    line = refused(verb, "/no/such/model", "--out", "out")
    assert "no such model: /no/such/model" in line
    assert "give a local folder" in line


def test_a_hub_id_that_cannot_be_reached(refused: Refused) -> None:
    assert "the Hub cannot be reached" in refused(
        "prune", "org/some-model", "--out", "out", exit_code=3
    )


def test_not_a_causal_language_model(refused: Refused, damaged: Path) -> None:
    _edit_config(damaged, model_type="roberta", architectures=["RobertaForMaskedLM"])
    line = refused("prune", str(damaged), "--out", "out")
    assert "RobertaForMaskedLM, not a causal language model" in line
    assert "llama, mistral, olmo2, opt" in line


def test_an_unsupported_family_suggests_the_nearest(refused: Refused, damaged: Path) -> None:
    _edit_config(damaged, model_type="qwen22", architectures=["Qwen22ForCausalLM"])
    assert "did you mean 'qwen2'?" in refused("prune", str(damaged), "--out", "out")


def test_pickle_only_weights(refused: Refused, damaged: Path) -> None:
    (damaged / "model.safetensors").rename(damaged / "pytorch_model.bin")
    line = refused("prune", str(damaged), "--out", "out")
    assert "only pickle weights" in line
    assert "save_pretrained" in line


@pytest.mark.parametrize("ratio", ["0", "1", "-0.5", "1.5", "nan"])
def test_ratio_outside_zero_and_one(refused: Refused, ratio: str) -> None:
    assert "ratio is" in refused("prune", "embedded", "--ratio", ratio, "--out", "out")


def test_ratio_that_empties_a_layer(refused: Refused) -> None:
    assert "0.999" in refused("prune", "embedded", "--ratio", "0.999", "--out", "out")


def test_calibration_text_too_short(refused: Refused, tmp_path: Path) -> None:
    text = tmp_path / "short.txt"
    text.write_text("Only one short line.")
    line = refused("prune", "embedded", "--calibration", str(text), "--out", "out")
    assert "128 + 16 held-out ones are needed" in line


def test_calibration_text_not_there(refused: Refused) -> None:
    assert "absent.txt" in refused(
        "prune", "embedded", "--calibration", "absent.txt", "--out", "out"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite_weights_are_named(refused: Refused, damaged: Path, value: float) -> None:
    tensors = load_file(damaged / "model.safetensors")
    name = next(n for n in sorted(tensors) if "layers.2" in n and tensors[n].dim() == 2)
    tensors[name][1, 1] = torch.tensor(value)
    save_file(tensors, damaged / "model.safetensors", metadata={"format": "pt"})
    line = refused("prune", str(damaged), "--samples", "8", "--seq-len", "32", "--out", "out")
    assert name in line
    assert "NaN or Inf" in line


def test_truncated_weights(refused: Refused, damaged: Path) -> None:
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    assert "not a readable safetensors file" in refused("prune", str(damaged), "--out", "out")


@pytest.mark.parametrize("verb", ["prune", "export"])
def test_an_output_directory_that_is_not_ours(refused: Refused, verb: str) -> None:
    Path("thesis").mkdir()
    Path("thesis/chapter1.tex").write_text("precious")
    line = refused(verb, "embedded", "--out", "thesis")
    assert "was not written by paredown" in line
    assert Path("thesis/chapter1.tex").read_text() == "precious"


def test_an_output_that_is_a_file(refused: Refused) -> None:
    Path("note.txt").write_text("precious")
    assert "is a file" in refused("prune", "embedded", "--out", "note.txt")


@pytest.mark.parametrize("backend", ["onnx", "executorch"])
def test_context_longer_than_the_model(refused: Refused, backend: str) -> None:
    line = refused("export", "embedded", "--backend", backend, "--context", "4096", "--out", "out")
    assert "context 4096" in line
    assert "512" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prune", "embedded", "--recovery", "mask_tunning"), "did you mean 'mask_tuning'?"),
        (("prune", "embedded", "--importance", "wand"), "did you mean 'wanda'?"),
        (("prune", "embedded", "--device", "gpu"), "unknown device 'gpu'"),
        (("export", "embedded", "--backend", "onxx"), "did you mean 'onnx'?"),
        (("export", "embedded", "--quant", "int3"), "onnx has no quantisation 'int3'"),
        (("prune", "embedded", "--importance", "no.module:f"), "cannot import importance"),
        (("prune", "embedded", "--samples", "1"), "samples is 1"),
        (("prunee", "embedded"), "did you mean 'prune'?"),
        (("prune", "embedded", "--rati", "0.2"), "--rati"),
        (("prune", "embedded", "--ratio", "lots"), "--ratio"),
    ],
)
def test_wrong_names_and_values(refused: Refused, arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(*arguments, "--out", "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema: paredown.recipe/1\nmodel: embedded\nprun: {}\n", "did you mean 'prune'?"),
        ("schema: paredown.recipe/1\n", "model"),
        ("schema: paredown.recipe/9\nmodel: embedded\n", "schema"),
        ("schema: paredown.recipe/1\nmodel: embedded\nprune: {ratio: 2}\n", "prune.ratio is 2"),
        ("- just\n- a list\n", "not a mapping"),
        ("a: [unclosed\n", "not YAML"),
        (
            "schema: paredown.recipe/1\nmodel: embedded\nexport: [{}, {}]\n",
            "twice",
        ),
    ],
)
def test_wrong_recipes(refused: Refused, text: str, message: str) -> None:
    Path("recipe.yaml").write_text(text)
    assert message in refused("run", "recipe.yaml", "--out", "out")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("tasks: [wrong_count.jsonl]", "wrong_count.jsonl"),
        ("tasks: [no_such_task_of_any_kind]", "no_such_task_of_any_kind"),
        ("text: absent.txt", "absent.txt"),
        ("margins: {cooking: 0.1}", "cooking"),
    ],
)
def test_what_only_the_last_step_needs_is_refused_before_the_first(
    refused: Refused, settings: str, message: str
) -> None:
    Path("recipe.yaml").write_text(
        f"schema: paredown.recipe/1\nmodel: embedded\nvalidate: {{{settings}}}\n"
    )
    assert message in refused("run", "recipe.yaml", "--out", "out")


def test_no_such_recipe(refused: Refused) -> None:
    assert "no such recipe" in refused("run", "absent.yaml", "--out", "out")


def test_info_of_something_else(refused: Refused) -> None:
    Path("empty").mkdir()
    assert "neither a bundle" in refused("info", "empty")


@pytest.mark.parametrize("verb", ["profile", "info"])
def test_a_directory_that_is_no_bundle(refused: Refused, verb: str) -> None:
    assert "nothing" in refused(verb, "nothing")


def test_validate_wants_a_margin_it_knows(refused: Refused) -> None:
    assert "did you mean 'ppl'?" in refused(
        "validate", "bundle", "--reference", "embedded", "--margin", "pl=10%"
    )
