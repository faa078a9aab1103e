"""paredown against other training-free pruners that install from the index and run on this CPU.

    python -m venv peers && peers/bin/pip install torch==2.13.0 optipfair torch-pruning \\
        nvidia-modelopt requests 'torchprofile<0.1'
    PAREDOWN_ASSETS=../shared/assets python benchmarks/peers.py --peer-python peers/bin/python

Every line of the table prunes the same checkpoint with the same calibration tokens in a process of
its own, to the block parameters that paredown's first row keeps (or as near as the package's steps
allow, never fewer where it can choose), and saves a checkpoint that one evaluator loads and
measures on the same held-out text.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from evaluation import SUBJECTS, Evaluation, machine, versions
from pruning_page import mean, spread
from stories3m import ROOT

from toolchain.calibrate.sources import draw_samples, encode, read_documents
from toolchain.errors import ParedownError
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.store import write_text

RAW = ROOT / "benchmarks" / "results" / "peers.jsonl"
PAGE = ROOT / "docs" / "benchmarks" / "peers.md"
WORKER = Path(__file__).with_name("peer_worker.py")
MODELS = ("stories3M", "stories260K")
RATIOS = (0.2, 0.35)
SEEDS = (0, 1, 2)
SAMPLES = 128
SEQ_LEN = 128
LIMIT_S = 600
"""A package that takes longer for one of these models has no result."""
PAREDOWN = "paredown"


@dataclass(frozen=True)
class Row:
    """One line of the tables."""

    package: str
    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    """paredown: for `toolchain.prune`; others: for the function in peer_worker.py."""

    @property
    def name(self) -> str:
        """Package and settings."""
        return f"{self.package} {json.dumps(self.settings, sort_keys=True)}"


OURS: list[dict[str, Any]] = [{}, {"layout": "adaptive"}]
"""What a user may type, beside the ratio and `--round-to 1`; sizes follow the first."""

ROWS = (
    *(Row(PAREDOWN, "defaults", settings) for settings in OURS[:1]),
    *(Row(PAREDOWN, ", ".join(f"{k} {v}" for k, v in s.items()), s) for s in OURS[1:]),
    Row("optipfair", "its default: weights (MAW)", {"method": "MAW"}),
    Row("optipfair", "weights (PON)", {"method": "PON"}),
    Row("optipfair", "weights and activations (MAW with data)", {"method": "MAW", "data": True}),
    Row(
        "optipfair",
        "one layer, then neurons (MAW with data)",
        {"method": "MAW", "data": True, "layers": 1},
    ),
    Row(
        "torch-pruning",
        "its example for LLMs: hidden size, heads, neurons",
        {"importance": "magnitude", "everything": True},
    ),
    Row("torch-pruning", "neurons, magnitude", {"importance": "magnitude"}),
    Row("torch-pruning", "neurons, activations", {"importance": "activation"}),
    Row("torch-pruning", "neurons, Taylor", {"importance": "taylor"}),
    Row("torch-pruning", "neurons, Taylor, global", {"importance": "taylor", "global": True}),
    Row("torch-pruning", "neurons, Hessian, global", {"importance": "hessian", "global": True}),
    Row("nvidia-modelopt", "FastNAS on the MLPs", {"mode": "fastnas", "steps": 20}),
    Row("nvidia-modelopt", "Minitron", {"mode": "mcore_minitron"}),
)

Record = dict[str, Any]
Cell = tuple[str, float, int, str]
"""Model, ratio, seed, row."""


def calibration_tokens(evaluation: Evaluation, seed: int) -> list[list[int]]:
    """The samples that paredown draws by itself with this seed."""
    subject = evaluation.subject
    tokenizer = evaluation.tokenizer
    return draw_samples(
        encode(tokenizer, read_documents(subject.calibration, "calibration")),
        source=subject.calibration,
        samples=SAMPLES,
        seq_len=SEQ_LEN,
        seed=seed,
        bos_token_id=tokenizer.bos_token_id,
    ).training


def run_worker(python: Path, request: Record, folder: Path) -> Record:
    """The worker's answer, and the seconds from start to end of its process."""
    question, answer = folder / "request.json", folder / "answer.json"
    question.write_text(json.dumps(request), encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if request["package"] != PAREDOWN:
        environment.pop("PYTHONPATH", None)
    started = time.monotonic()
    try:
        done = subprocess.run(
            [python, WORKER, question, answer],
            check=False,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not finished after {LIMIT_S} s"}
    seconds = round(time.monotonic() - started, 2)
    if not answer.is_file():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"error": f"exit {done.returncode}: {last}", "wall_s": seconds}
    return {**json.loads(answer.read_text(encoding="utf-8")), "wall_s": seconds}


def measured(evaluation: Evaluation, checkpoint: Checkpoint, seed: int) -> Record:
    """Sizes, KL and perplexity of a saved checkpoint; whether transformers loads it by itself."""
    spec, dense = checkpoint.spec, evaluation.source.spec
    return {
        "block_parameters": spec.block_parameters,
        "block_share": spec.block_parameters / dense.block_parameters,
        "parameters_share": spec.parameters / dense.parameters,
        "layout": "uniform" if len(set(spec.layers)) == 1 else "adaptive",
        "plain": loads_plain(checkpoint.path),
        **evaluation.measure(checkpoint.load(), seed),
    }


def loads_plain(folder: Path) -> bool:
    """Whether `AutoModelForCausalLM.from_pretrained(folder)` works, without custom code."""
    from transformers import AutoModelForCausalLM

    try:
        AutoModelForCausalLM.from_pretrained(folder)
    except (RuntimeError, ValueError, OSError):
        return False
    return True


def run_row(evaluation: Evaluation, row: Row, python: Path, common: Record, ratio: float) -> Record:
    """Prune with one package and measure; an error of the package becomes the record."""
    settings = dict(row.settings)
    if row.package == PAREDOWN:
        settings |= {"ratio": ratio, "round_to": 1, "samples": SAMPLES, "seq_len": SEQ_LEN}
        settings |= {"calibration": evaluation.subject.calibration, "device": "cpu"}
    record: Record = {
        "model": evaluation.subject.name,
        "ratio": ratio,
        "row": row.name,
        "seed": common["seed"],
    }
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        request = {**common, "package": row.package, "settings": settings}
        request["out"] = str(folder / "pruned")
        record |= run_worker(python, request, folder)
        if "error" in record:
            return record
        try:
            record |= measured(evaluation, open_checkpoint(folder / "pruned"), common["seed"])
        except (ParedownError, ValueError, RuntimeError) as error:
            record["error"] = f"saved, but cannot be loaded: {error}"
    return record | {"machine": machine(), "versions": versions()}


def run_all(
    models: Iterable[str], ratios: Sequence[float], seeds: Sequence[int], peer_python: Path
) -> Iterable[Record]:
    """All rows, paredown's first: its size is what the others prune to.

    What fails once is not tried again in the same run.
    """
    failed: set[str] = set()
    for model in models:
        evaluation = Evaluation(SUBJECTS[model])
        evaluation.tasks = {}
        for ratio in ratios:
            for seed in seeds:
                common: Record = {"model": str(evaluation.source.path), "seed": seed}
                common["samples"] = calibration_tokens(evaluation, seed)
                common["block_parameters"] = None
                for row in ROWS:
                    if row.name in failed:
                        continue
                    ours = row.package == PAREDOWN
                    python = Path(sys.executable) if ours else peer_python
                    record = run_row(evaluation, row, python, common, ratio)
                    if common["block_parameters"] is None:
                        if "error" in record:
                            raise SystemExit(f"{row.name}: {record['error']}")
                        common["block_parameters"] = record["block_parameters"]
                    if "error" in record:
                        failed.add(row.name)
                    yield record


def page(records: Sequence[Record], rows: Sequence[Row]) -> str:
    """The Markdown page: a table per model and ratio, and what did not run, with its error."""
    groups: dict[tuple[str, float, str], list[Record]] = {}
    errors: dict[str, str] = {}
    for record in records:
        if "error" in record:
            errors.setdefault(record["row"], record["error"])
        else:
            groups.setdefault((record["model"], record["ratio"], record["row"]), []).append(record)
    cells = dict.fromkeys((model, ratio) for model, ratio, _ in groups)
    packages = {r["row"].split()[0]: r["version"] for r in records if "version" in r}
    lines = [
        "# Other pruners",
        "",
        "Training-free pruners that install from the index and run on a CPU: the same checkpoint, "
        "the same calibration tokens, one process each, and the same held-out text; times are of a "
        "machine with other work on it. KL to the "
        "dense model in nats per token. *blocks left*: attention and MLP parameters that are "
        "really there; *loads plainly*: transformers loads the saved folder without custom code. "
        "*prune s* is the work, *wall s* and memory are the whole process, imports included "
        "(*peak* is the kernel's high-water mark, *imported* what the libraries took before). "
        "Mean [lowest, highest] of the calibration draws, of which some rows lack one; best in "
        "bold.",
    ]
    lines += ["", *(f"- {least(groups, model, ratio, rows)}" for model, ratio in cells)]
    labels = {row.name: f"{row.package}: {row.label}" for row in rows}
    lines += [f"- does not run here: {labels.get(n, n)} (`{e}`)" for n, e in errors.items()]
    for model, ratio in cells:
        lines += ["", f"## {model}, {ratio:.0%}", "", *table(groups, model, ratio, rows)]
    setups = sorted({f"{r['machine']}; {r['versions']}" for r in records if "machine" in r})
    others = ", ".join(f"{n} {v}" for n, v in packages.items() if n != PAREDOWN)
    lines += ["", f"{'; '.join(setups)}; {others}. Raw values: `benchmarks/results/peers.jsonl`;"]
    lines[-1] += " made by `benchmarks/peers.py`."
    return "\n".join(lines) + "\n"


def least(
    groups: dict[tuple[str, float, str], list[Record]],
    model: str,
    ratio: float,
    rows: Sequence[Row],
) -> str:
    """The best row of paredown and of the others in one cell, of those with all of its draws."""
    here = [(row, groups[key]) for row in rows if (key := (model, ratio, row.name)) in groups]
    draws = max((len(group) for _, group in here), default=0)
    found = [(mean(group, "kl"), row) for row, group in here if len(group) == draws]
    best = {
        ours: min(rivals, key=lambda pair: pair[0])
        for ours in (True, False)
        if (rivals := [pair for pair in found if (pair[1].package == PAREDOWN) is ours])
    }
    where = f"{model} at {ratio:.0%}"
    if len(best) < 2:
        return f"{where}: nothing to compare"
    (our_kl, our), (their_kl, their) = best[True], best[False]
    return (
        f"{where}: {our.package} ({our.label}) {our_kl:.3f}, best of the others {their.package} "
        f"({their.label}) {their_kl:.3f} ({their_kl / our_kl:.2f} times)"
    )


def table(
    groups: dict[tuple[str, float, str], list[Record]],
    model: str,
    ratio: float,
    rows: Sequence[Row],
) -> list[str]:
    """The lines of one table."""
    head = ["package", "what", "layout", "loads plainly", "blocks left", "all left"]
    head += ["KL", "perplexity", "prune s", "wall s", "imported MB", "peak MB"]
    lines = [f"| {' | '.join(head)} |", "|---|---|---|---|" + "---:|" * (len(head) - 4)]
    here = [(row, groups[key]) for row in rows if (key := (model, ratio, row.name)) in groups]
    best = {key: min(mean(group, key) for _, group in here) for key in ("kl", "perplexity")}
    for row, group in here:
        values = {key: spread(group, key, 3) for key in best}
        for key, value in values.items():
            values[key] = f"**{value}**" if mean(group, key) == best[key] else value
        cells = [
            row.package,
            row.label,
            "/".join(sorted({r["layout"] for r in group})),
            "yes" if all(r["plain"] for r in group) else "no",
            f"{mean(group, 'block_share'):.1%}",
            f"{mean(group, 'parameters_share'):.1%}",
            *values.values(),
            f"{mean(group, 'prune_s'):.1f}",
            f"{mean(group, 'wall_s'):.1f}",
            *(f"{mean(group, k) / 1e6:.0f}" for k in ("imported_rss_bytes", "peak_rss_bytes")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer-python", type=Path, help="the Python that has the other packages")
    parser.add_argument("--render", action="store_true", help="only make the page")
    parser.add_argument("--models", nargs="+", choices=SUBJECTS, default=list(MODELS))
    parser.add_argument("--ratios", nargs="+", type=float, default=list(RATIOS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--raw", type=Path, default=RAW)
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.render:
        if arguments.peer_python is None:
            parser.error("give --peer-python")
        run(arguments)
    write_text(arguments.page, page(list(read_records(arguments.raw).values()), ROWS))
    print(arguments.page)
    return 0


def run(arguments: argparse.Namespace) -> None:
    """Run everything asked for; a line replaces the former one of the same cell as soon as it is
    there."""
    found = read_records(arguments.raw)
    for record in run_all(
        arguments.models, arguments.ratios, arguments.seeds, arguments.peer_python.absolute()
    ):
        found[_cell(record)] = record
        write_text(arguments.raw, "".join(json.dumps(r) + "\n" for r in found.values()))
        shown = record.get("error") or f"KL {record['kl']:.4f}, {record['wall_s']} s"
        print(record["model"], record["ratio"], record["row"], shown, file=sys.stderr)


def read_records(path: Path) -> dict[Cell, Record]:
    """What was measured so far, by cell."""
    if not path.is_file():
        return {}
    records = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {_cell(record): record for record in records}


def _cell(record: Record) -> Cell:
    return record["model"], record["ratio"], record["seed"], record["row"]


if __name__ == "__main__":
    raise SystemExit(main())
