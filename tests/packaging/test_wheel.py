"""The wheel: what is in it, how large it is, and that its base install works alone."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ExportEmbedded
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
BASE = ("typer", "rich", "pydantic", "pyyaml")
PI = ("numpy", "onnxruntime", "tokenizers", "jinja2")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(out),
        ".",
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    (built,) = out.glob("paredown-*.whl")
    return built


def test_the_wheel_carries_the_embedded_model_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "toolchain/embedded/model/model.safetensors" in names
    assert "toolchain/embedded/demo.yaml" in names
    assert "toolchain/model/remote/modeling_paredown.py" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
    assert wheel.stat().st_size < 5_000_000


def test_the_wheel_carries_every_file_of_its_packages(wheel: Path) -> None:
    """Device scripts, the runner's sources, templates: what is no module is easily left out."""
    listed = subprocess.run(
        ["git", "ls-files", "toolchain", "runtime_py"],
        check=True, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    with zipfile.ZipFile(wheel) as archive:
        assert set(listed.stdout.split()) <= set(archive.namelist())


def _closure(names: tuple[str, ...]) -> set[str]:
    """Distributions that `names` need, themselves included, without extras."""
    todo = list(names)
    seen: set[str] = set()
    while todo:
        name = todo.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        requirements = map(Requirement, importlib.metadata.requires(name) or [])
        todo += [r.name for r in requirements if not r.marker or r.marker.evaluate({"extra": ""})]
    return seen


def _site(wheel: Path, site: Path, names: tuple[str, ...]) -> Path:
    """A site directory with the wheel and what `names` need alone: links, not copies."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for name in _closure(names):
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or []:
            top = file.parts[0]
            link = site / top
            if top not in ("..", "__pycache__") and not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))).resolve())
    return site


@pytest.fixture(scope="session")
def base_site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install paredown` gives."""
    return _site(wheel, tmp_path_factory.mktemp("base"), BASE)


@pytest.fixture(scope="session")
def pi_site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install 'paredown[pi-onnx]'` gives: no torch, no transformers."""
    return _site(wheel, tmp_path_factory.mktemp("pi"), (*BASE, *PI))


def _paredown(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _run(site, "toolchain.cli", arguments)


def _run(site: Path, module: str, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    code = f"from {module} import main; raise SystemExit(main({list(arguments)!r}))"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=site,
    )


def test_the_base_install_is_light_and_plans(base_site: Path) -> None:
    done = _paredown(base_site, "plan", "embedded", "--ratio", "0.2")
    assert done.returncode == 0, done.stderr
    assert "pip install 'paredown[prune]'" in done.stdout
    assert _paredown(base_site, "doctor").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("prune", "embedded", "--out", "pruned"),
        ("export", "embedded", "--out", "bundle"),
        ("validate", "bundle", "--reference", "embedded"),
        ("run", "demo", "--out", "run"),
    ],
)
def test_a_missing_extra_is_one_line_with_its_install_command(
    base_site: Path, arguments: tuple[str, ...]
) -> None:
    before = sorted(base_site.iterdir())
    done = _paredown(base_site, *arguments)
    assert done.returncode == 3, done.stderr
    assert re.fullmatch(r"paredown: .* pip install 'paredown\[[a-z-]+\]'\n", done.stderr)
    assert sorted(base_site.iterdir()) == before


def test_the_agent_runs_on_a_pi_install(pi_site: Path, embedded_bundle: ExportEmbedded) -> None:
    assert not (pi_site / "torch").exists()
    bundle = str(embedded_bundle("onnx"))
    checked = _run(pi_site, "runtime_py.__main__", ("check", bundle))
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["passed"]
    protocol = '{"schema": "paredown.protocol/2", "prompt_tokens": 8, "generated_tokens": 4}'
    measured = _run(pi_site, "runtime_py.__main__", ("measure", bundle, "--protocol", protocol))
    assert measured.returncode == 0, measured.stderr
    record = json.loads(measured.stdout)
    assert set(record["engine_versions"]) == {"onnxruntime", "numpy"}
    assert record["peak_rss_bytes"] < 200e6
    said = _run(
        pi_site, "runtime_py.__main__", ("chat", bundle, "--prompt", "Once there was", "-n", "12")
    )
    assert said.returncode == 0, said.stderr
    assert len(said.stdout.split()) > 3
