"""`paredown-agent` as a user starts it: streams, exit codes, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from handmade_bundle import write_bundle

from runtime_py.schema import CheckReport, LaunchRecord, Protocol, dumps, loads

ROOT = Path(__file__).parents[2]
AGENT = [sys.executable, "-m", "runtime_py"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "bundle"
    write_bundle(path)
    return path


def _run(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AGENT, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        cwd=ROOT,
        timeout=120,
    )


def test_the_console_script_is_the_same_program() -> None:
    script = Path(sys.executable).with_name("paredown-agent")
    if not script.exists():
        pytest.skip("the package is not installed beside this interpreter")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert all(verb in done.stdout for verb in ("measure", "check", "chat", "info"))


def test_measure_check_and_info_print_one_json_object(bundle: Path) -> None:
    protocol = dumps(Protocol(prompt_tokens=4, generated_tokens=2, repetitions=1, warmup=0))
    done = _run("measure", bundle, "--protocol", protocol)
    assert (done.returncode, done.stderr) == (0, "")
    assert loads(LaunchRecord, done.stdout).engine == "onnxruntime"
    done = _run("check", bundle)
    assert (done.returncode, done.stderr) == (0, "")
    assert loads(CheckReport, done.stdout).passed


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b")
    data = bytearray((tmp_path / "b" / "model.onnx").read_bytes())
    data[100] ^= 0xFF
    (tmp_path / "b" / "model.onnx").write_bytes(data)
    for verb in ("measure", "check", "chat", "info"):
        done = _run(verb, tmp_path / "b")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert "model.onnx" in done.stderr
        assert "Traceback" not in done.stderr


def _chat(bundle: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*AGENT, "chat", str(bundle), "-n", "30"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=ROOT,
    )


def _ask(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{text}\n")
    process.stdin.flush()
    return process.stdout.readline()


def test_chat_answers_line_by_line(bundle: Path) -> None:
    with _chat(bundle) as process:
        first = _ask(process, "Hello")
        assert first.endswith("\n")
        assert process.poll() is None, "it waits for the next line"
        assert _ask(process, "Hello") == first
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_an_interrupt_is_130_and_one_line(bundle: Path) -> None:
    with _chat(bundle) as process:
        _ask(process, "Hello")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "paredown-agent: interrupted\n"


def test_a_reader_that_leaves_is_no_error(bundle: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*AGENT, "info", str(bundle)],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=ROOT,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_text_survives_a_narrow_locale(bundle: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [*AGENT, "chat", str(bundle), "--prompt", "Hello", "-n", "40"],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
