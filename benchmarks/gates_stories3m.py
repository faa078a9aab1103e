"""The gates over stories3M, pruned by 0 to 50% and exported in float32, 8 and 4 bits.

    python benchmarks/gates_stories3m.py [--cells N] [--work FOLDER]

Each cell is one verdict: pruned with mask tuning or least squares, exported to ONNX, judged against
the dense model on held-out stories, story endings, BLiMP and LAMBADA (the last two beyond what such
a small model knows: the verdict says so). Cells that are done are kept; an interrupted run goes on
where it stopped. Writes JSON lines and docs/benchmarks/gates_stories3m.md. Needs PAREDOWN_ASSETS.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from runtime_py.schema import to_json
from toolchain import api
from toolchain.calibrate.sources import pieces
from toolchain.errors import ParedownError
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.store import write_text
from toolchain.validation.remember import DenseLogits
from toolchain.validation.text import read_gate_text
from toolchain.validation.verdict import Verdict

ROOT = Path(__file__).resolve().parent.parent
ASSETS = Path(os.environ.get("PAREDOWN_ASSETS", ROOT.parent / "shared" / "assets"))
JSONL = ROOT / "benchmarks" / "results" / "gates_stories3m.jsonl"
MARKDOWN = ROOT / "docs" / "benchmarks" / "gates_stories3m.md"

RATIOS = (0.0, 0.1, 0.2, 0.35, 0.5)
RECOVERIES = ("least_squares", "mask_tuning")
QUANTS = ("none", "int8", "int4")
CONTEXT = 512
DOCUMENTS, ITEMS, PROMPTS = 200, 400, 32
MARGINS = {"ppl": 0.1, "tasks": 0.05, "generation": 0.2}
TASKS = {
    "ending": ("tinystories_ending_400.jsonl", {"kind": "knowledge", "normalise": "tokens"}),
    "blimp": ("blimp_67x50.jsonl", {"kind": "language"}),
    "lambada": ("lambada_openai_2000.jsonl", {"kind": "knowledge"}),
}
SLOWEST = 3.0
"""The artifact may take so many times torch's time for the same tokens."""


@dataclass(frozen=True)
class Cell:
    """One verdict."""

    ratio: float
    recovery: str
    quant: str

    @property
    def name(self) -> str:
        """A folder's name."""
        return f"{self.ratio:g}-{self.recovery}-{self.quant}"


def cells() -> Iterator[Cell]:
    """Every cell; unpruned there is nothing to recover."""
    for ratio in RATIOS:
        for recovery in RECOVERIES if ratio else ("none",):
            for quant in QUANTS:
                yield Cell(ratio, recovery, quant)


def write_tasks(folder: Path) -> list[str]:
    """The assets with what they share on their first line."""
    paths = []
    for name, (file, shared) in TASKS.items():
        header = json.dumps({"task": {"name": name, **shared}})
        content = (ASSETS / "data" / file).read_text(encoding="utf-8")
        write_text(folder / f"{name}.jsonl", f"{header}\n{content}")
        paths.append(str(folder / f"{name}.jsonl"))
    return paths


def torch_seconds(dense: Checkpoint, text: Path) -> float:
    """Torch's own time for the held-out text, one document at a time, the model loaded."""
    found = read_gate_text(str(text), dense.tokenizer()).limited(DOCUMENTS)
    logits = DenseLogits(dense)
    logits.model()
    started = time.perf_counter()
    for document in found.documents:
        for piece in pieces(document, CONTEXT, dense.special_ids()[0]):
            logits(piece[:-1])
    return time.perf_counter() - started


def judge(cell: Cell, dense: Checkpoint, work: Path, tasks: list[str]) -> tuple[Verdict, float]:
    """Prune and export where that is not done yet; the verdict and the seconds it took."""
    pruned = work / f"{cell.ratio:g}-{cell.recovery}"
    text = ASSETS / "data" / "tinystories_calib.txt"
    if cell.ratio and not (pruned / "paredown.json").is_file():
        api.prune(
            dense, out=pruned, ratio=cell.ratio, recovery=cell.recovery, calibration=str(text)
        )
    source = open_checkpoint(pruned) if cell.ratio else dense
    bundle = work / cell.name
    if not (bundle / "manifest.json").is_file():
        api.export(source, out=bundle, backend="onnx", quant=cell.quant, context=CONTEXT)
    started = time.perf_counter()
    verdict = api.validate(
        bundle,
        reference=dense,
        checkpoint=source,
        text=str(ASSETS / "data" / "tinystories_eval.txt"),
        documents=DOCUMENTS,
        tasks=tasks,
        limit=ITEMS,
        prompts=PROMPTS,
        margins=MARGINS,
        out=work / "verdicts" / f"{cell.name}.json",
    )
    return verdict, time.perf_counter() - started


