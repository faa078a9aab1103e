"""Profiling a real bundle through real agent processes; their failures are one line."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from handmade_bundle import write_bundle, write_manifest

from runtime_py.bundle import model_bytes, open_bundle
from runtime_py.schema import DeviceReport, LaunchRecord, Protocol, dumps, loads
from toolchain.devices import open_device
from toolchain.devices.local import LocalDevice
from toolchain.errors import (
    BadRequestError,
    BrokenBundleError,
    InvalidMeasurementError,
    MissingError,
)
from toolchain.profiling.run import profile_bundle
from toolchain.store import sha256_file

SMALL = Protocol(prompt_tokens=8, generated_tokens=5, repetitions=2, launches=2, warmup=1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "bundle"
    write_bundle(path)
    return path


class _Recorder:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.steps = 0
        self.totals: list[int | None] = []

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[_Recorder]:
        assert "tiny" in description
        self.totals.append(total)
        yield self

    def advance(self, steps: int = 1) -> None:
        self.steps += steps

    def note(self, message: str) -> None:
        raise AssertionError(message)


def test_a_report(bundle: Path) -> None:
    progress = _Recorder()
    report = profile_bundle(bundle, "local", SMALL, progress)
    assert (progress.totals, progress.steps) == ([2], 2)
    manifest = open_bundle(bundle)
    assert report.bundle_name == "tiny"
    assert report.bundle_sha256 == sha256_file(bundle / "manifest.json")
    assert report.model_file_bytes == model_bytes(manifest)
    assert report.protocol_fingerprint == SMALL.fingerprint
    assert report.predicted_memory == manifest.predicted_memory
    assert [len(launch.samples) for launch in report.launches] == [2, 2]
    assert len(report.summary) == 8
    assert report.summary["decode_tok_s"].launches == 2
    assert report.summary["peak_rss_bytes"].median > 1e7
    assert report.created_at.endswith("+00:00")
    assert not report.emulated
    assert loads(DeviceReport, dumps(report)) == report


def test_every_launch_is_a_process_of_its_own(bundle: Path, tmp_path: Path) -> None:
    log = tmp_path / "processes"
    with _site(tmp_path, f"import os; open({str(log)!r}, 'a').write(f'{{os.getpid()}}\\n')"):
        profile_bundle(bundle, "local", dataclasses.replace(SMALL, launches=3))
    processes = set(log.read_text().split())
    assert len(processes) == 3
    assert str(os.getpid()) not in processes


@contextmanager
def _site(folder: Path, code: str) -> Iterator[None]:
    """Run `code` when an agent starts: a `sitecustomize` on its path."""
    (folder / "sitecustomize.py").write_text(code)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def test_threads_reach_the_process(bundle: Path, tmp_path: Path) -> None:
    log = tmp_path / "threads"
    code = f"import os; open({str(log)!r}, 'w').write(os.environ['OMP_NUM_THREADS'])"
    with _site(tmp_path, code):
        LocalDevice().measure(bundle, dataclasses.replace(SMALL, threads=2))
    assert log.read_text() == "2"


def test_files_of_the_current_folder_do_not_shadow_modules(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "bundle").symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    assert isinstance(LocalDevice().measure(Path("bundle"), SMALL), LaunchRecord)


def test_check_on_a_device(bundle: Path, tmp_path: Path) -> None:
    assert open_device("local").check(bundle).passed
    manifest = write_bundle(tmp_path / "b")
    wrong = dataclasses.replace(manifest.golden_cases[0], continuation_ids=[1])
    write_manifest(tmp_path / "b", golden_cases=[wrong])
    assert not LocalDevice().check(tmp_path / "b").passed


@pytest.mark.parametrize("uri", ["ssh:pi@host", "adb:SERIAL", "", "Local"])
def test_unknown_devices(bundle: Path, uri: str) -> None:
    with pytest.raises(BadRequestError, match=f"unknown device '{uri}'; .*supports: local"):
        profile_bundle(bundle, uri, SMALL)


@contextmanager
def _no_launch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr("subprocess.run", lambda *_, **__: pytest.fail("an agent was started"))
        yield


def test_a_protocol_larger_than_the_context_starts_nothing(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = dataclasses.replace(SMALL, prompt_tokens=44)
    with _no_launch(monkeypatch), pytest.raises(BadRequestError, match="context of 48"):
        profile_bundle(bundle, "local", large)


def test_a_broken_bundle_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path / "b")
    with (tmp_path / "b" / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    with _no_launch(monkeypatch), pytest.raises(BrokenBundleError, match=r"model\.onnx"):
        profile_bundle(tmp_path / "b", "local", SMALL)


def test_the_agents_own_refusal_comes_through(bundle: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['onnxruntime'] = None"
    with _site(tmp_path, code), pytest.raises(MissingError) as caught:
        profile_bundle(bundle, "local", SMALL)
    assert "needs onnxruntime, which is not installed" in str(caught.value)
    assert "pip install 'paredown[pi-onnx]'" in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL"),
        ("import os; os.write(2, b'one\\nout of memory\\n'); os._exit(9)", "9: out of memory"),
        ("import os; os._exit(0)", "is not JSON"),
        ("import os; os._exit(7)", "exit status 7: it said nothing"),
    ],
)
def test_a_crash_is_one_line(bundle: Path, tmp_path: Path, code: str, words: str) -> None:
    with _site(tmp_path, code), pytest.raises(InvalidMeasurementError) as caught:
        profile_bundle(bundle, "local", SMALL)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 5


def test_a_crash_inside_of_the_engine_is_one_line(bundle: Path, tmp_path: Path) -> None:
    code = """
import atexit, os, sys
sys.setswitchinterval(0.001)
import threading, time
def kill():
    while "onnxruntime" not in sys.modules:
        time.sleep(0.001)
    os.abort()
threading.Thread(target=kill, daemon=True).start()
"""
    with _site(tmp_path, code), pytest.raises(InvalidMeasurementError, match="SIGABRT"):
        profile_bundle(bundle, "local", SMALL)


def test_an_agent_that_hangs_is_stopped(bundle: Path, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with (
        _site(tmp_path, code),
        pytest.raises(InvalidMeasurementError, match=r"did not answer within 1\.5 s"),
    ):
        LocalDevice(timeout_s=1.5).measure(bundle, SMALL)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), signal.SIGCONT)


def test_intervals_need_scipy_and_say_so(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with _no_launch(monkeypatch), pytest.raises(MissingError, match="scipy"):
        profile_bundle(bundle, "local", SMALL)
