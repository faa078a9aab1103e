"""KL to the dense model, perplexity and zero-shot accuracy by pruning method, model and ratio.

    PAREDOWN_ASSETS=../shared/assets python benchmarks/pruning_methods.py --jobs 2
    python benchmarks/pruning_methods.py --only model=stories260K --only ratio=0.2 --only row=auto
    python benchmarks/pruning_methods.py --render

Each cell prunes a model to a ratio of its attention and MLP parameters with one method and one
calibration draw, and measures what comes back from the saved checkpoint. A finished cell is one
line of benchmarks/results/pruning_methods.jsonl and is not run again; docs/benchmarks/pruning.md
is made from those lines. A row that this version of paredown does not know is listed as missing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from baselines import shortgpt, slicegpt
from evaluation import SUBJECTS, Evaluation, machine, versions
from pruning_page import page
from stories3m import ROOT

from runtime_py.schema import sha256_of_json
from toolchain import prune
from toolchain.calibrate.sources import draw_samples, encode, read_documents
from toolchain.errors import ParedownError
from toolchain.model.checkpoint import open_checkpoint
from toolchain.recipe import PruneSettings, build
from toolchain.store import write_text

RAW = ROOT / "benchmarks" / "results" / "pruning_methods.jsonl"
PAGE = ROOT / "docs" / "benchmarks" / "pruning.md"
RATIOS = (0.1, 0.2, 0.35, 0.5)
SEEDS = (0, 1, 2)
SAMPLES = 128
SEQ_LEN = 128
COMMON = {"samples": SAMPLES, "seq_len": SEQ_LEN, "round_to": 1, "device": "cpu"}
"""Settings of every row: the same text, and sizes as near to the ratio as whole units allow."""
PLAIN = {"layers": 0, "allocation": "uniform", "joint_masks": False}
"""One importance and one recovery, the same widths in all layers, and nothing beside."""
BASELINES = {"shortgpt": shortgpt, "slicegpt": slicegpt}


@dataclass(frozen=True)
class Row:
    """One line of the tables."""

    name: str
    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    """For `toolchain.prune`, beside `COMMON`."""
    ours: bool = False
    """Whether this is what paredown proposes, rather than one of its parts or another's method."""
    published: bool = False
    """Whether this is how another's method is known, rather than a part of paredown."""


def method(importance: str, recovery: str, **beside: Any) -> dict[str, Any]:
    """Settings of one importance and one recovery, with nothing but `beside` beside them."""
    return {**PLAIN, "importance": importance, "recovery": recovery, **beside}


FLAP = {"layout": "adaptive", "allocation": "global", "protect": 1.0}

ROWS = (
    Row("magnitude", "magnitude, no recovery", method("magnitude", "none"), published=True),
    Row("wanda-sp", "Wanda-sp (`wanda`, no recovery)", method("wanda", "none"), published=True),
    Row(
        "llm-pruner",
        "LLM-Pruner style (`taylor`, no recovery)",
        method("taylor", "none"),
        published=True,
    ),
    Row("fluctuation-bias", "`fluctuation`, `bias`", method("fluctuation", "bias")),
    Row(
        "flap",
        "FLAP style (`fluctuation`, `bias`, one threshold for all layers)",
        method("fluctuation", "bias", **FLAP),
        published=True,
    ),
    Row("shortgpt", "ShortGPT style (whole layers)", published=True),
    Row("slicegpt", "SliceGPT style (rotate and delete)", published=True),
    Row("mask-tuning", "`condition_mask`, `mask_tuning`", method("condition_mask", "mask_tuning")),
    Row(
        "wanda-joint",
        "`wanda`, no recovery, masks tuned jointly",
        method("wanda", "none", joint_masks=True),
    ),
    Row("wanda-ls", "`wanda`, `least_squares`", method("wanda", "least_squares")),
    Row("taylor-ls", "`taylor`, `least_squares`", method("taylor", "least_squares")),
    Row("gblm-ls", "`gblm`, `least_squares`", method("gblm", "least_squares")),
    Row("fisher-ls", "`fisher`, `least_squares`", method("fisher", "least_squares")),
    Row("greedy-ls", "`greedy`, `least_squares`", method("greedy", "least_squares")),
    Row("condition-lr", "`condition`, `low_rank`", method("condition", "low_rank")),
    Row("condition-ls", "`condition`, `least_squares`", method("condition", "least_squares")),
    Row("auto", "**paredown**, `auto`", {"recovery": "auto"}, ours=True),
    Row(
        "auto-adaptive",
        "**paredown**, `auto`, adaptive",
        {"recovery": "auto", "layout": "adaptive"},
        ours=True,
    ),
)
DENSE = "dense"

