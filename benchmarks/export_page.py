"""The page of export_speed.py: from launches to medians, ratios with intervals, and checks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.profiling.stats import NS_PER_MS, NS_PER_S
from toolchain.statistics import sample_mean

PROMPT_TOKENS = 64
OURS = ("executorch", "onnx")
BITS = {
    "none": 32,
    "fp32": 32,
    "f32": 32,
    "fp16": 16,
    "f16": 16,
    "8da8w": 8,
    "int8": 8,
    "q8_0": 8,
    "8da4w": 4,
    "int4": 4,
    "q4_0": 4,
}
NAMES = {
    "executorch": "ExecuTorch",
    "onnx": "ONNX Runtime",
    "torch": "transformers, eager",
    "genai": "onnxruntime-genai",
    "llama.cpp": "llama.cpp",
}
LARGE = "random138M"
PROPORTION = 0.9
"""Of the proportional speed-up, and of the memory bandwidth, that is asked for."""
RSS_FACTOR, RSS_SLACK = 1.3, 20e6

Record = dict[str, Any]
Cell = tuple[str, str, str, str, int]
"""Model, runtime, quantisation, size, threads."""


@dataclass(frozen=True)
class Ratio:
    """A geometric mean over rounds with its 95% interval; without one where there is one round."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.2f}"
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    def verdict(self, target: float) -> str:
        """Whether it reaches `target`, and whether the interval leaves a doubt."""
        if self.value >= target:
            sure = self.low is not None and self.low >= target
            return "yes" if sure else "yes, not for certain"
        missed = self.high is not None and self.high < target
        return "**no**" if missed else "**no**, not for certain"


def decode_tok_s(launch: Record) -> float:
    """Speed at the median token, which interruptions do not move."""
    return NS_PER_S / statistics.median(t for s in launch["samples"] for t in s["token_ns"])


def prefill_tok_s(launch: Record) -> float:
    """Tokens of the prompt per second."""
    return PROMPT_TOKENS * NS_PER_S / statistics.median(s["prefill_ns"] for s in launch["samples"])


class Results:
    """The launches of the artifacts as they were last seen."""

    def __init__(self, records: Iterable[Record]) -> None:
        rows = list(records)
        self.artifacts = {_cell(r)[:4]: r for r in rows if r["kind"] == "artifact"}
        self.bandwidths = [r for r in rows if r["kind"] == "bandwidth"]
        self.memory = {_cell(r)[:4]: r for r in rows if self._current(r, "memory")}
        self.launches: dict[Cell, list[Record]] = {}
        for row in rows:
            if self._current(row, "launch"):
                self.launches.setdefault(_cell(row), []).append(row)

    def _current(self, row: Record, kind: str) -> bool:
        """Whether a line is of that kind and of the artifact as it is now."""
        if row["kind"] != kind:
            return False
        artifact = self.artifacts.get(_cell(row)[:4])
        return artifact is not None and artifact["fingerprint"] == row["fingerprint"]

    def speeds(self, cell: Cell) -> dict[int, float]:
        """Decode speed by round: the geometric mean of its launches."""
        by_round: dict[int, list[float]] = {}
        for launch in self.launches.get(cell, []):
            by_round.setdefault(launch["round"], []).append(math.log(decode_tok_s(launch)))
        return {number: math.exp(statistics.fmean(logs)) for number, logs in by_round.items()}

    def ratio(self, cell: Cell, to: Cell) -> Ratio | None:
        """Decode speed of `cell` over that of `to`, round by round."""
        above, below = self.speeds(cell), self.speeds(to)
        return mean_ratio([above[n] / below[n] for n in sorted(above.keys() & below.keys())])

    def bandwidth(self, threads: int) -> float:
        """Median of the measured read bandwidths, bytes per second."""
        return statistics.median(row[str(threads)] for row in self.bandwidths)

    def share(self, cell: Cell) -> Ratio | None:
        """Bytes of weights read per second over the bandwidth."""
        read = self.artifacts[cell[:4]]["weights_read_bytes"]
        limit = self.bandwidth(cell[4])
        return mean_ratio([read * speed / limit for speed in self.speeds(cell).values()])

    def median(self, cell: Cell, value: str) -> float:
        """Median over launches of `load`, `prefill`, `decode` or `rss`."""
        of = {
            "load": lambda launch: launch["load_ns"] / NS_PER_MS,
            "prefill": prefill_tok_s,
            "decode": decode_tok_s,
            "rss": lambda launch: float(launch["peak_rss_bytes"] or math.nan),
        }[value]
        return statistics.median(of(launch) for launch in self.launches[cell])