def row(cell: Cell, verdict: Verdict, seconds: float, torch_s: float) -> dict[str, object]:
    """What the page and anyone after it needs."""
    gates = {f"{gate.gate} {gate.title}": gate for gate in verdict.gates}
    text = gates["G2 non-inferiority"].measures
    return {
        **asdict(cell),
        "outcome": verdict.outcome,
        "sentence": verdict.sentence,
        "criteria_sha256": verdict.criteria_sha256,
        "gates": {name: gate.outcome for name, gate in gates.items()},
        "perplexity_ratio": to_json(text.get("perplexity_ratio")),
        "kl_nats": to_json(text.get("kl_nats")),
        "tasks": {r.name: to_json(r.counts) for r in verdict.evidence.tasks},
        "seconds": verdict.evidence.seconds,
        "validate_s": round(seconds, 2),
        "torch_text_s": round(torch_s, 3),
        "notes": verdict.notes,
    }


def main() -> None:
    """Run what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, help="run at most so many new ones")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "benchmarks" / "gates")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dense = open_checkpoint(ASSETS / "models" / "stories3M")
    tasks = write_tasks(options.work / "tasks")
    done = _read()
    torch_s = torch_seconds(dense, ASSETS / "data" / "tinystories_eval.txt")
    missing = [cell for cell in cells() if cell.name not in done][: options.cells]
    for cell in missing:
        try:
            verdict, seconds = judge(cell, dense, options.work, tasks)
        except ParedownError as error:
            print(f"{cell.name}: {error}", flush=True)
            continue
        done[cell.name] = row(cell, verdict, seconds, torch_s)
        write_text(JSONL, "".join(json.dumps(r) + "\n" for r in done.values()))
        print(f"{cell.name}: {verdict.sentence}", flush=True)
    write_text(MARKDOWN, page([done[cell.name] for cell in cells() if cell.name in done]))


def _read() -> dict[str, dict[str, object]]:
    if not JSONL.is_file():
        return {}
    rows = [json.loads(line) for line in JSONL.read_text(encoding="utf-8").splitlines()]
    return {Cell(r["ratio"], r["recovery"], r["quant"]).name: r for r in rows}


def page(rows: list[dict[str, object]]) -> str:
    """The page for people."""
    margins = ", ".join(f"{name} {value:.0%}" for name, value in MARGINS.items())
    lines = [
        "# The gates over stories3M",
        "",
        "Written by `python benchmarks/gates_stories3m.py`; every number is in "
        f"`{JSONL.relative_to(ROOT)}`. Margins: {margins}. {DOCUMENTS} held-out stories, at most "
        f"{ITEMS} items of a task. Right answers: artifact (dense model), lost / gained.",
        "",
        "| pruned | recovery | quant | verdict | perplexity ratio | KL, nats | ending | BLiMP | "
        "LAMBADA | text: artifact / torch | validate, s |",
        "| ---: | --- | --- | --- | --- | ---: | --- | --- | --- | ---: | ---: |",
        *(_line(r) for r in rows),
    ]
    slow = [r for r in rows if _times(r) > SLOWEST]
    lines += ["", f"Text slower than {SLOWEST:g} times torch: {len(slow)} of {len(rows)} rows."]
    return "\n".join(lines) + "\n"


def _times(found: dict[str, object]) -> float:
    seconds = found["seconds"]
    assert isinstance(seconds, dict)
    return float(seconds.get("text_artifact", "inf")) / float(str(found["torch_text_s"]))


def _line(found: dict[str, object]) -> str:
    ratio, kl, tasks = found["perplexity_ratio"], found["kl_nats"], found["tasks"]
    shown, nats = "none", "none"
    if isinstance(ratio, dict) and ratio["value"] is not None:
        shown = f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
    if isinstance(kl, dict) and kl["value"] is not None:
        nats = f"{kl['value']:.4f}"
    assert isinstance(tasks, dict)
    answers = [
        f"{t['artifact_right']} ({t['dense_right']}), {t['lost']} / {t['gained']}"
        for t in (tasks[name] for name in TASKS)
    ]
    cells_of = [
        f"{float(str(found['ratio'])):.0%}",
        found["recovery"],
        found["quant"],
        found["outcome"],
        shown,
        nats,
        *answers,
        f"{_times(found):.2f}",
        found["validate_s"],
    ]
    return f"| {' | '.join(map(str, cells_of))} |"


if __name__ == "__main__":
    main()
