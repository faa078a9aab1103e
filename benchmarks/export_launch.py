"""One launch of anything that export_speed.py measures, and how fast the machine reads memory."""

from __future__ import annotations

import functools
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from export_models import CONTEXT, QUANTISATIONS, WORKER, Artifact, Peers, checkpoint

from runtime_py.schema import LaunchRecord, Protocol
from toolchain.devices.local import THREAD_VARIABLES, LocalDevice
from toolchain.errors import ParedownError

BANDWIDTH = Path(__file__).with_name("read_bandwidth.c")
PROMPT_TOKENS = 64
WORK = {"random138M": (24, 1), "stories3M": (128, 4)}
"""Tokens to generate and repetitions, by model: about a second of decoding."""
WARMUP = 1
LIMIT_S = 300
NATIVE = "executorch"
"""The backend that the torch-free runner runs; its Python needs seconds to import torch."""
FACTS = ("cpu_model", "cpu_count", "kernel", "governor")

Launch = dict[str, Any]


def protocol(model: str, threads: int, engine: str = "auto", phase: str = "time") -> Protocol:
    """What one launch of paredown's own engines does."""
    tokens, repetitions = WORK[model]
    return Protocol(
        prompt_tokens=PROMPT_TOKENS,
        generated_tokens=tokens,
        repetitions=repetitions,
        launches=1,
        warmup=WARMUP,
        threads=threads,
        engine=engine,
        phase=phase,
    )


@functools.cache
def runner_missing() -> str | None:
    """Why the torch-free runner cannot be had; None: it is built."""
    from toolchain.native import build

    try:
        build("host")
    except ParedownError as error:
        return str(error)
    return None


def engine_of(artifact: Artifact) -> str:
    """`native` for what the torch-free runner runs, where it can be built."""
    return "native" if artifact.runtime == NATIVE and runner_missing() is None else "auto"


def launch(artifact: Artifact, threads: int, peers: Peers, phase: str = "time") -> Launch:
    """Run one fresh process.

    Raises:
        ParedownError, CalledProcessError: it did not end well.
    """
    if artifact.runtime in QUANTISATIONS:
        settings = protocol(artifact.model, threads, engine_of(artifact), phase)
        return _compact(LocalDevice(LIMIT_S).measure(artifact.path, settings))
    return _peer(artifact, threads, peers)


def _compact(record: LaunchRecord) -> Launch:
    """What the page needs; the samples are kept whole."""
    device = {name: record.device[name].value for name in FACTS if name in record.device}
    other_work = record.device.get("other_work_cores")
    return {
        "load_ns": record.load_ns,
        "samples": [
            {"prefill_ns": s.prefill_ns, "ttft_ns": s.ttft_ns, "token_ns": s.token_ns}
            for s in record.samples
        ],
        "peak_rss_bytes": record.peak_rss_bytes,
        "anon_bytes": record.anon_bytes,
        "file_bytes": record.file_bytes,
        "engine": record.engine,
        "engine_versions": record.engine_versions,
        "device": device,
        "other_work_cores": other_work.value if other_work else None,
    }


def _peer(artifact: Artifact, threads: int, peers: Peers) -> Launch:
    python = {"llama.cpp": peers.llama, "genai": peers.genai}.get(artifact.runtime)
    tokens, repetitions = WORK[artifact.model]
    request = {
        "prompt_ids": prompt_ids(checkpoint(artifact.model, artifact.size).spec.vocab_size),
        "generated_tokens": tokens,
        "repetitions": repetitions,
        "warmup": WARMUP,
        "threads": threads,
        "context": CONTEXT,
    }
    command = [str(python or sys.executable), str(WORKER), "measure", artifact.runtime]
    done = subprocess.run(
        [*command, str(artifact.path), json.dumps(request)],
        check=True,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))},
    )
    return {"engine": artifact.runtime, **json.loads(done.stdout.splitlines()[-1])}


def prompt_ids(vocabulary: int) -> list[int]:
    """As many ordinary tokens as our own protocol feeds; which ones changes no speed."""
    draw = random.Random(0).randrange  # noqa: S311 - not for secrets
    return [draw(3, vocabulary) for _ in range(PROMPT_TOKENS)]


def read_bandwidth(threads: tuple[int, ...]) -> dict[str, float]:
    """Bytes per second that the machine reads from memory, by number of threads."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "read_bandwidth"
        compiler = ["gcc", "-O3", "-march=native", "-pthread"]
        subprocess.run([*compiler, str(BANDWIDTH), "-o", str(program)], check=True)
        found = {}
        for count in threads:
            done = subprocess.run([program, str(count)], check=True, capture_output=True, text=True)
            found[str(count)] = float(done.stdout)
    return found
