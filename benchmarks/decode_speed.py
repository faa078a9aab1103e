"""Whether a pruned model decodes faster and is smaller on disk, on both backends.

    PAREDOWN_ASSETS=../shared/assets python benchmarks/decode_speed.py

Measures the bundles of `stories3m.py` in interleaved blocks of four launches, dense pruned pruned
dense, so that a drift of the machine cancels within a block. Every launch is a fresh process and
gives one mean; every block gives one log ratio; the 95% interval is Student's t over blocks. Writes
JSON lines with the raw samples and docs/benchmarks/decode_speed.md.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from stories3m import RATIO, ROOT, Bundles, make_bundles

from runtime_py.bundle import model_bytes
from runtime_py.schema import LaunchRecord, Protocol, to_json
from toolchain.devices.local import LocalDevice
from toolchain.profiling.stats import NS_PER_S, decode_tok_s
from toolchain.recipe import BACKENDS
from toolchain.statistics import sample_mean
from toolchain.store import write_text

JSONL = ROOT / "benchmarks" / "results" / "decode_speed.jsonl"
MARKDOWN = ROOT / "docs" / "benchmarks" / "decode_speed.md"
BLOCKS = 8
ORDER = ("dense", "pruned", "pruned", "dense")
PROTOCOL = Protocol(prompt_tokens=64, generated_tokens=128, repetitions=8, launches=1, warmup=1)
BYTES_PER_PARAMETER = 4
SIZE_TOLERANCE = 0.02
"""Graph and tables of a model file are not parameters."""


@dataclass(frozen=True)
class Launch:
    """One process: block and place say when it ran."""

    backend: str
    model: str
    block: int
    place: int
    record: LaunchRecord

    @property
    def mean_tok_s(self) -> float:
        """Decode speed, the mean of its repetitions."""
        return statistics.fmean(decode_tok_s(self.record))

    @property
    def typical_tok_s(self) -> float:
        """Decode speed at the median token time, which interruptions do not move."""
        return NS_PER_S / statistics.median(t for s in self.record.samples for t in s.token_ns)


@dataclass(frozen=True)
class Ratio:
    """Pruned over dense with a 95% interval over blocks."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Comparison:
    """One backend."""

    backend: str
    dense_tok_s: float
    pruned_tok_s: float
    mean_ratio: Ratio
    typical_ratio: Ratio
    dense_bytes: int
    pruned_bytes: int


def measure(bundles: Bundles) -> Iterator[Launch]:
    """Every launch, in the order in which they run; the backends alternate block by block."""
    device = LocalDevice()
    for block in range(BLOCKS):
        for backend in BACKENDS:
            for place, name in enumerate(ORDER):
                record = device.measure(bundles[backend, name][0], PROTOCOL)
                yield Launch(backend, name, block, place, record)
        print(f"block {block + 1} of {BLOCKS}", file=sys.stderr)


def block_ratio(launches: list[Launch], speed: str) -> Ratio:
    """Geometric mean over blocks of pruned over dense.

    With A dense and B pruned, a block's log ratio is (ln B1 + ln B2 - ln A1 - ln A2) / 2: a drift
    that is linear over the block cancels.
    """
    logs = [0.0] * BLOCKS
    for launch in launches:
        sign = 1 if launch.model == "pruned" else -1
        logs[launch.block] += sign * math.log(getattr(launch, speed)) / 2
    estimate = sample_mean(logs)
    low, high = estimate.interval()
    return Ratio(math.exp(estimate.mean), math.exp(low), math.exp(high))


def compare(backend: str, launches: list[Launch], bundles: Bundles) -> Comparison:
    """Ratios of one backend."""
    mine = [launch for launch in launches if launch.backend == backend]
    speeds = {
        name: statistics.median(launch.mean_tok_s for launch in mine if launch.model == name)
        for name in ("dense", "pruned")
    }
    return Comparison(
        backend=backend,
        dense_tok_s=speeds["dense"],
        pruned_tok_s=speeds["pruned"],
        mean_ratio=block_ratio(mine, "mean_tok_s"),
        typical_ratio=block_ratio(mine, "typical_tok_s"),
        dense_bytes=model_bytes(bundles[backend, "dense"][1]),
        pruned_bytes=model_bytes(bundles[backend, "pruned"][1]),
    )


