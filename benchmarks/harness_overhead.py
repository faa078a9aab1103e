"""What the harness itself costs while an engine decodes.

    python benchmarks/harness_overhead.py            # the embedded model, exported first
    python benchmarks/harness_overhead.py BUNDLE...  # of these bundles, printed only

All of this machine: one reading of the clock; the loop around an engine per token (the same loop
over an engine that does nothing); what the process that starts the launches computes meanwhile;
what the agent computes while the native runner decodes for 20 s and it looks at the sensors; what
the shell computes that looks where there is no Python. Shares are of the wall time. Writes
benchmarks/results/harness_overhead.jsonl and docs/benchmarks/harness_overhead.md; exit 1 where a
share is over 2%.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

from runtime_py import native
from runtime_py.bundle import open_bundle
from runtime_py.engines.fake import Row
from runtime_py.generate import timed_generation
from runtime_py.measure import timer_overhead_ns
from runtime_py.measure_native import measure_native
from runtime_py.schema import LaunchRecord, Manifest, Protocol
from toolchain.devices import open_device
from toolchain.devices.sampling import Sampler
from toolchain.devices.session import Session
from toolchain.devices.shell import LocalShell
from toolchain.embedded import MODEL_DIR
from toolchain.native.folder import PROGRAM, build
from toolchain.store import write_text

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "out" / "benchmarks" / "harness_overhead"
JSONL = ROOT / "benchmarks" / "results" / "harness_overhead.jsonl"
PAGE = ROOT / "docs" / "benchmarks" / "harness_overhead.md"
STEPS = 2000
DECODING_S = 20.0
MOST_SHARE = 0.02


class _Nothing:
    """An engine that answers at once: what is left is the loop around it."""

    name = "nothing"
    versions: ClassVar[dict[str, str]] = {}
    vocab_size = 1
    context_length = STEPS + 1
    load_ns = 1
    position = 0
    _row = Row([0.0])

    def prefill(self, token_ids: object) -> list[Row]:
        del token_ids
        return [self._row]

    def prefill_last(self, token_ids: object) -> Row:
        del token_ids
        return self._row

    def step(self, token_id: int) -> Row:
        del token_id
        return self._row

    def reset(self) -> None:
        """Nothing to forget."""


def loop_ns() -> float:
    """Median nanoseconds per token of the harness's own loop."""
    sample = timed_generation(_Nothing(), [0], STEPS)  # type: ignore[arg-type]
    return statistics.median(sample.token_ns)


def host_share(bundle: Path, protocol: Protocol) -> tuple[float, float]:
    """(share of the wall time that this process computes during a launch, ns per token there)."""
    with open_device("local") as device:
        device.prepare(bundle)
        before, start = time.process_time(), time.perf_counter()
        record = device.measure(bundle, protocol)
        used, wall = time.process_time() - before, time.perf_counter() - start
    token_ns = statistics.median(ns for sample in record.samples for ns in sample.token_ns)
    return used / wall, token_ns


def agent_share(bundle: Path, manifest: Manifest, protocol: Protocol) -> float:
    """Share of the wall time that the agent computes until the native runner has ended.

    What comes after that, reading the runner's output, disturbs no token.
    """
    runner = build("host") / PROGRAM
    ended: list[tuple[float, float]] = []

    def read(*arguments: Any) -> LaunchRecord:
        ended.append((time.process_time(), time.perf_counter()))
        return launch_record(*arguments)

    launch_record = native.launch_record
    before, start = time.process_time(), time.perf_counter()
    with mock.patch.object(native, "launch_record", read):
        measure_native(runner, bundle, manifest, protocol)
    ((after, end),) = ended
    return (after - before) / (end - start)


def shell_share() -> float:
    """Share of the wall time that the shell computes that looks at this machine's sensors."""
    with tempfile.TemporaryDirectory() as folder:
        session = Session(LocalShell(), f"{folder}/root", f"{folder}/lock")
        try:
            with contextlib.closing(Sampler(session, platform.machine())) as sampler:
                time.sleep(DECODING_S)
                looks = sampler.finish()
        finally:
            session.close(keep=False)
    return looks.cpu_s / looks.wall_s


