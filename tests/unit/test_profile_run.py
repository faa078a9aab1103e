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
from runtime_py.schema import DeviceReport, LaunchRecord, Protocol, Reading, dumps, loads
from toolchain.devices import open_device
from toolchain.devices.local import LocalDevice
from toolchain.errors import (
    BadRequestError,
    BrokenBundleError,
    InvalidMeasurementError,
    MissingError,
)
from toolchain.profiling.output import SUMMARY_KEYS
from toolchain.profiling.run import cool_down, phases, profile_bundle, profile_rows, run_launches
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
    # A cold and a timed process per launch, then one for memory.
    assert (progress.totals, progress.steps) == ([5], 5)
    manifest = open_bundle(bundle)
    assert report.bundle_name == "tiny"
    assert report.bundle_sha256 == sha256_file(bundle / "manifest.json")
    assert report.model_file_bytes == model_bytes(manifest)
    assert report.protocol_fingerprint == SMALL.fingerprint
    assert report.predicted_memory.runtime_bytes > 1e7
    assert report.memory_error is not None
    assert abs(report.memory_error) < 0.1, "predicted within a tenth"
    assert [len(launch.samples) for launch in report.launches] == [2, 2]
    assert [launch.phase for launch in report.extra_launches] == ["cold", "cold", "memory"]
    assert not set(report.summary) & set(report.absent)
    assert set(report.summary) | set(report.absent) == set(SUMMARY_KEYS)
    assert report.summary["decode_tok_s"].launches == 2
    assert report.summary["peak_rss_bytes"].median > 1e7
    assert report.created_at.endswith("+00:00")
    assert not report.emulated
    assert loads(DeviceReport, dumps(report)) == report


def test_every_launch_is_a_process_of_its_own(bundle: Path, tmp_path: Path) -> None:
    log = tmp_path / "processes"
    with _site(tmp_path, f"import os; open({str(log)!r}, 'a').write(f'{{os.getpid()}}\\n')"):
        plain = dataclasses.replace(SMALL, launches=3, cold=False, memory=False)
        profile_bundle(bundle, "local", plain)
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


@pytest.mark.parametrize("uri", ["", "Local", "pi@host"])
def test_unknown_devices(bundle: Path, uri: str) -> None:
    with pytest.raises(BadRequestError, match=f"unknown device '{uri}'; known: local"):
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
        pytest.raises(InvalidMeasurementError, match=r"did not answer within 4 s"),
    ):
        LocalDevice(timeout_s=4).measure(bundle, SMALL)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), signal.SIGCONT)


def test_intervals_need_scipy_and_say_so(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with _no_launch(monkeypatch), pytest.raises(MissingError, match="scipy"):
        profile_bundle(bundle, "local", SMALL)


def test_rows_and_devices(bundle: Path) -> None:
    small = dataclasses.replace(SMALL, cold=False, memory=False)
    rows = profile_rows(
        bundle, ["local"], [small, dataclasses.replace(small, depth=20)], progress=_Recorder()
    )
    assert [report.protocol.depth for report in rows.reports] == [0, 20]
    assert rows.failures == []


def test_a_device_that_fails_does_not_take_the_others_along(bundle: Path) -> None:
    small = dataclasses.replace(SMALL, cold=False, memory=False)
    rows = profile_rows(bundle, ["carrier-pigeon:7", "local"], [small])
    assert [report.device_uri for report in rows.reports] == ["local"]
    assert [failure.device_uri for failure in rows.failures] == ["carrier-pigeon:7"]
    assert "unknown device" in str(rows.failures[0].error)


class _Machine(LocalDevice):
    """This machine with a thermometer and a memory of its own, and no agent."""

    def __init__(self, *celsius: float | None) -> None:
        super().__init__()
        self._celsius = list(celsius)
        self.phases: list[str] = []

    def facts(self) -> dict[str, Reading]:
        value = self._celsius.pop(0) if len(self._celsius) > 1 else self._celsius[0]
        throttled = {"throttled_since_boot": Reading("nothing")}
        return {"temperature_celsius": Reading(value, "" if value else "none"), **throttled}

    def measure(self, bundle: Path, protocol: Protocol) -> LaunchRecord:
        del bundle
        self.phases.append(protocol.phase)
        return LaunchRecord(1, [], None, "fake", {}, {}, protocol.phase)


def test_phases_and_what_a_launch_without_sensors_gets() -> None:
    protocol = dataclasses.replace(SMALL, sustained_s=5.0)
    order = ["cold", "time", "cold", "time", "memory", "sustained"]
    assert phases(protocol) == order
    assert phases(dataclasses.replace(protocol, cold=False, memory=False)) == [
        "time",
        "time",
        "sustained",
    ]
    machine = _Machine(50.0)
    records = run_launches(machine, Path(), protocol, order, lambda: None)
    assert machine.phases == order
    assert all(
        record.trace[0].readings["throttled_since_boot"] == "nothing" for record in records
    ), "what the host saw before the launch, to hold what it saw after it against"


def test_cooling_down() -> None:
    waits: list[float] = []
    protocol = dataclasses.replace(SMALL, cooldown_celsius=55.0, cooldown_limit_s=20.0)
    assert cool_down(_Machine(50.0), SMALL) is None
    assert cool_down(_Machine(60.0, 58.0, 54.0), protocol, waits.append) == Reading(10.0)
    assert waits == [5.0, 5.0]
    assert cool_down(_Machine(60.0), protocol, waits.append) == Reading(20.0, "still at 60 °C")
    absent = cool_down(_Machine(None), protocol, waits.append)
    assert absent == Reading(None, "no temperature sensor to cool down by")
    record = run_launches(_Machine(60.0), Path(), protocol, ["time"], lambda: None, waits.append)[0]
    assert record.device["cooldown_s"].reason == "still at 60 °C"


def test_a_native_runner_for_another_backend_is_refused(bundle: Path) -> None:
    with pytest.raises(BadRequestError, match="the native runner runs no onnx bundles"):
        profile_bundle(bundle, "local", dataclasses.replace(SMALL, engine="native"))