def _cell(row: Record) -> Cell:
    return (row["model"], row["runtime"], row["quant"], row["size"], row["threads"])


def mean_ratio(values: Sequence[float]) -> Ratio | None:
    """Geometric mean; None of nothing."""
    if not values:
        return None
    logs = [math.log(value) for value in values]
    if len(logs) == 1:
        return Ratio(values[0], None, None)
    estimate = sample_mean(logs)
    low, high = estimate.interval()
    return Ratio(math.exp(estimate.mean), math.exp(low), math.exp(high))


def page(records: Sequence[Record], sizes: Sequence[str]) -> str:
    """The whole page as Markdown."""
    results = Results(records)
    if not results.launches:
        return "\n".join([*_head(), "Nothing is measured yet.", ""])
    models = list(dict.fromkeys(cell[0] for cell in results.launches))
    lines = [*_head(), *_summary(results, sizes)]
    for model in models:
        lines += _table(results, model, sizes)
    lines += [*_proportion(results, sizes), *_bits(results), *_peers(results)]
    lines += [*_memory(results), *_machine(results)]
    return "\n".join(lines) + "\n"


def _head() -> list[str]:
    return [
        "# Exports: size, speed, memory, and other runtimes",
        "",
        "Written by `python benchmarks/export_speed.py`; every launch is a line of "
        "`benchmarks/results/export_speed.jsonl`.",
        "",
        "random138M is a Llama of 8 layers with random weights (hidden size 1024, MLP 4096, 16 "
        "query and 4 KV heads, vocabulary 16384, embedding and head tied); stories3M is a trained "
        "one. Both are pruned by 20, 35 and 50% of their attention and MLP parameters by magnitude "
        "without recovery: the sizes are meant, the text they write is not. The context is 512 "
        f"tokens, the prompt {PROMPT_TOKENS}; each launch is a fresh process with one warm-up. "
        "Decode speed is that of the median token, over launches the median. Each round runs the "
        "sizes forth and back, so that a drift cancels; ratios are geometric means over rounds "
        "with 95% intervals (Student's t over rounds). ExecuTorch's files run in the torch-free "
        "runner where it says native.",
        "",
    ]


def _table(results: Results, model: str, sizes: Sequence[str]) -> list[str]:
    lines = [
        f"## {model}",
        "",
        "| runtime | weights | size | threads | file MB | load ms | prefill tok/s | decode tok/s "
        "| of dense | peak RSS MB | of bandwidth |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | --- |",
    ]
    order = [cell for cell in results.launches if cell[0] == model]
    order.sort(key=lambda c: (c[4], list(NAMES).index(c[1]), -BITS[c[2]], sizes.index(c[3])))
    for cell in order:
        _, runtime, quant, size, threads = cell
        dense = (model, runtime, quant, "dense", threads)
        ratio = None if size == "dense" else results.ratio(cell, dense)
        engine = results.launches[cell][0]["engine"]
        native = ", native" if runtime == "executorch" and "native" in engine else ""
        lines.append(
            f"| {NAMES[runtime]}{native} | {quant} | {size} | {threads} | "
            f"{results.artifacts[cell[:4]]['file_bytes'] / 1e6:,.1f} | "
            f"{results.median(cell, 'load'):,.0f} | {results.median(cell, 'prefill'):,.0f} | "
            f"{results.median(cell, 'decode'):,.1f} | {ratio or ''} | "
            f"{results.median(cell, 'rss') / 1e6:,.0f} | {results.share(cell)} |"
        )
    return [*lines, ""]


