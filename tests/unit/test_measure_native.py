"""The sensors around a program that measures by itself: what it says, how it ends, what we cost."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest
from handmade_bundle import write_bundle

from runtime_py.errors import BadRequestError, BrokenBundleError, InvalidMeasurementError
from runtime_py.measure_native import measure_native
from runtime_py.schema import LaunchRecord, Manifest, Protocol

SMALL = Protocol(prompt_tokens=8, generated_tokens=2, repetitions=1, warmup=0, engine="native")
SAID = """\
{"event":"start","executorch":"1.5.1","runner":"1","cpu_affinity":"0","cpu_affinity_reason":""}
{"event":"load","load_ns":7}
{"event":"sample","repetition":0,"warmup":false,"start_ns":0,"prefill_ns":5,"ttft_ns":6,\
"token_ns":[1,2]}
{"event":"end","peak_rss_bytes":9,"pss_bytes":8,"anon_bytes":4,"file_bytes":5,"base_rss_bytes":3,\
"clock_jump_ns":1,"cpu_ns":5,"origin_boot_ns":null,"drift_ns":[3,4]}
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("native") / "bundle"
    write_bundle(path, backend="executorch")
    return path


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> Manifest:
    return write_bundle(bundle.with_name("other"), backend="executorch")


def _program(folder: Path, body: str) -> Path:
    """A shell script in the runner's place."""
    (folder / "said").write_text(SAID)
    path = folder / "runner"
    path.write_text(f'#!/bin/sh\nhere={folder}\necho "$@" >"$here/arguments"\n{body}\n')
    path.chmod(0o755)
    return path


def _measure(
    runner: Path, bundle: Path, manifest: Manifest, protocol: Protocol = SMALL
) -> LaunchRecord:
    before = os.sched_getaffinity(0)
    try:
        return measure_native(runner, bundle, manifest, protocol)
    finally:
        os.sched_setaffinity(0, before)


def test_a_launch(tmp_path: Path, bundle: Path, manifest: Manifest) -> None:
    runner = _program(tmp_path, 'cat "$here/said"')
    record = _measure(runner, bundle, manifest)
    assert record.load_ns == 7
    assert record.samples[0].token_ns == [1, 2]
    assert len(record.trace) == 2
    assert (record.drift_ns, record.clock_jump_ns) == ([3, 4], 1)
    assert "--drift" in (tmp_path / "arguments").read_text().split()
    assert record.device["cpu_affinity"].value
    memory = dataclasses.replace(SMALL, phase="memory")
    record = _measure(runner, bundle, manifest, memory)
    assert (record.phase, record.anon_bytes) == ("memory", 4)
    arguments = (tmp_path / "arguments").read_text().split()
    assert "--memory" in arguments
    assert "--drift" not in arguments


def test_we_sleep_while_it_works(tmp_path: Path, bundle: Path, manifest: Manifest) -> None:
    protocol = dataclasses.replace(SMALL, phase="sustained", sustained_s=5.0)
    _measure(_program(tmp_path, 'cat "$here/said"'), bundle, manifest, protocol)
    runner = _program(tmp_path, 'sleep 5; cat "$here/said"')
    before, start = time.process_time(), time.perf_counter()
    record = _measure(runner, bundle, manifest, protocol)
    used, wall = time.process_time() - before, time.perf_counter() - start
    assert used / wall < 0.05, "a generous bound: a busy wait takes 1"
    assert len(record.trace) >= 3, "and yet looks at the sensors now and then"


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ("echo one >&2; echo 'no such method' >&2; exit 3", BrokenBundleError, "3: no such method"),
        ("exit 1", BrokenBundleError, "1: it said nothing"),
        ("kill -SEGV $$", InvalidMeasurementError, "died of signal 11"),
    ],
)
def test_how_it_can_end(
    tmp_path: Path,
    bundle: Path,
    manifest: Manifest,
    body: str,
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        _measure(_program(tmp_path, body), bundle, manifest)


def test_a_context_too_small_starts_nothing(
    tmp_path: Path, bundle: Path, manifest: Manifest
) -> None:
    runner = _program(tmp_path, "exit 0")
    with pytest.raises(BadRequestError, match="exceed the context"):
        _measure(runner, bundle, manifest, dataclasses.replace(SMALL, depth=48))
    assert not (tmp_path / "arguments").exists()
