"""The native runner as a build: its command, its memory, and aarch64 under emulation."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ExportEmbedded
from tiny_models import CONTEXT, save_tiny_checkpoint

from runtime_py import native
from runtime_py.bundle import open_bundle
from runtime_py.schema import Protocol
from toolchain.cli import main
from toolchain.errors import MissingError
from toolchain.exporting import executorch
from toolchain.exporting.wrapper import Decoder
from toolchain.model.checkpoint import open_checkpoint
from toolchain.native import build
from toolchain.recipe import ExportSettings

pytestmark = pytest.mark.slow

LEAST_CPU = "cortex-a72"
"""Of a Raspberry Pi 4; a newer one must not be needed."""


def test_a_build_is_made_once(
    native_runner: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = (native_runner / "runner.json").stat().st_mtime_ns
    assert main(["runner", "build", "--json", "--out", str(tmp_path / "runner")]) == 0
    built = json.loads(capsys.readouterr().out)
    assert (native_runner / "runner.json").stat().st_mtime_ns == before
    folder = Path(built["folder"])
    assert folder == tmp_path / "runner"
    assert built["program_bytes"] == (folder / "paredown-runner").stat().st_size < 1e6
    assert built["folder_bytes"] < 25e6
    # The copy stands on its own: its libraries are found beside it, wherever it is.
    moved = folder.rename(tmp_path / "elsewhere")
    done = subprocess.run([moved / "paredown-runner", "info"], capture_output=True, check=True)
    assert json.loads(done.stdout)["executorch"] == "1.5.1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bake"], "unknown action 'bake'"),
        (["build", "--arch", "sparc"], "unknown architecture 'sparc'"),
        (["build", "--out", "FOREIGN"], "was not written by paredown"),
    ],
)
def test_bad_requests(
    native_runner: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    words: str,
) -> None:
    assert native_runner.is_dir()
    (tmp_path / "theirs").touch()
    given = [str(tmp_path) if word == "FOREIGN" else word for word in arguments]
    assert main(["runner", *given]) == 2
    said = capsys.readouterr().err
    assert words in said.replace("\n", " ")


def test_peak_memory_is_weights_cache_and_arena(native_runner: Path, tmp_path: Path) -> None:
    """9M parameters: large beside what the process itself needs."""
    path = save_tiny_checkpoint(
        tmp_path / "wide",
        "llama",
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=1,
        num_attention_heads=16,
        num_key_value_heads=16,
    )
    source = open_checkpoint(path)
    out = tmp_path / "out"
    out.mkdir()
    settings = ExportSettings(backend="executorch", context=CONTEXT)
    decoder = Decoder(source.load(), source.spec, CONTEXT)
    model = out / executorch.write(decoder, out, settings, 0, [1]).model_file
    prompt = tmp_path / "prompt"
    prompt.write_text(" ".join(str(3 + i) for i in range(30)))
    program = str(native_runner / "paredown-runner")
    protocol = Protocol(prompt_tokens=30, generated_tokens=8, phase="memory")
    command = native.measure_command(program, str(model), protocol, str(prompt))
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    record = native.launch_record(output, {}, "memory")
    info = subprocess.run([program, "info", "--model", model], capture_output=True, check=True)
    arena = json.loads(info.stdout)["model"]["arena_bytes"]
    mapped = model.stat().st_size
    assert mapped > 30e6
    assert record.peak_rss_bytes is not None
    assert record.peak_rss_bytes <= 1.3 * (mapped + arena) + 20e6


def test_aarch64_runs_the_golden_cases_under_emulation(embedded_bundle: ExportEmbedded) -> None:
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if emulator is None:
        pytest.skip("no qemu-aarch64-static; apt-get install qemu-user-static")
    try:
        folder = build("aarch64")
    except MissingError as error:
        pytest.skip(str(error))
    bundle = embedded_bundle("executorch")
    loader = [folder / "lib/ld-linux-aarch64.so.1", "--library-path", folder / "lib"]
    command = native.check_command(str(folder / "paredown-runner.elf"), str(bundle))
    done = subprocess.run(
        [emulator, *loader, *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "QEMU_CPU": LEAST_CPU},
    )
    assert done.returncode == 0, done.stderr
    report = native.check_report(done.stdout)
    assert report.passed
    assert len(report.cases) == len(open_bundle(bundle).golden_cases)
    # Float32 sums in another order; the tolerance of the cases themselves is 1e-3.
    assert max(case.max_abs_logit_difference for case in report.cases) < 1e-4
    assert all(case.matching_tokens == case.expected_tokens for case in report.cases)


def test_the_launcher_of_a_cross_build_brings_its_own_c_library() -> None:
    try:
        folder = build("aarch64")
    except MissingError as error:
        pytest.skip(str(error))
    if not (folder / "paredown-runner.elf").is_file():
        pytest.skip("this is an aarch64 machine: nothing is cross-built")
    launcher = folder / "paredown-runner"
    assert os.access(launcher, os.X_OK)
    subprocess.run(["sh", "-n", launcher], check=True)
    named = [word for word in launcher.read_text().split('"') if word.startswith("$here/")]
    missing = [w for w in named if not (folder / w.removeprefix("$here/")).exists()]
    assert named
    assert not missing
