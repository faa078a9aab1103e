"""The whole line from a recipe to a verdict, on a real model, and that it resumes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolchain import run
from toolchain.cli import main

RECIPE = """\
schema: paredown.recipe/1
model: embedded
prune: {{ratio: {ratio}, samples: 32, seq_len: 128}}
export: [{{backend: onnx, context: 128}}]
profile: {{prompt_tokens: 16, generated_tokens: 8, repetitions: 2, launches: 2}}
validate:
  {{margins: {{ppl: {margin}, tasks: 0.5, generation: 0.5}}, documents: 64, limit: 20, prompts: 8}}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the recipe."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "recipe.yaml").write_text(RECIPE.format(ratio=0.2, margin=0.5))
    assert main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "out")]) == 0
    return folder


def test_a_run_leaves_every_artifact(finished: Path) -> None:
    out = finished / "out"
    name = "onnx-none-128"
    for artifact in (
        "pruned/model.safetensors",
        f"bundles/{name}/manifest.json",
        f"reports/{name}.json",
        f"verdicts/{name}.json",
        f"verdicts/{name}.md",
        "report.md",
        "run.json",
    ):
        assert (out / artifact).is_file(), artifact
    assert "SHIP" in (out / "report.md").read_text()
    assert not list(out.rglob("*.partial"))


def test_a_second_run_repeats_nothing(finished: Path) -> None:
    out = finished / "out"
    summaries = ("run.json", "report.json")  # written by every run
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.json") if p.name not in summaries}
    result = run(finished / "recipe.yaml", out=out)
    assert result.exit_code == 0
    after = {p: p.stat().st_mtime_ns for p in out.rglob("*.json") if p.name not in summaries}
    assert after == before


def test_another_margin_judges_again_and_holds(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished / "out"
    weights = (out / "pruned/model.safetensors").stat().st_mtime_ns
    recipe = finished / "strict.yaml"
    recipe.write_text(RECIPE.format(ratio=0.2, margin=0.00001))
    assert main(["run", str(recipe), "--out", str(out), "--json"]) in (1, 4)
    result = json.loads(capsys.readouterr().out)
    assert result["bundles"]["onnx-none-128"]["verdict"] in ("FAIL", "INCONCLUSIVE")
    assert (out / "pruned/model.safetensors").stat().st_mtime_ns == weights


def test_a_deleted_artifact_is_made_again(finished: Path) -> None:
    out = finished / "out"
    report = out / "reports" / "onnx-none-128.json"
    report.unlink()
    assert run(finished / "recipe.yaml", out=out).exit_code == 0
    assert report.is_file()


def test_every_verb_prints_one_json_document(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished / "out"
    bundle = str(out / "bundles" / "onnx-none-128")
    short = ["--samples", "8", "--seq-len", "32", "--recovery", "none"]
    protocol = ["-p", "4", "-n", "4", "-r", "1", "--launches", "2"]
    few = ["--margin", "tasks=50%", "--documents", "32", "--limit", "20", "--prompts", "0"]
    commands = [
        ["plan", "embedded"],
        ["doctor"],
        ["info", bundle],
        ["info", str(out / "pruned")],
        ["prune", "embedded", *short, "--out", str(tmp_path / "pruned")],
        ["export", "embedded", "--context", "16", "--out", str(tmp_path / "bundle")],
        ["profile", bundle, *protocol, "--out", str(tmp_path / "report.json")],
        ["validate", bundle, "--reference", "embedded", "--margin", "ppl=50%", *few],
    ]
    for command in commands:
        assert main([*command, "--json"]) == 0, command
        printed = json.loads(capsys.readouterr().out)
        assert isinstance(printed, dict), command
        if command[0] == "profile":
            assert printed == json.loads((tmp_path / "report.json").read_text())


def test_ctrl_c_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    arguments = ["export", "embedded", "--context", "64", "--out", str(tmp_path / "bundle")]
    code = f"from toolchain.cli import main; raise SystemExit(main({arguments!r}))"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1].startswith("paredown: interrupted")
    assert "Traceback" not in stderr
    assert not list(tmp_path.iterdir())
