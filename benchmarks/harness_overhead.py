"""What the harness itself costs while an engine decodes.

    python benchmarks/harness_overhead.py BUNDLE [BUNDLE ...]

Four numbers per bundle, all of this machine: one reading of the clock; the loop around the engine
per token (the same loop over an engine that does nothing); what the process that starts the
launches spends meanwhile; and, for a .pte bundle, what the agent spends while the native runner
decodes. Prints a table and JSON lines; shares are of the wall time.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import ClassVar

from runtime_py.bundle import open_bundle
from runtime_py.engines.fake import Row
from runtime_py.generate import timed_generation
from runtime_py.measure import timer_overhead_ns
from runtime_py.measure_native import measure_native
from runtime_py.schema import Manifest, Protocol
from toolchain.devices import open_device

STEPS = 2000
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
    """(share of the wall time that this process computes during a launch, ms per token there)."""
    with open_device("local") as device:
        device.prepare(bundle)
        before, start = time.process_time(), time.perf_counter()
        record = device.measure(bundle, protocol)
        used, wall = time.process_time() - before, time.perf_counter() - start
    token_ns = statistics.median(ns for sample in record.samples for ns in sample.token_ns)
    return used / wall, token_ns


def agent_share(bundle: Path, manifest: Manifest, protocol: Protocol) -> float:
    """Share of the wall time that the agent computes while the native runner does the work."""
    from toolchain.native.folder import PROGRAM, build

    runner = build("host") / PROGRAM
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    measure_native(runner, bundle, manifest, protocol)
    after, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - start
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used / wall


def main() -> None:
    """Measure and print; exit 1 where a share is over the limit."""
    clock, loop = timer_overhead_ns(), loop_ns()
    print(f"one reading of the clock: {clock:.0f} ns; the loop around an engine: {loop:.0f} ns")
    worst = 0.0
    for path in map(Path, sys.argv[1:]):
        manifest = open_bundle(path)
        room = manifest.context_length // 2
        protocol = Protocol(prompt_tokens=room // 2, generated_tokens=room, repetitions=20)
        share, token_ns = host_share(path, protocol)
        row = {
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
                prompt_tokens=room // 2, generated_tokens=room, sustained_s=20.0, phase="sustained"
            )
            row["agent_share"] = agent_share(path, manifest, sustained)
        worst = max(worst, *(v for k, v in row.items() if k.endswith("share") and v is not None))
        print(json.dumps(row))
    if worst > MOST_SHARE:
        print(f"a share of {worst:.1%} is over {MOST_SHARE:.0%}", file=sys.stderr)
        raise SystemExit(os.EX_DATAERR)


if __name__ == "__main__":
    main()
