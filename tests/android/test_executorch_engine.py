"""The app's ExecuTorch engine on a JVM: its own code and ExecuTorch's Java tensors, with the native
half, which exists for phones only, replaced by ExecuTorch's Python runtime."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runtime_py.bundle import open_bundle

pytest_plugins = ("android_fixtures",)

HERE = Path(__file__).parent / "pte"
SOURCES = Path(__file__).parents[2] / "android_demo" / "engine-executorch" / "src" / "main" / "java"
PIECE = 4
"""Most tokens of one call: golden prompts need several."""


@pytest.fixture(scope="module")
def engine_classes(java_classes: Path, android_tools: Path, tmp_path_factory: Any) -> Path:
    """The engine, compiled against the library itself, and what replaces its native half."""
    folder: Path = tmp_path_factory.mktemp("executorch-engine")
    library = android_tools / "executorch" / "classes.jar"
    compile_(folder / "engine", [java_classes / "core", library], sorted(SOURCES.rglob("*.java")))
    doubles = [HERE / "Module.java", HERE / "ExecuTorchRuntime.java"]
    compile_(folder / "doubles", [library], doubles)
    path = [java_classes / "core", folder / "engine", library]
    compile_(folder / "check", path, [HERE / "PteCheck.java"])
    return folder


def compile_(out: Path, classpath: list[Path], sources: list[Path]) -> None:
    command = ["javac", "--release", "11", "-proc:none", "-Xlint:all,-options", "-Werror"]
    command += ["-cp", ":".join(map(str, classpath)), "-d", str(out), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Any) -> Path:
    """A .pte of a tiny checkpoint whose calls take few tokens."""
    from tiny_models import CONTEXT

    from toolchain.exporting import executorch
    from toolchain.exporting.bundle import export_checkpoint
    from toolchain.model.checkpoint import open_checkpoint
    from toolchain.recipe import ExportSettings

    out = tmp_path_factory.mktemp("bundles") / "pieces"
    settings = ExportSettings(backend="executorch", quant="none", context=CONTEXT, target="android")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executorch, "MAX_PREFILL_TOKENS", PIECE)
        export_checkpoint(open_checkpoint(tiny_checkpoint("llama")), settings, out)
    return out


def check(folders: list[Path], bundle: Path) -> dict[str, Any]:
    command = [
        "java",
        "-Xmx256m",
        f"-Dpython={sys.executable}",
        f"-Dserver={HERE / 'serve_pte.py'}",
    ]
    command += ["-cp", ":".join(map(str, folders)), "PteCheck", str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.slow
def test_it_runs_a_real_pte_to_its_golden_continuation(
    engine_classes: Path, java_classes: Path, android_tools: Path, bundle: Path
) -> None:
    manifest = open_bundle(bundle)
    assert manifest.max_prefill_tokens == PIECE
    prompt = manifest.golden_cases[-1].prompt_ids
    assert len(prompt) > 2 * PIECE
    folders = [engine_classes / name for name in ("doubles", "engine", "check")]
    path = [*folders, java_classes / "core", android_tools / "executorch" / "classes.jar"]
    said = check(path, bundle)
    assert said["report"]["passed"], said
    assert said["report"]["engine"] == "executorch-java"
    assert said["versions"] == {"executorch": "1.2.3"}
    for case, golden in zip(said["report"]["cases"], manifest.golden_cases, strict=True):
        assert case["matching_tokens"] == len(golden.continuation_ids) or case["near_tie"]
    assert said["position"] == len(prompt)
    assert said["prefill_differs_from_steps_by"] <= 1e-4
    assert said["again"]  # nothing of an earlier prompt is left after a reset
    assert said["refused"] == f"token {manifest.vocab_size} is not in the vocabulary of " + str(
        manifest.vocab_size
    )

    # An edited model is refused before ExecuTorch sees it.
    broken = bundle.parent / "broken"
    shutil.copytree(bundle, broken)
    model = broken / manifest.model_file
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    refused = check(path, broken)
    assert manifest.model_file in refused["error"]
    assert refused["exit_code"] == 2


def test_without_its_libraries_it_says_so(
    engine_classes: Path, java_classes: Path, android_tools: Path, tmp_path: Path
) -> None:
    """What the offline build of the app says on a phone."""
    from handmade_bundle import write_bundle

    bundle = tmp_path / "bundle"
    write_bundle(bundle)
    folders = [engine_classes / name for name in ("engine", "check")]
    path = [*folders, java_classes / "core", android_tools / "executorch" / "classes.jar"]
    said = check(path, bundle)
    assert said["exit_code"] == 3
    assert said["error"].startswith("ExecuTorch's libraries are not in this build of the app")
    assert "build the app with Gradle" in said["error"]