def bundles() -> list[Path]:
    """The embedded model in both backends, exported where it is not there yet."""
    from toolchain import export

    for backend in ("onnx", "executorch"):
        if not (WORK / backend).is_dir():
            print(f"making {backend}", file=sys.stderr, flush=True)
            export(MODEL_DIR, out=WORK / backend, backend=backend, context=256)
    return [WORK / "onnx", WORK / "executorch"]


def bundle_row(path: Path, loop: float) -> dict[str, object]:
    """One bundle's shares; `loop` as `loop_ns`."""
    manifest = open_bundle(path)
    room = manifest.context_length // 2
    protocol = Protocol(prompt_tokens=room // 2, generated_tokens=room, repetitions=20)
    share, token_ns = host_share(path, protocol)
    row: dict[str, object] = {
        "bundle": manifest.name,
        "backend": manifest.backend,
        "quantization": manifest.quantization,
        "token_ns": token_ns,
        "loop_share": loop / token_ns,
        "host_share": share,
        "agent_share": None,
    }
    if manifest.backend == "executorch":
        sustained = Protocol(
            prompt_tokens=room // 2,
            generated_tokens=room,
            sustained_s=DECODING_S,
            phase="sustained",
        )
        row["agent_share"] = agent_share(path, manifest, sustained)
    return row


def main() -> None:
    """Measure and print; exit 1 where a share is over the limit."""
    given = [Path(word) for word in sys.argv[1:]]
    machine: dict[str, object] = {
        "clock_ns": timer_overhead_ns(),
        "loop_ns": loop_ns(),
        "shell_share": shell_share(),
        "load_average_1m": os.getloadavg()[0],
    }
    print(json.dumps(machine), flush=True)
    found = []
    for path in given or bundles():
        found.append(bundle_row(path, float(str(machine["loop_ns"]))))
        print(json.dumps(found[-1]), flush=True)
    if not given:
        write_text(JSONL, "".join(f"{json.dumps(row)}\n" for row in (machine, *found)))
        write_text(PAGE, page(machine, found))
    shares = [v for row in (machine, *found) for k, v in row.items() if k.endswith("share")]
    worst = max(share for share in shares if isinstance(share, float))
    if worst > MOST_SHARE:
        raise SystemExit(f"a share of {worst:.1%} is over {MOST_SHARE:.0%}")


def page(machine: dict[str, object], found: list[dict[str, object]]) -> str:
    """Markdown."""

    def share(value: object) -> str:
        return f"{value:.2%}" if isinstance(value, float) else ""

    lines = [
        f"| {row['bundle']} | {row['backend']} | {float(str(row['token_ns'])) / 1e3:.0f} "
        f"| {share(row['loop_share'])} | {share(row['host_share'])} | {share(row['agent_share'])} |"
        for row in found
    ]
    rows = "\n".join(lines)
    return f"""# What the harness costs

Written by `python benchmarks/harness_overhead.py`; raw values are in
`benchmarks/results/harness_overhead.jsonl`. Shares are of the wall time; each must be at most
{MOST_SHARE:.0%}.

- One reading of the clock: {float(str(machine["clock_ns"])):.0f} ns. Every report has its own
  machine's in `timer_overhead_ns`; there is one reading for each token.
- The loop around an engine, choice of the token and clock included (the same loop over an engine
  that does nothing): {float(str(machine["loop_ns"])):.0f} ns per token.
- A shell that looks at the sensors of a device without Python: {share(machine["shell_share"])}.
  Every launch there says what it was in `sampling_cores`.

| bundle | backend | µs per token | loop | host while it measures | agent while the runner decodes |
| --- | --- | ---: | ---: | ---: | ---: |
{rows}

The host is the process that starts the launches; while they run it waits for their end. The agent
is the process that runs the native runner for {DECODING_S:.0f} s; every two seconds it looks at the
sensors. The model is smaller than any that one would ship, so that the shares of the loop are the
largest there are.

{platform.platform()}, Python {platform.python_version()}; load average
{float(str(machine["load_average_1m"])):.1f} on {os.cpu_count()} cores before it ran.
"""


if __name__ == "__main__":
    main()
