"""How fast and how small every export is, dense and pruned, and beside other runtimes.

    python benchmarks/export_speed.py --export --llama-python P --genai-python P
    python benchmarks/export_speed.py --measure --minutes 19 --llama-python P --genai-python P
    python benchmarks/export_speed.py --render

`--export` writes the artifacts of export_models.py that are not there yet; a busy machine will do.
`--measure` needs a quiet one: it goes round the grid until the rounds are done or the minutes are
over, a fresh process per launch, in the order dense .. most pruned .. dense, so that a drift of the
machine cancels within a round; what a former call measured of the same artifacts counts.
`--llama-python` is a Python with llama-cpp-python (built from its source distribution),
`--genai-python` one with onnxruntime-genai; without them those rows are left out. Every launch is
a line of benchmarks/results/export_speed.jsonl, of which `--render` makes the page.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export_launch import NATIVE, engine_of, launch, read_bandwidth, runner_missing
from export_models import (
    MODELS,
    QUANTISATIONS,
    RATIOS,
    Artifact,
    Peers,
    all_artifacts,
    checkpoint,
    file_bytes,
    make,
    weights_read,
)
from export_page import page
from stories3m import ROOT

from runtime_py.bundle import open_bundle
from toolchain.errors import ParedownError
from toolchain.store import write_text

RAW = ROOT / "benchmarks" / "results" / "export_speed.jsonl"
PAGE = ROOT / "docs" / "benchmarks" / "export_speed.md"
ROUNDS = 5
THREADS = (1, 2)
SIZES_AT_TWO_THREADS = ("dense", "pruned35")
"""Two threads are measured at these alone, to have time for more rounds."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """Artifacts that differ in size alone, measured together."""

    artifacts: tuple[Artifact, ...]
    threads: int

    def launches(self) -> Iterator[Artifact]:
        """Forth and back: each artifact's two launches have the same mean place."""
        yield from self.artifacts
        yield from reversed(self.artifacts)


def groups(peers: Peers, filters: list[str]) -> list[Group]:
    """The grid, most important first: the large model at one thread, then two, then the small."""
    found = []
    for model in MODELS:
        for threads in THREADS:
            for artifacts in all_artifacts(peers):
                kept = [
                    a
                    for a in artifacts
                    if a.model == model
                    and (threads == 1 or a.size in SIZES_AT_TWO_THREADS)
                    and passes(a, filters)
                ]
                if threads == 1:
                    for missing in (a for a in kept if not a.path.exists()):
                        print(f"not exported: {missing.path}", file=sys.stderr)
                if there := tuple(a for a in kept if a.path.exists()):
                    found.append(Group(there, threads))
    return found


def passes(artifact: Artifact, filters: list[str]) -> bool:
    """Whether `key=value[,value]` filters on model, size, runtime and quant let it through.

    Raises:
        SystemExit: a filter that is not of that form.
    """
    for text in filters:
        name, _, values = text.partition("=")
        if name not in {"model", "size", "runtime", "quant"} or not values:
            raise SystemExit(f"--only {text}: write model=, size=, runtime= or quant=")
        if getattr(artifact, name) not in values.split(","):
            return False
    return True


def read_records(path: Path) -> list[Record]:
    """Every line so far."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def append(path: Path, record: Record) -> None:
    """Add one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(record, separators=(",", ":")) + "\n")


def export_all(peers: Peers, filters: list[str]) -> int:
    """Make what is missing; returns how many artifacts failed."""
    failed = 0
    for artifacts in all_artifacts(peers):
        for artifact in artifacts:
            if not passes(artifact, filters):
                continue
            try:
                make(artifact, peers)
            except (ParedownError, subprocess.CalledProcessError) as error:
                # Random weights have near-ties: parity may say no to a bundle that is there.
                failed += not artifact.path.exists()
                print(f"{artifact.path}: {error}", file=sys.stderr)
    return failed


def key(artifact: Artifact, threads: int) -> Record:
    """What a launch's line is known by, besides its round."""
    return {
        "model": artifact.model,
        "size": artifact.size,
        "runtime": artifact.runtime,
        "quant": artifact.quant,
        "threads": threads,
        "fingerprint": artifact.fingerprint,
    }