Key = tuple[str, float, str, int]
"""Subject, ratio (0 for the dense model), row, seed."""
Record = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One thing to run."""

    subject: str
    ratio: float
    row: str
    seed: int

    @property
    def key(self) -> Key:
        """What a finished cell is known by."""
        return (self.subject, self.ratio, self.row, self.seed)


def key_of(record: Record) -> Key:
    """The key of a finished cell's line."""
    return (record["model"], record["ratio"], record["row"], record["seed"])


def row_named(name: str) -> Row:
    """The row of that name; `dense` is one without settings."""
    return next((row for row in ROWS if row.name == name), Row(DENSE, "dense"))


def refusal(row: Row) -> str | None:
    """Why this version of paredown does not know the row's settings; None: it does."""
    if row.name in BASELINES or row.name == DENSE:
        return None
    try:
        build(PruneSettings, {**COMMON, **row.settings, "ratio": RATIOS[0]}, row.name)
    except ParedownError as error:
        return str(error)
    return None


def fingerprint(row: Row, facts: dict[str, Any]) -> str:
    """Hash of what a cell was made with: a line with another one is out of date."""
    return sha256_of_json({"settings": {**COMMON, **row.settings}, "evaluation": facts})[:16]


def read_records(path: Path) -> dict[Key, Record]:
    """Finished cells; the last line of a key counts."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {key_of(record): record for record in map(json.loads, lines)}


def wanted(filters: Sequence[str], seeds: Sequence[int] = SEEDS) -> list[Cell]:
    """The cells of the matrix that pass `key=value[,value]` filters on model, ratio, row, seed.

    Raises:
        SystemExit: a filter that is not of that form.
    """
    allowed: dict[str, set[str]] = {}
    for text in filters:
        name, _, values = text.partition("=")
        if name not in {"model", "ratio", "row", "seed"} or not values:
            raise SystemExit(f"--only {text}: write model=, ratio=, row= or seed=")
        allowed.setdefault(name, set()).update(values.split(","))
    cells = [Cell(s, 0, DENSE, seed) for s in SUBJECTS for seed in seeds]
    # Seed by seed: an interrupted run has every row at the seeds it reached.
    cells += [
        Cell(subject, ratio, row.name, seed)
        for seed in seeds
        for subject in SUBJECTS
        for ratio in RATIOS
        for row in ROWS
    ]

    def passes(cell: Cell) -> bool:
        values = {"model": cell.subject, "seed": str(cell.seed)}
        if cell.row != DENSE:
            values |= {"ratio": str(cell.ratio), "row": cell.row}
        return all(values[name] in allowed[name] for name in values if name in allowed)

    return [cell for cell in cells if passes(cell)]


def to_run(
    cells: Iterable[Cell], records: dict[Key, Record], current: dict[Key, str]
) -> list[Cell]:
    """Cells without a line, or whose line was made with something else.

    Args:
        cells: what is wanted.
        records: what is there.
        current: the fingerprint of each wanted cell; a cell without one cannot run.
    """
    return [
        cell
        for cell in cells
        if cell.key in current and records.get(cell.key, {}).get("fingerprint") != current[cell.key]
    ]


@cache
def evaluation_of(subject: str) -> Evaluation:
    """One evaluation per subject and process."""
    return Evaluation(SUBJECTS[subject])


@cache
def facts_of(subject: str) -> dict[str, Any]:
    """What its numbers depend on, apart from the method."""
    evaluation = evaluation_of(subject)
    calibration = read_documents(evaluation.subject.calibration, "calibration")
    return {**evaluation.facts, "calibration_sha256": sha256_of_json(calibration)}


def run_cell(cell: Cell) -> Record:
    """Prune, load what was saved, measure."""
    evaluation, row = evaluation_of(cell.subject), row_named(cell.row)
    started, cpu = time.monotonic(), time.process_time()
    record: Record = {
        "model": cell.subject,
        "ratio": cell.ratio,
        "row": cell.row,
        "seed": cell.seed,
        "fingerprint": fingerprint(row, facts_of(cell.subject)),
    }
    with tempfile.TemporaryDirectory() as folder:
        model, found = pruned(cell, row, evaluation, Path(folder))
    seconds = time.monotonic() - started
    started = time.monotonic()
    record |= {**found, **evaluation.measure(model, cell.seed)}
    record |= {
        "prune_s": round(seconds, 2),
        "evaluate_s": round(time.monotonic() - started, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "machine": machine(),
        "versions": versions(),
    }
    return record


def pruned(
    cell: Cell, row: Row, evaluation: Evaluation, folder: Path
) -> tuple[torch.nn.Module, Record]:
    """The model of a cell and what is known of its size."""
    source, subject = evaluation.source, evaluation.subject
    dense = source.spec.block_parameters
    if row.name == DENSE:
        return evaluation.dense, _sizes(dense, dense, source.spec.parameters, "uniform", "")
    if row.name in BASELINES:
        samples = draw_samples(
            encode(evaluation.tokenizer, read_documents(subject.calibration, "calibration")),
            source=subject.calibration,
            samples=SAMPLES,
            seq_len=SEQ_LEN,
            seed=cell.seed,
            bos_token_id=evaluation.tokenizer.bos_token_id,
        )
        made = BASELINES[row.name](source, samples.training, cell.ratio)
        sizes = _sizes(dense, made.block_parameters, made.parameters, "uniform", made.detail)
        return made.model, sizes
    record = prune(
        source,
        out=folder / "pruned",
        ratio=cell.ratio,
        calibration=subject.calibration,
        seed=cell.seed,
        **COMMON,
        **row.settings,
    )
    checkpoint = open_checkpoint(folder / "pruned")
    spec = checkpoint.spec
    layout = "uniform" if len(set(spec.layers)) == 1 else "adaptive"
    detail = f"{len(spec.layers)} layers, {record['importance']}, {record['recovery']}"
    sizes = _sizes(dense, spec.block_parameters, spec.parameters, layout, detail)
    return checkpoint.load(), {**sizes, "held_out_kl": record["held_out"]["kl"]}


def _sizes(dense: int, block: int, total: int, layout: str, detail: str) -> Record:
    return {
        "block_parameters": block,
        "block_share": block / dense,
        "parameters": total,
        "layout": layout,
        "detail": detail,
    }


def start_worker() -> None:
    """Each process computes with one thread and leaves the rest of the machine to others."""
    torch.set_num_threads(1)
    os.nice(10)


def run(cells: Sequence[Cell], jobs: int, raw: Path) -> dict[Key, str]:
    """Run cells, one line each as soon as it is there; returns what failed, by key."""
    failed: dict[Key, str] = {}
    raw.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=start_worker) as pool:
        futures = {pool.submit(run_cell, cell): cell for cell in cells}
        for done, future in enumerate(as_completed(futures), 1):
            cell = futures[future]
            try:
                record = future.result()
            except Exception as error:  # one failed cell must not end the hour
                failed[cell.key] = f"{type(error).__name__}: {error}"
                print(cell.key, failed[cell.key], file=sys.stderr)
                continue
            with raw.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
            left = (time.monotonic() - started) / done * (len(cells) - done)
            print(
                f"{done}/{len(cells)} {cell.key} KL {record['kl']:.4f} "
                f"{record['prune_s']:.0f} + {record['evaluate_s']:.0f} s; {left / 60:.0f} min left",
                file=sys.stderr,
            )
    return failed


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", default=[], metavar="KEY=VALUE[,VALUE]")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many of the seeds")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--raw", type=Path, default=RAW)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--render", action="store_true", help="only make the page")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    missing = {row.name: why for row in ROWS if (why := refusal(row)) is not None}
    for name, why in missing.items():
        print(f"missing: {name}: {why}", file=sys.stderr)
    failed: dict[Key, str] = {}
    if not arguments.render:
        cells = [
            cell
            for cell in wanted(arguments.only, SEEDS[: arguments.seeds])
            if cell.row not in missing
        ]
        current = {
            cell.key: fingerprint(row_named(cell.row), facts_of(cell.subject)) for cell in cells
        }
        failed = run(
            to_run(cells, read_records(arguments.raw), current), arguments.jobs, arguments.raw
        )
    write_text(arguments.page, page(list(read_records(arguments.raw).values()), ROWS, missing))
    print(arguments.page)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
