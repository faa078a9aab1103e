"""The report of finished runs, as a reader's browser sees it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolchain.api import report
from toolchain.cli import main
from toolchain.errors import BadRequestError
from toolchain.report.numbers import FORMATS, at, shown
from toolchain.report.summary import COMPARED

RECIPE = """\
schema: paredown.recipe/1
baseline: {baseline}
model: embedded
prune: {prune}
export: [{{backend: onnx, context: 128}}]
profile: {{prompt_tokens: 16, generated_tokens: 8, repetitions: 2, launches: 2}}
validate: {{margins: {{ppl: 0.5, tasks: 0.5}}, documents: 24, limit: 20, prompts: 2}}
"""
PRUNE = "{ratio: 0.2, layers: 1, samples: 16, seq_len: 64, drafts: 0, joint_masks: false}"
CHROMIUM = shutil.which("chromium")
MOST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dense run and a pruned one."""
    folder = tmp_path_factory.mktemp("report")
    for name, prune, baseline in (("dense", "null", "false"), ("pruned", PRUNE, "true")):
        recipe = folder / f"{name}.yaml"
        recipe.write_text(RECIPE.format(prune=prune, baseline=baseline))
        assert main(["run", str(recipe), "--out", str(folder / name)]) in {0, 1, 4}
    return folder / "dense", folder / "pruned"


@pytest.fixture(scope="module")
def comparison(runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report over both."""
    out = tmp_path_factory.mktemp("comparison")
    assert main(["report", *map(str, runs), "--out", str(out)]) == 0
    return out


class _Data(HTMLParser):
    """Every `data` element: (key, style, value, text)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str, str]] = []
        self.outside: list[str] = []
        self._open: dict[str, str | None] | None = None
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "data":
            self._open = dict(attrs)
        self._silent += tag in {"style", "svg", "code", "pre"}

    def handle_endtag(self, tag: str) -> None:
        if tag == "data":
            self._open = None
        self._silent -= tag in {"style", "svg", "code", "pre"}

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            o = self._open
            keys = ("data-key", "data-style", "value")
            key, style, value = (o[name] or "" for name in keys)
            self.found.append((key, style, value, data))
        elif not self._silent and data.strip():
            self.outside.append(data.strip())


def _parsed(html: str) -> _Data:
    parser = _Data()
    parser.feed(html)
    return parser


def _strings(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*map(_strings, value.values()), set(value))
    if isinstance(value, list):
        return set().union(*map(_strings, value), set())
    return {value} if isinstance(value, str) else set()


def test_every_number_of_the_page_is_the_jsons(comparison: Path) -> None:
    summary = json.loads((comparison / "report.json").read_text())
    page = _parsed((comparison / "report.html").read_text())
    assert len(page.found) > 80
    for key, style, value, text in page.found:
        expected = at(summary, key)
        assert text == shown(expected, style), key
        assert value == ("" if expected is None else str(expected)), key


def test_no_number_stands_outside_of_its_element(comparison: Path) -> None:
    """Digits elsewhere are words of the JSON (sentences, names) or levels in a caption."""
    summary = json.loads((comparison / "report.json").read_text())
    known = " ".join(sorted(_strings(summary), key=len, reverse=True))
    fixed = {"95%", "1%", "90%", "99%", "G0", "G1", "G2", "G3", "kv", "top1"}
    for text in _parsed((comparison / "report.html").read_text()).outside:
        if text in known:
            continue
        for found in re.findall(r"[^\s,;:()]*\d[^\s,;:()]*", text):
            word = found.rstrip(".")
            in_json = word in known or word.replace(" ", "_") in known
            assert in_json or word in fixed or word == "2", text


def test_a_run_brings_its_own_baseline(runs: tuple[Path, Path]) -> None:
    (pruned,) = json.loads((runs[1] / "report.json").read_text())["runs"]
    baseline = pruned["bundles"][0]["baseline"]
    assert (baseline["run"], baseline["bytes_ratio"] < 1) == ("dense", True)
    assert set(baseline["rows"]) == set(COMPARED)
    assert "not measured" not in (runs[1] / "report.html").read_text()


def test_the_dense_run_is_the_baseline(comparison: Path) -> None:
    dense, pruned = json.loads((comparison / "report.json").read_text())["runs"]
    assert dense["pruning"] is None
    assert dense["bundles"][0]["baseline"] is None
    baseline = pruned["bundles"][0]["baseline"]
    assert baseline["run"] == "dense"
    ours, theirs = (b["bundles"][0] for b in (pruned, dense))
    assert baseline["bytes_ratio"] == ours["bytes"] / theirs["bytes"] < 1
    row = baseline["rows"]["decode_tok_s"]
    medians = [b["measured"]["summary"]["decode_tok_s"]["median"] for b in (ours, theirs)]
    assert row["ratio"] == pytest.approx(medians[0] / medians[1])
    assert row["low"] < row["ratio"] < row["high"]
    assert [layer["after"] is None for layer in pruned["layers"]].count(True) == 1


def test_a_run_writes_its_own_report_and_a_recipe_that_repeats_it(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    _, pruned = runs
    for name in ("report.html", "report.json", "report.md", "recipe.yaml", "model_card.md"):
        assert (pruned / name).is_file(), name
    assert (pruned / "report.html").stat().st_size < MOST_BYTES
    assert main(["plan", str(pruned / "recipe.yaml")]) == 0
    again = yaml.safe_load((pruned / "recipe.yaml").read_text())
    assert again["prune"]["ratio"] == 0.2
    assert "paredown run" in (pruned / "report.html").read_text()
    del tmp_path


def test_the_hub_reads_the_evaluation_of_the_card(runs: tuple[Path, Path]) -> None:
    from huggingface_hub import ModelCard

    _, pruned = runs
    card = ModelCard.load(pruned / "model_card.md")
    verdict = json.loads((pruned / "verdicts" / "onnx-none-128.json").read_text())
    quality = next(gate for gate in verdict["gates"] if gate["gate"] == "G2")
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert values["perplexity_ratio"] == quality["measures"]["perplexity_ratio"]["value"]
    assert values["kl_divergence"] == quality["measures"]["kl_nats"]["value"]
    assert verdict["sentence"] in card.text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_a_browser_finds_no_error_and_asks_for_nothing(comparison: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    log = tmp_path / "net.json"
    page = (comparison / "report.html").as_uri()
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr",
        f"--log-net-log={log}", "--dump-dom", page,
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True, env={**os.environ}
    )
    assert "CONSOLE" not in done.stderr
    asked = set(re.findall(r'"url":"([^"]+)"', log.read_text()))
    strangers = {url for url in asked if url.startswith(("http:", "https:", "ws:"))}
    assert not {url for url in strangers if "google" not in url}, "only the browser's own look-ups"
    seen, written = (_parsed(html).found for html in (done.stdout, Path(page[7:]).read_text()))
    assert seen == written


@pytest.mark.parametrize("style", sorted(FORMATS))
def test_what_is_absent_is_said(style: str) -> None:
    assert shown(None, style) == "not available"


def test_a_folder_without_a_run(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    with pytest.raises(BadRequestError, match="holds no run"):
        report([tmp_path])
    with pytest.raises(BadRequestError, match="no folder in common"):
        report(list(runs))
    with pytest.raises(BadRequestError, match="given twice"):
        report([runs[0], runs[0]], out=tmp_path)
