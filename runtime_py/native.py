"""The native runner from outside: its command lines, and its output as records. Stdlib only.

The runner is one program, so that devices without Python can run bundles of backend `executorch`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from runtime_py.errors import ParedownError
from runtime_py.schema import (
    CheckReport,
    LaunchRecord,
    Protocol,
    Reading,
    Sample,
    Snapshot,
    loads,
)

ENGINE = "executorch-native"
NS_PER_S = 1e9


def measure_command(
    runner: str, model: str, protocol: Protocol, prompt_file: str, cores: Sequence[int] = ()
) -> list[str]:
    """The command that measures one launch and prints JSON lines.

    Args:
        runner: path of the program there.
        model: path of the .pte there.
        protocol: `phase` says what the launch does.
        prompt_file: path there of a text file of token ids: `prompt_tokens` of the prompt, then
            `depth` that precede it in the cache.
        cores: bind the process to these; none: to no particular ones.
    """
    timed = protocol.phase == "time"
    numbers = {
        "--threads": protocol.threads,
        "--generate": protocol.generated_tokens,
        "--depth": protocol.depth,
        "--warmup": protocol.warmup if timed else 0,
        "--repetitions": protocol.repetitions if timed else int(protocol.phase != "cold"),
    }
    command = [runner, "measure", "--model", model, "--prompt-ids", prompt_file]
    for name, value in numbers.items():
        command += [name, str(value)]
    if cores:
        command += ["--cores", ",".join(map(str, cores))]
    if protocol.phase == "sustained":
        command += ["--sustained-s", repr(protocol.sustained_s)]
    if protocol.phase in ("cold", "memory"):
        command.append(f"--{protocol.phase}")
    if timed:
        command.append("--drift")
    return command


def check_command(runner: str, bundle: str, threads: int = 1) -> list[str]:
    """The command that runs the golden cases of the bundle at path `bundle` there."""
    return [runner, "check", "--bundle", bundle, "--threads", str(threads)]


def launch_record(
    output: str,
    device: dict[str, Reading],
    phase: str = "time",
    trace: Sequence[Snapshot] = (),
) -> LaunchRecord:
    """What `measure_command` printed.

    Args:
        output: its standard output.
        device: facts about the machine, read by the caller.
        phase: of the protocol.
        trace: what the caller saw meanwhile, stamped with nanoseconds since the machine's boot.

    Raises:
        ParedownError: the output is not that of a finished launch.
    """
    events = [_event(line) for line in output.splitlines() if line.strip()]
    named = {event.get("event"): event for event in events}
    missing = [name for name in ("start", "load", "end") if name not in named]
    if missing:
        last = output.splitlines()[-1][:80] if events else "nothing"
        raise ParedownError(
            f"the runner ended before its {missing[0]!r} event; its last line is {last!r}",
            "run it by hand to see why",
        )
    start, end = named["start"], named["end"]
    facts = dict(device)
    if "page_cache_resident" in start:
        share = start["page_cache_resident"]
        reason = "" if share is not None else "the kernel does not say"
        facts["page_cache_resident"] = Reading(share, reason)
    affinity = Reading(start["cpu_affinity"], start["cpu_affinity_reason"])
    facts.setdefault("cpu_affinity", affinity)
    facts["engine_cpu_s"] = Reading(end["cpu_ns"] / NS_PER_S)
    origin_ns = end["origin_boot_ns"]
    if origin_ns is None:  # no repetition
        origin_ns = trace[0].at_ns if trace else 0
    return LaunchRecord(
        load_ns=named["load"]["load_ns"],
        samples=[_sample(event) for event in events if _is_measured(event)],
        peak_rss_bytes=end["peak_rss_bytes"],
        engine=ENGINE,
        engine_versions={"executorch": start["executorch"], "paredown-runner": start["runner"]},
        device=facts,
        phase=phase,
        pss_bytes=end.get("pss_bytes"),
        anon_bytes=end.get("anon_bytes"),
        file_bytes=end.get("file_bytes"),
        base_rss_bytes=end.get("base_rss_bytes"),
        trace=[Snapshot(seen.at_ns - origin_ns, seen.readings) for seen in trace],
        drift_ns=end["drift_ns"],
        clock_jump_ns=end["clock_jump_ns"],
    )


def engine_cpu_s(record: LaunchRecord) -> float:
    """Processor seconds of the runner of a launch."""
    value = record.device["engine_cpu_s"].value
    return value if isinstance(value, float) else 0.0


def check_report(output: str) -> CheckReport:
    """What `check_command` printed; SchemaError where it is something else."""
    return loads(CheckReport, output, "the runner's check report")


def _event(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        event = None
    if not isinstance(event, dict):
        raise ParedownError(f"the runner printed {line[:80]!r}, which is not an event")
    return event


def _is_measured(event: dict[str, Any]) -> bool:
    return event.get("event") == "sample" and not event["warmup"]


def _sample(event: dict[str, Any]) -> Sample:
    names = ("prefill_ns", "ttft_ns", "token_ns", "start_ns")
    return Sample(**{name: event[name] for name in names})