def _proportion(results: Results, sizes: Sequence[str]) -> list[str]:
    """Whether pruning pays in proportion to the bytes that a token no longer reads."""
    lines = [
        f"## Does {LARGE} get faster in proportion?",
        "",
        f"Asked for: at least {PROPORTION} times the dense model's bytes of weights read per token "
        "over the pruned one's.",
        "",
        "| runtime | weights | size | threads | bytes, dense / pruned | speed, pruned / dense "
        "| reached |",
        "| --- | --- | --- | ---: | ---: | --- | --- |",
    ]
    for cell in _ours(results):
        model, runtime, quant, size, threads = cell
        ratio = results.ratio(cell, (model, runtime, quant, "dense", threads))
        if size == sizes[0] or ratio is None:
            continue
        read = [
            results.artifacts[model, runtime, quant, one]["weights_read_bytes"]
            for one in (sizes[0], size)
        ]
        expected = read[0] / read[1]
        lines.append(
            f"| {NAMES[runtime]} | {quant} | {size} | {threads} | {expected:.2f} | {ratio} | "
            f"{ratio.verdict(PROPORTION * expected)} |"
        )
    return [*lines, ""]


def _bits(results: Results) -> list[str]:
    """Whether 4 bits decode faster than float32."""
    lines = [
        f"## Do fewer bits decode faster on {LARGE}?",
        "",
        "| runtime | weights | size | threads | speed over float32 | faster |",
        "| --- | --- | --- | ---: | --- | --- |",
    ]
    for cell in _ours(results):
        model, runtime, quant, size, threads = cell
        ratio = results.ratio(cell, (model, runtime, "none", size, threads))
        if quant != "none" and ratio is not None:
            lines.append(
                f"| {NAMES[runtime]} | {quant} | {size} | {threads} | {ratio} | "
                f"{ratio.verdict(1.0)} |"
            )
    return [*lines, ""]


def _ours(results: Results) -> list[Cell]:
    return [cell for cell in results.launches if cell[0] == LARGE and cell[1] in OURS]


def best(results: Results, cells: Iterable[Cell]) -> Cell | None:
    """The fastest decoder among `cells`."""
    return max(cells, key=lambda cell: results.median(cell, "decode"), default=None)


def _contests(results: Results) -> list[tuple[int, Cell, Cell, Ratio]]:
    """At equal bits, model, size and threads: our fastest, the others' fastest, and their ratio."""
    found = []
    keys = {(BITS[c[2]], c[0], c[3], c[4]) for c in results.launches}
    for bits, model, size, threads in sorted(keys, key=lambda k: (k[1], k[3], -k[0], k[2])):
        cells = [
            c
            for c in results.launches
            if (BITS[c[2]], c[0], c[3], c[4]) == (bits, model, size, threads)
        ]
        ours = best(results, [c for c in cells if c[1] in OURS])
        theirs = best(results, [c for c in cells if c[1] not in OURS])
        if ours is not None and theirs is not None:
            ratio = results.ratio(ours, theirs)
            if ratio is not None:
                found.append((bits, ours, theirs, ratio))
    return found


def _peers(results: Results) -> list[str]:
    lines = [
        "## Beside other runtimes, at equal bits",
        "",
        "The same checkpoint, prompt and threads in the same rounds. llama.cpp quantised its own "
        "files (q4_0 and q8_0 have a float16 scale for each 32 weights, the head of q4_0 is q6_K) "
        "and keeps its cache in float16, as it does unless told otherwise; onnxruntime-genai's "
        "int4 comes from its own builder (blocks of 32, accuracy level 4). optimum-executorch is "
        "not here: its releases pin versions of transformers and optimum that exclude paredown's.",
        "",
        "| bits | model | size | threads | ours | theirs | decode, ours / theirs | ahead |",
        "| ---: | --- | --- | ---: | --- | --- | --- | --- |",
    ]
    for bits, ours, theirs, ratio in _contests(results):
        named = [
            f"{NAMES[cell[1]]} {cell[2]}, {results.median(cell, 'decode'):,.1f} tok/s"
            for cell in (ours, theirs)
        ]
        lines.append(
            f"| {bits} | {ours[0]} | {ours[3]} | {ours[4]} | {named[0]} | {named[1]} | {ratio} | "
            f"{ratio.verdict(1.0)} |"
        )
    return [*lines, ""]


