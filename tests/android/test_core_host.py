"""The headless run on a JVM: what it leaves is what every other device leaves, or a failure."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
from pathlib import Path

import pytest
from handmade_bundle import BOS, reference_greedy, write_bundle, write_manifest
from jvm import Jvm, chat_spec, check_spec, measure_spec

from runtime_py.chat import Conversation
from runtime_py.engines import open_engine
from runtime_py.schema import CheckReport, LaunchRecord, Manifest, Protocol, from_json

pytest_plugins = ("android_fixtures",)

PROTOCOL = Protocol(
    prompt_tokens=8, generated_tokens=6, depth=5, repetitions=3, warmup=1, sustained_s=0.5
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    path = tmp_path_factory.mktemp("host") / "bundle"
    return path, write_bundle(path)


@pytest.mark.parametrize("phase", ["time", "cold", "memory", "sustained"])
def test_every_phase_leaves_a_launch_record(
    jvm: Jvm, bundle: tuple[Path, Manifest], tmp_path: Path, phase: str
) -> None:
    protocol = from_json(Protocol, {**vars(PROTOCOL), "phase": phase})
    code, answer, said = jvm.headless(measure_spec(bundle[0], protocol), tmp_path)
    record = from_json(LaunchRecord, answer)
    assert code == 0
    assert record.phase == phase
    assert record.engine == "onnxruntime-java"
    assert record.load_ns > 0
    assert record.device["emulated"].value == "yes"
    assert record.device["cpu_count"].value == os.cpu_count()
    assert record.device["boot_id"].value
    assert record.peak_rss_bytes is not None
    for sample in record.samples:
        assert len(sample.token_ns) == PROTOCOL.generated_tokens
        assert 0 < sample.prefill_ns < sample.ttft_ns
        assert min(sample.token_ns) > 0
    check_phase(record, said)


def test_a_jvm_never_says_that_it_is_a_phone(
    jvm: Jvm, bundle: tuple[Path, Manifest], tmp_path: Path
) -> None:
    spec = measure_spec(bundle[0], PROTOCOL) | {"emulated": False}
    record = from_json(LaunchRecord, jvm.headless(spec, tmp_path)[1])
    assert record.device["emulated"].value == "yes"


def check_phase(record: LaunchRecord, said: str) -> None:
    if record.phase == "time":
        assert len(record.samples) == PROTOCOL.repetitions
        assert [s.at_ns for s in record.trace] == sorted(s.at_ns for s in record.trace)
        assert len(record.trace) == PROTOCOL.repetitions + 1
        assert len(record.drift_ns) == 2
        assert "INSTRUMENTATION_STATUS: repetition=3/3" in said
    elif record.phase == "cold":
        assert record.samples == []
        assert record.device["page_cache_resident"].value is None
        assert "posix_fadvise" in record.device["page_cache_resident"].reason
    elif record.phase == "memory":
        assert len(record.samples) == 1
        sizes = (record.base_rss_bytes, record.anon_bytes, record.file_bytes, record.pss_bytes)
        assert all(size is not None and size > 1 << 20 for size in sizes)
        assert record.base_rss_bytes is not None
        assert record.peak_rss_bytes is not None
        assert record.base_rss_bytes <= record.peak_rss_bytes
    else:
        last = record.samples[-1]
        end = last.start_ns + last.ttft_ns + sum(last.token_ns)
        assert end >= PROTOCOL.sustained_s * 1e9


def test_a_check_is_the_same_report(
    jvm: Jvm, bundle: tuple[Path, Manifest], tmp_path: Path
) -> None:
    code, answer, _ = jvm.headless(check_spec(bundle[0]), tmp_path)
    report = from_json(CheckReport, answer)
    assert code == 0
    assert report.passed
    assert [case.matching_tokens for case in report.cases] == [8, 8]
    assert max(case.max_abs_logit_difference for case in report.cases) < 1e-4


def test_a_wrong_continuation_is_a_report_that_failed(jvm: Jvm, tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    manifest = write_bundle(path)
    content = json.loads((path / "manifest.json").read_text())
    right = manifest.golden_cases[0].continuation_ids
    content["golden_cases"][0]["continuation_ids"][3] = (right[3] + 1) % manifest.vocab_size
    (path / "manifest.json").write_text(json.dumps(content))
    code, answer, _ = jvm.headless(check_spec(path), tmp_path)
    report = from_json(CheckReport, answer)
    assert code == 1
    assert not report.passed
    assert [(case.matching_tokens, case.passed) for case in report.cases] == [(3, False), (8, True)]


def test_a_chat_says_what_python_says(
    jvm: Jvm, bundle: tuple[Path, Manifest], tmp_path: Path
) -> None:
    path, manifest = bundle
    code, answer, said = jvm.headless(chat_spec(path, "Häuser\n", 12), tmp_path)
    engine = open_engine(path, manifest)
    expected = "".join(Conversation(path, manifest, engine).reply("Häuser\n", 12))
    assert code == 0
    assert answer["schema"] == "paredown.android-chat/1"
    assert answer["text"] == expected
    prompt = [BOS, *"Häuser\n".encode()]
    assert answer["prompt_tokens"] == len(prompt)
    assert answer["generated_tokens"] == len(until_eos(prompt, manifest))
    assert 0 < answer["ttft_ms"] < 60_000
    assert math.isfinite(answer["ttft_ms"])
    pieces = [line.partition("text=")[2] for line in said.split("\n") if "text=" in line]
    escaped = expected.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    assert "".join(pieces) == escaped


def until_eos(prompt: list[int], manifest: Manifest) -> list[int]:
    tokens = reference_greedy(prompt, 12)
    ends = [i for i, token in enumerate(tokens) if token in manifest.eos_token_ids]
    return tokens[: ends[0] + 1] if ends else tokens


@pytest.mark.parametrize(
    ("changes", "code", "what"),
    [
        ({"backend": "executorch"}, 3, "this program has no engine for executorch bundles"),
        ({"kind": "encoder"}, 2, "tiny is an encoder, which generates no text"),
        ({"vocab_size": 300}, 1, None),
        ({"context_length": 10}, 2, None),
    ],
)
def test_what_cannot_run_is_answered_with_a_failure(
    jvm: Jvm, tmp_path: Path, changes: dict[str, object], code: int, what: str | None
) -> None:
    path = tmp_path / "bundle"
    write_bundle(path, **changes)
    found, answer, _ = jvm.headless(check_spec(path), tmp_path)
    assert found == answer["exit_code"]
    assert answer["schema"] == "paredown.android-failure/1"
    if what is not None:
        assert (found, answer["what"]) == (code, what)


def test_a_model_that_onnxruntime_cannot_load_is_named(jvm: Jvm, tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    write_bundle(path)
    (path / "model.onnx").write_bytes(b"no model")
    write_manifest(path)
    code, answer, _ = jvm.headless(check_spec(path), tmp_path)
    assert code == answer["exit_code"] == 2
    assert answer["what"].startswith(f"onnxruntime cannot load {path / 'model.onnx'}: ")


def test_without_space_nothing_is_left_and_the_reason_is_said(
    jvm: Jvm, bundle: tuple[Path, Manifest], tmp_path: Path
) -> None:
    """The kernel refuses every byte of a file, as a full disk does."""
    spec, reports = tmp_path / "spec.json", tmp_path / "reports"
    spec.write_text(json.dumps(check_spec(bundle[0])))
    limited = ["bash", "-c", 'ulimit -f 0; exec "$@"', "-", *jvm.host_command(spec, reports)]
    limited.insert(limited.index("java") + 1, "-XX:-UsePerfData")
    done = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 2
    assert f"cannot write {reports / 'check.json'}" in done.stderr
    assert list(reports.iterdir()) == []


def test_a_wrong_command_line_is_one_line(jvm: Jvm) -> None:
    done = jvm.java("dev.paredown.host.HostMain", "--spec", "spec.json")
    assert done.returncode == 2
    assert done.stderr == "usage: HostMain --spec FILE --reports DIR\n"


def test_a_killed_run_leaves_nothing(
    jvm: Jvm, bundle: tuple[Path, Manifest], tmp_path: Path
) -> None:
    protocol = from_json(Protocol, {**vars(PROTOCOL), "phase": "sustained", "sustained_s": 300})
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(measure_spec(bundle[0], protocol)))
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "measure.json").write_text("an answer of an earlier run")
    command = jvm.command(
        "dev.paredown.host.HostMain", "--spec", str(spec), "--reports", str(reports)
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "repetition=2" in line:
                break
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    assert list(reports.iterdir()) == []