def rounds_done(records: Iterable[Record], group: Group) -> int:
    """Rounds that are complete for every artifact of the group as it is now."""
    wanted = [key(artifact, group.threads) for artifact in group.artifacts]
    seen = [
        (record["round"], position)
        for record in records
        for position, one in enumerate(wanted)
        if record.get("kind") == "launch" and all(record[name] == one[name] for name in one)
    ]
    done = 0
    while all(seen.count((done, position)) >= 2 for position in range(len(wanted))):
        done += 1
    return done


def facts(artifact: Artifact) -> Record:
    """What the page says of an artifact beside its launches."""
    spec = checkpoint(artifact.model, artifact.size).spec
    found: Record = {
        "kind": "artifact",
        **key(artifact, 0),
        "parameters": spec.parameters,
        "file_bytes": file_bytes(artifact),
        "weights_read_bytes": weights_read(artifact),
    }
    if artifact.runtime in QUANTISATIONS:
        manifest = open_bundle(artifact.path)
        found["arena_bytes"] = manifest.planned_arena_bytes
        found["kv_cache_bytes"] = spec.kv_cache_bytes(manifest.context_length)
        found["packed_weights_bytes"] = manifest.packed_weights_bytes
    return found


def measure(peers: Peers, filters: list[str], rounds: int, minutes: float, raw: Path) -> None:
    """Go round the grid; stops after the group during which the time is over."""
    end = time.monotonic() + minutes * 60
    grid = groups(peers, filters)
    if runner_missing() is not None:
        print(f"without the torch-free runner: {runner_missing()}", file=sys.stderr)
    records = read_records(raw)
    for artifact in {a for g in grid for a in g.artifacts}:
        append(raw, facts(artifact))
    for number in range(rounds):
        due = [group for group in grid if rounds_done(records, group) <= number]
        if due:
            append(raw, {"kind": "bandwidth", **read_bandwidth(THREADS)})
        for group in due:
            if time.monotonic() > end:
                print(f"time is over in round {number + 1}", file=sys.stderr)
                return
            started = time.monotonic()
            measure_group(group, number, peers, raw)
            first = group.artifacts[0]
            took = time.monotonic() - started
            print(
                f"round {number + 1}: {first.model} {first.runtime} {first.quant}, "
                f"{group.threads} threads: {took:.0f} s",
                file=sys.stderr,
            )
    memory(grid, peers, raw)


def measure_group(group: Group, number: int, peers: Peers, raw: Path) -> None:
    """One round of a group; a group that fails is said and left out."""
    lines = []
    for place, artifact in enumerate(group.launches()):
        try:
            record = launch(artifact, group.threads, peers)
        except (ParedownError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            print(f"failed: {artifact.path}: {said[-500:]}", file=sys.stderr)
            return
        line = {"kind": "launch", **key(artifact, group.threads), "round": number, "place": place}
        lines.append({**line, **record})
    for line in lines:
        append(raw, line)


def memory(grid: list[Group], peers: Peers, raw: Path) -> None:
    """One launch of each .pte for its memory alone, which the torch-free runner reads."""
    for group in grid:
        for artifact in group.artifacts:
            if group.threads == 1 and artifact.runtime == NATIVE:
                if engine_of(artifact) != "native":
                    return
                record = launch(artifact, 1, peers, "memory")
                append(raw, {"kind": "memory", **key(artifact, 1), **record})


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--export", action="store_true", help="write what is missing")
    parser.add_argument("--measure", action="store_true", help="needs a quiet machine")
    parser.add_argument("--render", action="store_true", help="make the page")
    parser.add_argument("--only", action="append", default=[], metavar="KEY=VALUE[,VALUE]")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--minutes", type=float, default=60.0, help="stop measuring after these")
    parser.add_argument("--llama-python", type=Path)
    parser.add_argument("--genai-python", type=Path)
    parser.add_argument("--raw", type=Path, default=RAW)
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    peers = Peers(arguments.llama_python, arguments.genai_python)
    failed = export_all(peers, arguments.only) if arguments.export else 0
    if arguments.measure:
        measure(peers, arguments.only, arguments.rounds, arguments.minutes, arguments.raw)
    if arguments.render or arguments.measure:
        write_text(arguments.page, page(read_records(arguments.raw), list(RATIOS)))
        print(arguments.page)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
