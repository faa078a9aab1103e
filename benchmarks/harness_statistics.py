"""Whether the harness's intervals, comparisons and verdicts are right where the truth is known.

    python benchmarks/harness_statistics.py

Simulates launches whose speeds differ by a CV of 2% between and 0.5% within launches, and runs the
harness's own estimators over them. Writes JSON lines and docs/benchmarks/harness_statistics.md.
"""

from __future__ import annotations

import dataclasses
import json
import math
import random
import statistics
from collections.abc import Iterator
from pathlib import Path

from runtime_py.schema import LaunchRecord, Reading, Sample, Snapshot
from toolchain.profiling.compare import abba, difference
from toolchain.profiling.stats import summarize
from toolchain.profiling.validity import judge
from toolchain.statistics import sample_mean
from toolchain.store import write_text

ROOT = Path(__file__).resolve().parents[1]
JSONL = ROOT / "benchmarks" / "results" / "harness_statistics.jsonl"
MARKDOWN = ROOT / "docs" / "benchmarks" / "harness_statistics.md"

BETWEEN_CV, WITHIN_CV = 0.02, 0.005
TOKEN_NS, STEPS = 1_000_000, 8
TRIALS = 4000
DRIFT = -0.06
LAUNCHES, REPETITIONS = 5, 5


@dataclasses.dataclass(frozen=True)
class Finding:
    """One simulated property."""

    property: str
    design: str
    value: float
    required: str
    holds: bool
    trials: int


def main() -> None:
    """Run everything and write both files."""
    rng = random.Random(2024)  # noqa: S311
    findings = [*coverage(rng), *alarms(rng), *bias(), throttling(rng)]
    write_text(JSONL, "".join(f"{json.dumps(dataclasses.asdict(f))}\n" for f in findings))
    write_text(MARKDOWN, markdown(findings))
    print(markdown(findings))
    failed = [f.property for f in findings if not f.holds]
    if failed:
        raise SystemExit(f"does not hold: {', '.join(failed)}")


def coverage(rng: random.Random) -> Iterator[Finding]:
    """How often a 95% interval of one report has the true token time in it."""
    for launches, repetitions in ((LAUNCHES, REPETITIONS), (3, 3), (10, 1)):
        inside = 0
        for _ in range(TRIALS):
            records = [launch(rng, repetitions) for _ in range(launches)]
            row = summarize(records, [], prompt_tokens=1).rows["itl_ms_p50"]
            inside += (row.low or 0) <= TOKEN_NS / 1e6 <= (row.high or 0)
        share = inside / TRIALS
        design = f"{launches} launches of {repetitions}"
        yield Finding("coverage of 95%", design, share, ">= 0.93", share >= 0.93, TRIALS)
    inside = 0
    for _ in range(TRIALS):
        record = launch(rng, LAUNCHES * REPETITIONS)
        low, high = sample_mean([s.token_ns[0] for s in record.samples]).interval()
        inside += low <= TOKEN_NS <= high
    design = "one launch of 25, samples pooled (what the harness does not do)"
    yield Finding("coverage of 95%", design, inside / TRIALS, "shown", True, TRIALS)


def alarms(rng: random.Random) -> Iterator[Finding]:
    """How often two equal bundles come out different at 95%."""
    for name, drift in (("two runs", 0.0), ("in turns", 0.0), ("in turns, 6% drift", DRIFT)):
        seen = 0
        for _ in range(TRIALS):
            turns = name != "two runs"
            a, b = in_turns(rng, 6, drift) if turns else after_each_other(rng)
            found = difference(a, b, turns)
            low, high = found.interval() if found else (0.0, 0.0)
            seen += not low <= 0 <= high
        share = seen / TRIALS
        # Four standard errors of a share of 5% of the trials.
        limit = 0.05 + 4 * math.sqrt(0.05 * 0.95 / TRIALS)
        yield Finding("A/A alarms", name, share, "<= 0.05 (± 0.014)", share <= limit, TRIALS)