def main() -> None:
    """Measure, write both files, and check the sizes."""
    bundles = make_bundles()
    launches = list(measure(bundles))
    comparisons = [compare(backend, launches, bundles) for backend in BACKENDS]
    parameters = {name: bundles[BACKENDS[0], name][1].parameters for name in ("dense", "pruned")}
    rows = [
        {"protocol": to_json(PROTOCOL), "parameters": parameters, "ratio": RATIO},
        *(asdict(comparison) for comparison in comparisons),
        *(to_json(launch) for launch in launches),
    ]
    write_text(JSONL, "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows))
    write_text(MARKDOWN, markdown(comparisons, launches, parameters))
    print(MARKDOWN.read_text(encoding="utf-8"))
    removed = (parameters["dense"] - parameters["pruned"]) * BYTES_PER_PARAMETER
    for comparison in comparisons:
        saved = comparison.dense_bytes - comparison.pruned_bytes
        assert abs(saved - removed) <= SIZE_TOLERANCE * comparison.dense_bytes, comparison


def markdown(
    comparisons: list[Comparison], launches: list[Launch], parameters: dict[str, int]
) -> str:
    """The page for people."""
    removed = (parameters["dense"] - parameters["pruned"]) * BYTES_PER_PARAMETER
    lines = [
        "# Does a pruned model decode faster?",
        "",
        "Written by `python benchmarks/decode_speed.py`; raw samples are in "
        f"`{JSONL.relative_to(ROOT)}`.",
        "",
        f"stories3M, {RATIO:.0%} of its neurons' parameters removed: {parameters['dense']:,} → "
        f"{parameters['pruned']:,} parameters, float32. {BLOCKS} blocks of four launches (dense, "
        "pruned, pruned, dense) per backend, each a fresh process; "
        f"{PROTOCOL.repetitions} repetitions of {PROTOCOL.prompt_tokens} prompt tokens and "
        f"{PROTOCOL.generated_tokens} decode steps, {PROTOCOL.threads} thread. Ratios are pruned "
        "over dense with 95% intervals over blocks; the typical speed is that of the median token, "
        "which other work on the machine moves less than the mean.",
        "",
        "| backend | dense tok/s | pruned tok/s | ratio of means | ratio of typical speeds |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    lines += [
        f"| {c.backend} | {c.dense_tok_s:,.0f} | {c.pruned_tok_s:,.0f} | {c.mean_ratio} | "
        f"{c.typical_ratio} |"
        for c in comparisons
    ]
    lines += [
        "",
        f"Parameters removed: {removed / 1e6:.2f} MB.",
        "",
        "| backend | dense file | pruned file | saved |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {c.backend} | {c.dense_bytes / 1e6:.2f} MB | {c.pruned_bytes / 1e6:.2f} MB | "
        f"{(c.dense_bytes - c.pruned_bytes) / 1e6:.2f} MB |"
        for c in comparisons
    ]
    return "\n".join([*lines, "", *_machine(launches)]) + "\n"


def _machine(launches: list[Launch]) -> list[str]:
    device = launches[0].record.device
    facts = {
        name: str(device[name].value or "unknown")
        for name in ("cpu_model", "cpu_count", "kernel", "governor")
    }
    versions = {k: v for launch in launches for k, v in launch.record.engine_versions.items()}
    others = [launch.record.device["other_work_cores"].value for launch in launches]
    busy = [value for value in others if isinstance(value, float)]
    lines = [
        f"Machine: {facts['cpu_model']}, {facts['cpu_count'].removesuffix('.0')} processors, "
        f"Linux {facts['kernel']}, governor {facts['governor']}. "
        f"Versions: {', '.join(f'{k} {v}' for k, v in sorted(versions.items()))}."
    ]
    if busy:
        lines.append(
            f"Other work kept {statistics.median(busy):.2f} processors busy in the median launch, "
            f"{max(busy):.2f} at most."
        )
    return lines


if __name__ == "__main__":
    main()