def _memory(results: Results) -> list[str]:
    """The torch-free runner's peak against what it maps and plans."""
    if not results.memory:
        return []
    lines = [
        "## Memory of the torch-free runner",
        "",
        f"Asked for: peak RSS at most {RSS_FACTOR} times (model file + planned arena, which holds "
        f"the KV cache) + {RSS_SLACK / 1e6:.0f} MB. One thread, one repetition.",
        "",
        "| model | weights | size | file MB | arena MB | peak RSS MB | anonymous MB | most MB "
        "| within |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for (model, runtime, quant, size), row in results.memory.items():
        artifact = results.artifacts[model, runtime, quant, size]
        arena = artifact["arena_bytes"] or artifact["kv_cache_bytes"]
        most = RSS_FACTOR * (artifact["file_bytes"] + arena) + RSS_SLACK
        peak = row["peak_rss_bytes"]
        lines.append(
            f"| {model} | {quant} | {size} | {artifact['file_bytes'] / 1e6:,.1f} | "
            f"{arena / 1e6:,.1f} | {peak / 1e6:,.1f} | {(row['anon_bytes'] or 0) / 1e6:,.1f} | "
            f"{most / 1e6:,.1f} | {'yes' if peak <= most else '**no**'} |"
        )
    return [*lines, ""]


def _summary(results: Results, sizes: Sequence[str]) -> list[str]:
    """How many of the checks hold."""
    proportion, faster, limits = [], [], []
    for cell in _ours(results):
        model, runtime, quant, size, threads = cell
        to_dense = results.ratio(cell, (model, runtime, quant, sizes[0], threads))
        if size != sizes[0] and to_dense is not None:
            read = results.artifacts
            expected = (
                read[model, runtime, quant, sizes[0]]["weights_read_bytes"]
                / read[model, runtime, quant, size]["weights_read_bytes"]
            )
            proportion.append(to_dense.value >= PROPORTION * expected)
        to_float = results.ratio(cell, (model, runtime, "none", size, threads))
        if BITS[quant] == 4 and to_float is not None:
            faster.append(to_float.value > 1)
        share = results.share(cell)
        limits.append(share is not None and share.value >= PROPORTION)
    ahead = [ratio.value >= 1 for _, ours, _, ratio in _contests(results) if ours[0] == LARGE]
    return [
        "| check | holds |",
        "| --- | ---: |",
        f"| {LARGE} pruned decodes at least {PROPORTION} times as much faster as it reads fewer "
        f"bytes | {sum(proportion)} of {len(proportion)} |",
        f"| {LARGE} at 4 bits decodes faster than at float32 | {sum(faster)} of {len(faster)} |",
        f"| {LARGE} reads weights at {PROPORTION:.0%} of the read bandwidth | {sum(limits)} of "
        f"{len(limits)} |",
        f"| our fastest is ahead of the others' fastest on {LARGE} at equal bits | {sum(ahead)} of "
        f"{len(ahead)} |",
        "",
    ]


def _machine(results: Results) -> list[str]:
    launches = [launch for rows in results.launches.values() for launch in rows]
    device = next((row["device"] for row in launches if row.get("device")), {})
    versions = {k: v for row in launches for k, v in row["engine_versions"].items()}
    busy = [row["other_work_cores"] for row in launches if row.get("other_work_cores") is not None]
    rounds = len({row["round"] for row in launches})
    bandwidth = ", ".join(
        f"{results.bandwidth(threads) / 1e9:.1f} GB/s with {threads} thread{'s' * (threads > 1)}"
        for threads in (1, 2)
    )
    lines = [
        "## The machine",
        "",
        f"{device.get('cpu_model', 'unknown')}, {device.get('cpu_count', 0):g} processors, Linux "
        f"{device.get('kernel')}, governor {device.get('governor') or 'unknown'}. "
        f"{len(launches)} launches in {rounds} round{'s' * (rounds > 1)}. Read bandwidth "
        f"(`benchmarks/read_bandwidth.c`, median of {len(results.bandwidths)}): {bandwidth}. A "
        "model that fits the last-level cache can exceed it. Versions: "
        f"{', '.join(f'{k} {v}' for k, v in sorted(versions.items()))}.",
    ]
    if busy:
        lines.append(
            f"Other work kept {statistics.median(busy):.2f} processors busy in the median launch "
            f"of ours, {max(busy):.2f} at most."
        )
    return lines