def bias() -> Iterator[Finding]:
    """What a linear drift of 6% does to the ratio of two equal bundles, without any noise."""
    orders = {"ABBA": abba(6), "ABAB": "AB" * 6, "A, then B": "A" * 6 + "B" * 6}
    for name, order in orders.items():
        values: dict[str, list[float]] = {"A": [], "B": []}
        for place, arm in enumerate(order):
            values[arm].append(math.log(1 + DRIFT * place / (len(order) - 1)))
        ratio = math.exp(statistics.fmean(values["B"]) - statistics.fmean(values["A"])) - 1
        own = name == "ABBA"
        required = "< 0.003" if own else "shown"
        yield Finding("bias at 6% drift", name, ratio, required, not own or abs(ratio) < 0.003, 1)


def throttling(rng: random.Random) -> Finding:
    """How often one throttled reading, somewhere in the stream, makes the report invalid."""
    caught = 0
    for _ in range(TRIALS):
        records = [with_trace(launch(rng, 5), rng) for _ in range(5)]
        hit = rng.randrange(len(records))
        trace = list(records[hit].trace)
        place = rng.randrange(len(trace))
        readings = {**trace[place].readings, "throttled_now": "throttled"}
        trace[place] = dataclasses.replace(trace[place], readings=readings)
        records[hit] = dataclasses.replace(records[hit], trace=trace)
        caught += judge(records, 1)[0] == "invalid"
    share = caught / TRIALS
    design = "one reading of 30 throttled"
    return Finding("invalid when throttled", design, share, "= 1", share == 1, TRIALS)


def launch(rng: random.Random, repetitions: int, level: float = 1.0) -> LaunchRecord:
    """Token times around a speed that this launch happened to get."""
    own = TOKEN_NS * level * (1 + BETWEEN_CV * rng.gauss(0, 1))
    times = [round(own * (1 + WITHIN_CV * rng.gauss(0, 1))) for _ in range(repetitions)]
    samples = [Sample(1000, 1001, [ns] * STEPS) for ns in times]
    return LaunchRecord(1, samples, None, "simulated", {}, {})


def with_trace(record: LaunchRecord, rng: random.Random) -> LaunchRecord:
    """The launch with quiet sensors around each repetition."""
    trace = [
        Snapshot(i, {"throttled_now": "nothing", "temperature_celsius": 50 + rng.random()})
        for i in range(len(record.samples) + 1)
    ]
    return dataclasses.replace(record, trace=trace, device={"cpu_count": Reading(4.0)})


def log_mean(record: LaunchRecord) -> float:
    """The logarithm of a launch's mean token time."""
    return math.log(statistics.fmean(sample.token_ns[0] for sample in record.samples))


def after_each_other(rng: random.Random) -> tuple[list[float], list[float]]:
    """Two runs of equal bundles."""
    a, b = ([log_mean(launch(rng, REPETITIONS)) for _ in range(LAUNCHES)] for _ in "ab")
    return a, b


def in_turns(rng: random.Random, launches: int, drift: float) -> tuple[list[float], list[float]]:
    """Equal bundles in turns on a machine that drifts."""
    order = abba(launches)
    values: dict[str, list[float]] = {"A": [], "B": []}
    for place, arm in enumerate(order):
        level = 1 + drift * place / (len(order) - 1)
        values[arm].append(log_mean(launch(rng, REPETITIONS, level)))
    return values["A"], values["B"]


def markdown(findings: list[Finding]) -> str:
    """One table."""
    lines = [
        "# The harness against known truth",
        "",
        f"Simulated launches: speeds differ by a CV of {BETWEEN_CV:.0%} between and "
        f"{WITHIN_CV:.1%} within launches. `python benchmarks/harness_statistics.py` makes this "
        "page.",
        "",
        "| property | design | value | required |",
        "| --- | --- | ---: | --- |",
    ]
    for f in findings:
        value = f"{f.value:+.2%}" if f.property.startswith("bias") else f"{f.value:.1%}"
        lines.append(f"| {f.property} | {f.design} | {value} | {f.required} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
