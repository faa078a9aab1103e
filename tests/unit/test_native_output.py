"""What the native runner is told and what it prints, without the program."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from handmade_bundle import write_bundle

from runtime_py import native
from runtime_py.engines import open_engine
from runtime_py.engines.native import NativeEngine, find_runner
from runtime_py.errors import BadRequestError, MissingError, ParedownError
from runtime_py.schema import Protocol, Reading, SchemaError, Snapshot
from toolchain.errors import BadRequestError as Refused
from toolchain.native import build_runner
from toolchain.native.wheel import EXECUTORCH

ROOT = Path(__file__).parents[2]

EVENTS = [
    {
        "event": "start",
        "runner": "0.1.0+abc",
        "executorch": "1.5.1",
        "cpu_affinity": "0,1",
        "cpu_affinity_reason": "",
    },
    {"event": "load", "load_ns": 77},
    {
        "event": "sample",
        "repetition": 0,
        "warmup": True,
        "start_ns": 0,
        "prefill_ns": 9,
        "ttft_ns": 9,
        "token_ns": [9],
    },
    {"event": "token", "repetition": 0, "index": 0, "id": 4, "ns": 1000},
    {
        "event": "sample",
        "repetition": 0,
        "warmup": False,
        "start_ns": 3,
        "prefill_ns": 5,
        "ttft_ns": 6,
        "token_ns": [2, 1],
    },
    {
        "event": "end",
        "peak_rss_bytes": None,
        "clock_jump_ns": -4,
        "cpu_ns": 2_500_000_000,
        "origin_boot_ns": 1000,
        "drift_ns": [7, 8],
    },
]


def _lines(events: list[dict[str, object]]) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


def test_a_record_holds_the_measured_samples_only() -> None:
    record = native.launch_record(_lines(EVENTS), {"cpu": Reading("x")}, "time")
    assert [dataclasses.astuple(s) for s in record.samples] == [(5, 6, [2, 1], 3)]
    assert (record.load_ns, record.peak_rss_bytes, record.engine) == (77, None, native.ENGINE)
    assert record.engine_versions == {"executorch": "1.5.1", "paredown-runner": "0.1.0+abc"}
    assert record.device == {
        "cpu": Reading("x"),
        "cpu_affinity": Reading("0,1"),
        "engine_cpu_s": Reading(2.5),
    }
    assert (record.drift_ns, record.clock_jump_ns, record.trace) == ([7, 8], -4, [])
    assert native.engine_cpu_s(record) == 2.5


def test_a_trace_counts_from_the_first_repetition() -> None:
    seen = [Snapshot(at, {"governor": "x"}) for at in (990, 1400)]
    record = native.launch_record(_lines(EVENTS), {}, "time", seen)
    assert [s.at_ns for s in record.trace] == [-10, 400]
    # A launch without repetitions, such as a cold load, has no such moment.
    last = {**EVENTS[-1], "origin_boot_ns": None}
    record = native.launch_record(_lines([*EVENTS[:2], last]), {}, "cold", seen)
    assert [s.at_ns for s in record.trace] == [0, 410]


def test_a_binding_that_was_refused_is_said() -> None:
    start = {**EVENTS[0], "cpu_affinity_reason": "binding to the cores was refused: no"}
    record = native.launch_record(_lines([start, *EVENTS[1:]]), {})
    assert record.device["cpu_affinity"] == Reading("0,1", "binding to the cores was refused: no")


def test_the_callers_own_reading_wins() -> None:
    known = {"cpu_affinity": Reading("0-1")}
    assert native.launch_record(_lines(EVENTS), known).device["cpu_affinity"] == Reading("0-1")


def test_an_unknown_residency_has_a_reason() -> None:
    events = [EVENTS[0] | {"page_cache_resident": None}, *EVENTS[1:]]
    reading = native.launch_record(_lines(events), {}, "cold").device["page_cache_resident"]
    assert reading.value is None
    assert reading.reason


@pytest.mark.parametrize("left_out", ["start", "load", "end"])
def test_an_unfinished_launch(left_out: str) -> None:
    output = _lines([event for event in EVENTS if event["event"] != left_out])
    with pytest.raises(ParedownError, match=f"before its '{left_out}' event"):
        native.launch_record(output, {})


@pytest.mark.parametrize("output", ["", "Segmentation fault\n", "[1]\n"])
def test_output_that_is_not_events(output: str) -> None:
    with pytest.raises(ParedownError) as caught:
        native.launch_record(output, {})
    assert "\n" not in str(caught.value)


def test_a_check_report_is_read_strictly() -> None:
    with pytest.raises(SchemaError, match="check report"):
        native.check_report('{"passed": true}')


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ("time", {"--warmup": "2", "--repetitions": "3"}),
        ("cold", {"--warmup": "0", "--repetitions": "0"}),
        ("memory", {"--warmup": "0", "--repetitions": "1"}),
        ("sustained", {"--warmup": "0", "--repetitions": "1", "--sustained-s": "7.5"}),
    ],
)
def test_phases_become_options(phase: str, expected: dict[str, str]) -> None:
    protocol = Protocol(warmup=2, repetitions=3, threads=4, depth=9, sustained_s=7.5, phase=phase)
    command = native.measure_command("/r", "/m.pte", protocol, "/p", cores=[4, 5])
    options = dict(zip(command[2:-1:2], command[3::2], strict=False))
    assert command[:2] == ["/r", "measure"]
    assert expected.items() <= options.items()
    assert ("--sustained-s" in options) == (phase == "sustained")
    assert [flag for flag in ("--cold", "--memory") if flag in command] == (
        [f"--{phase}"] if phase in ("cold", "memory") else []
    )
    shared = {"--model": "/m.pte", "--prompt-ids": "/p", "--depth": "9", "--threads": "4"}
    assert (shared | {"--cores": "4,5"}).items() <= options.items()


def test_no_runner_is_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PAREDOWN_RUNNER", raising=False)
    with pytest.raises(MissingError, match=r"no paredown-runner.*paredown runner build"):
        find_runner()
    monkeypatch.setenv("PAREDOWN_RUNNER", str(tmp_path / "absent"))
    with pytest.raises(MissingError, match="absent"):
        find_runner()


def test_the_variable_names_the_program_or_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "paredown-runner"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    for named in (program, tmp_path):
        monkeypatch.setenv("PAREDOWN_RUNNER", str(named))
        assert find_runner() == str(program)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'paredown-runner: no such thing' >&2; exit 2", "no such thing"),
        ("exit 9", "status 9"),
        ("kill -9 $$", "SIGKILL.*out of memory"),
        ("kill -6 $$", "SIGABRT"),
    ],
)
def test_a_child_that_ends_before_it_is_ready(tmp_path: Path, script: str, words: str) -> None:
    program = tmp_path / "runner"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    manifest = write_bundle(tmp_path / "b", backend="executorch")
    with pytest.raises(ParedownError, match=words) as caught:
        NativeEngine(tmp_path / "b", manifest, 1, str(program))
    assert "\n" not in str(caught.value)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path / "b", backend="executorch")
    with pytest.raises(BadRequestError, match=r"unknown runtime 'jvm'.*native"):
        open_engine(tmp_path / "b", manifest, runtime="jvm")
    with pytest.raises(Refused, match=r"unknown architecture 'sparc'.*aarch64"):
        build_runner("sparc")


def test_the_compiler_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PAREDOWN_CACHE", str(tmp_path))
    with pytest.raises(MissingError, match=r"apt-get install g\+\+"):
        build_runner("host")
    assert not list(tmp_path.iterdir())


def test_the_version_is_the_one_that_is_installed() -> None:
    assert f'"executorch=={EXECUTORCH}"' in (ROOT / "pyproject.toml").read_text()
