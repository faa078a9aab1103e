"""What the native runner says about the machine: cores, drift, clocks, memory on old kernels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeBundle

from runtime_py import native
from runtime_py.schema import Protocol

pytestmark = pytest.mark.slow

FEW = Protocol(prompt_tokens=8, generated_tokens=5, repetitions=2, warmup=0)
NO_ROLLUP = """\
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
typedef FILE* (*Open)(const char*, const char*);
static FILE* other(const char* name, const char* path, const char* mode) {
  if (strstr(path, "smaps_rollup")) {
    errno = ENOENT;
    return NULL;
  }
  return ((Open)dlsym(RTLD_NEXT, name))(path, mode);
}
FILE* fopen(const char* path, const char* mode) { return other("fopen", path, mode); }
FILE* fopen64(const char* path, const char* mode) { return other("fopen64", path, mode); }
"""


@pytest.fixture(scope="module")
def bundle(tiny_bundle: MakeBundle) -> Path:
    return tiny_bundle("llama", "executorch", per_layer=True)


@pytest.fixture
def ids(tmp_path: Path) -> str:
    path = tmp_path / "ids"
    path.write_text("5 17 3 64 90 7 7 100")
    return str(path)


def _command(
    runner: Path, bundle: Path, ids: str, protocol: Protocol, cores: tuple[int, ...] = ()
) -> list[str]:
    model = str(bundle / "model.pte")
    return native.measure_command(str(runner / "paredown-runner"), model, protocol, ids, cores)


def _events(
    command: list[str], environment: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env=None if environment is None else {**os.environ, **environment},
    )
    return {event["event"]: event for event in map(json.loads, done.stdout.splitlines())}


def test_every_thread_is_bound(native_runner: Path, bundle: Path, ids: str) -> None:
    core = max(os.sched_getaffinity(0))
    endless = Protocol(8, 5, threads=2, phase="sustained", sustained_s=60)
    command = _command(native_runner, bundle, ids, endless, (core,))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if '"sample"' in line:
                    break
            tasks = [path.name for path in Path(f"/proc/{process.pid}/task").iterdir()]
            allowed = [os.sched_getaffinity(int(task)) for task in tasks]
        finally:
            process.kill()
    assert len(tasks) >= 2
    assert allowed == [{core}] * len(tasks)


def test_a_binding_that_the_system_refuses_is_said(
    native_runner: Path, bundle: Path, ids: str
) -> None:
    start = _events(_command(native_runner, bundle, ids, FEW, (1023,)))["start"]
    assert start["cpu_affinity"] == ",".join(map(str, sorted(os.sched_getaffinity(0))))
    assert "cores was refused" in start["cpu_affinity_reason"]


def test_only_timing_probes_for_drift(native_runner: Path, bundle: Path, ids: str) -> None:
    end = _events(_command(native_runner, bundle, ids, FEW))["end"]
    assert len(end["drift_ns"]) == 2
    assert all(1e5 < ns < 1e9 for ns in end["drift_ns"])
    memory = Protocol(8, 5, phase="memory")
    assert _events(_command(native_runner, bundle, ids, memory))["end"]["drift_ns"] == []


def test_its_clocks_are_the_kernels(native_runner: Path, bundle: Path, ids: str) -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    wall = time.perf_counter_ns()
    command = _command(native_runner, bundle, ids, FEW)
    end = _events(command)["end"]
    wall = time.perf_counter_ns() - wall
    assert before < end["origin_boot_ns"] < before + wall
    assert end["cpu_ns"] > 0
    assert abs(end["clock_jump_ns"]) < 1e8
    cold = Protocol(8, 5, phase="cold")
    assert _events(_command(native_runner, bundle, ids, cold))["end"]["origin_boot_ns"] is None


def test_pss_where_the_kernel_does_not_add_it_up(
    native_runner: Path, bundle: Path, ids: str, tmp_path: Path
) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    source, shim = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(NO_ROLLUP)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    command = _command(native_runner, bundle, ids, Protocol(8, 5, phase="memory"))
    usual = _events(command)["end"]["pss_bytes"]
    added = _events(command, {"LD_PRELOAD": str(shim)})["end"]["pss_bytes"]
    assert added == pytest.approx(usual, rel=0.05)
