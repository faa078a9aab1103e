"""How often the quality gate ships a model, by simulation with known truth.

    python benchmarks/gate_operating_characteristic.py

Documents are clusters: their lengths are log-normal, every document has its own mean difference of
NLL (symmetric, or skewed: few documents bear most of the damage), and tokens scatter around it with
heavy tails. Four rules decide on the same numbers: the gate, the plain clustered bound (CR1 with
m - 1 degrees of freedom), the same bound with tokens taken as independent, and the point estimate
alone. Tasks: items that one of the two models alone has right, multinomial; Tango's bound against
the point estimate. Writes JSON lines and the tables of docs/benchmarks/gates.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from toolchain.statistics import t_quantile
from toolchain.store import write_text
from toolchain.validation.evidence import PairedCounts
from toolchain.validation.noninferiority import POWER, documents_needed, non_inferiority
from toolchain.validation.paired import paired_test, planned_items
from toolchain.validation.verdict import FAIL, INCONCLUSIVE, PASS

ROOT = Path(__file__).resolve().parent.parent
JSONL = ROOT / "benchmarks" / "results" / "gate_operating_characteristic.jsonl"
MARKDOWN = ROOT / "docs" / "benchmarks" / "gates.md"

SEED = 20250221
TRIALS = 4000
ALPHA = 0.05
NORMAL_QUANTILE = NormalDist().inv_cdf(1 - ALPHA)
MARGIN = 0.10
LIMIT = math.log1p(MARGIN)
DOCUMENTS = (10, 30, 100)
TRUTHS = (("at the margin", 1.0), ("half the margin", 0.5), ("twice the margin", 2.0))
MEDIAN_TOKENS, TOKENS_SPREAD = 60, 0.6
DOCUMENT_SPREAD, TOKEN_SPREAD, TOKEN_FREEDOM = 0.10, 1.0, 4
LARGE_PILOT, SMALL_PILOT = 20_000, 50
SMALL_PILOT_TRIALS = 1000
DAMAGES = ("even", "skewed")
"""How a document's own mean lies around the truth: normal, or exponential (the same spread)."""
TASK_MARGIN = 0.05
TASK_ITEMS = (100, 400)
CHANGED = 0.08
"""Share of items that exactly one model has right."""


@dataclass(frozen=True)
class Cell:
    """One truth at one number of documents; shares of TRIALS decisions."""

    truth: str
    damage: str
    delta_nats: float
    documents: int
    planned: bool
    """The number of documents is what `documents_needed` asks for."""
    trials: int
    seed: int
    gate_ships: float
    gate_fails: float
    gate_inconclusive: float
    plain_clusters_ships: float
    independent_tokens_ships: float
    point_estimate_ships: float


@dataclass(frozen=True)
class TaskCell:
    """One truth at one number of items; shares of TRIALS decisions."""

    truth: str
    difference: float
    items: int
    planned: bool
    trials: int
    seed: int
    gate_ships: float
    gate_fails: float
    gate_inconclusive: float
    point_estimate_ships: float


@dataclass(frozen=True)
class Corpus:
    """One simulated evaluation."""

    sums: NDArray[np.float64]
    squares: float
    counts: NDArray[np.int64]


def simulate(
    delta: float, documents: int, generator: np.random.Generator, damage: str = "even"
) -> Corpus:
    """Draw the differences of NLL of one evaluation whose true mean per token is `delta`.

    A document's own mean is independent of its length, so the ratio mean is unbiased.
    """
    lengths = generator.lognormal(math.log(MEDIAN_TOKENS), TOKENS_SPREAD, documents)
    counts = np.maximum(lengths.astype(np.int64), 8)
    own = (
        generator.standard_normal(documents)
        if damage == "even"
        else generator.standard_exponential(documents) - 1
    )
    means = delta + DOCUMENT_SPREAD * own
    scale = TOKEN_SPREAD / math.sqrt(TOKEN_FREEDOM / (TOKEN_FREEDOM - 2))
    tokens = np.repeat(means, counts)
    tokens += scale * generator.standard_t(TOKEN_FREEDOM, tokens.size)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    return Corpus(np.add.reduceat(tokens, starts), float(np.square(tokens).sum()), counts)


def independent_tokens_bound(corpus: Corpus) -> float:
    """Upper bound of a rule that forgets the documents and counts every token as a sample."""
    total = int(corpus.counts.sum())
    mean = float(corpus.sums.sum()) / total
    variance = (corpus.squares - total * mean * mean) / (total - 1)
    return mean + NORMAL_QUANTILE * math.sqrt(variance / total)


def plain_clusters_bound(corpus: Corpus) -> float:
    """Upper bound with CR1 and m - 1 degrees of freedom, which take documents as alike in size."""
    sums, counts, m = corpus.sums, corpus.counts, len(corpus.sums)
    mean = sums.sum() / counts.sum()
    squares = float(np.square(sums - mean * counts).sum())
    error = math.sqrt(m / (m - 1) * squares) / float(counts.sum())
    return float(mean) + t_quantile(1 - ALPHA, m - 1) * error


def measure(truth: str, share: float, documents: int, planned: bool, damage: str) -> Cell:
    """Decide TRIALS simulated evaluations."""
    delta = share * LIMIT
    seed = SEED + documents + round(1000 * share)
    generator = np.random.default_rng(seed)
    outcomes: list[str] = []
    plain = independent = point = 0
    for _ in range(TRIALS):
        corpus = simulate(delta, documents, generator, damage)
        test = non_inferiority(corpus.sums.tolist(), corpus.counts.tolist(), MARGIN, ALPHA)
        outcomes.append(test.outcome)
        plain += plain_clusters_bound(corpus) <= LIMIT
        independent += independent_tokens_bound(corpus) <= LIMIT
        point += test.difference.mean <= LIMIT
    return Cell(
        truth=truth,
        damage=damage,
        delta_nats=delta,
        documents=documents,
        planned=planned,
        trials=TRIALS,
        seed=seed,
        gate_ships=outcomes.count(PASS) / TRIALS,
        gate_fails=outcomes.count(FAIL) / TRIALS,
        gate_inconclusive=outcomes.count(INCONCLUSIVE) / TRIALS,
        plain_clusters_ships=plain / TRIALS,
        independent_tokens_ships=independent / TRIALS,
        point_estimate_ships=point / TRIALS,
    )


def planned_documents(pilot_documents: int, generator: np.random.Generator, damage: str) -> int:
    """Documents for the model at half the margin, planned from the spread in a pilot."""
    pilot = simulate(0.5 * LIMIT, pilot_documents, generator, damage)
    needed = documents_needed(pilot.sums.tolist(), pilot.counts.tolist(), 0.5 * LIMIT, ALPHA)
    assert needed is not None
    return needed


def ships_after_small_pilot(damage: str) -> float:
    """Share of good models that ship when each is planned from its own small pilot."""
    generator = np.random.default_rng(SEED)
    ships = 0
    for _ in range(SMALL_PILOT_TRIALS):
        documents = planned_documents(SMALL_PILOT, generator, damage)
        corpus = simulate(0.5 * LIMIT, documents, generator, damage)
        test = non_inferiority(corpus.sums.tolist(), corpus.counts.tolist(), MARGIN, ALPHA)
        ships += test.outcome == PASS
    return ships / SMALL_PILOT_TRIALS


def cells() -> Iterator[Cell]:
    """Every cell of the text table."""
    for damage in DAMAGES:
        planned = planned_documents(LARGE_PILOT, np.random.default_rng(SEED), damage)
        for truth, share in TRUTHS:
            for documents in sorted({*DOCUMENTS, planned}):
                yield measure(truth, share, documents, documents == planned, damage)


def drawn(difference: float, items: int, generator: np.random.Generator) -> PairedCounts:
    """Counts of one task on which the artifact truly has `difference` more of all items right."""
    lost, gained = (CHANGED - difference) / 2, (CHANGED + difference) / 2
    shares = [lost, gained, (1 - CHANGED) / 2, (1 - CHANGED) / 2]
    found = [int(count) for count in generator.multinomial(items, shares)]
    return PairedCounts(items, found[0] + found[2], found[1] + found[2], found[0], found[1])


def task_cell(truth: str, share: float, items: int, planned: bool) -> TaskCell:
    """Decide TRIALS simulated tasks."""
    difference = -share * TASK_MARGIN
    seed = SEED + items + round(1000 * share)
    generator = np.random.default_rng(seed)
    outcomes, point = [], 0
    for _ in range(TRIALS):
        counts = drawn(difference, items, generator)
        outcomes.append(paired_test(counts, TASK_MARGIN, ALPHA).outcome)
        point += counts.difference >= -TASK_MARGIN
    return TaskCell(
        truth=truth,
        difference=difference,
        items=items,
        planned=planned,
        trials=TRIALS,
        seed=seed,
        gate_ships=outcomes.count(PASS) / TRIALS,
        gate_fails=outcomes.count(FAIL) / TRIALS,
        gate_inconclusive=outcomes.count(INCONCLUSIVE) / TRIALS,
        point_estimate_ships=point / TRIALS,
    )


def task_cells() -> Iterator[TaskCell]:
    """Every cell of the task table; a clearly good model loses a quarter of the margin."""
    planned = planned_items(CHANGED, -0.25 * TASK_MARGIN, TASK_MARGIN, ALPHA)
    assert planned is not None
    for truth, share in (
        ("at the margin", 1.0),
        ("a quarter of the margin", 0.25),
        ("one and a half margins", 1.5),
    ):
        for items in sorted({*TASK_ITEMS, planned}):
            yield task_cell(truth, share, items, items == planned)


def main() -> None:
    """Simulate, write both files, and hold the claims."""
    table, tasks = list(cells()), list(task_cells())
    small = {damage: ships_after_small_pilot(damage) for damage in DAMAGES}
    rows = [asdict(cell) for cell in [*table, *tasks]]
    pilot = {"pilot_documents": SMALL_PILOT, "trials": SMALL_PILOT_TRIALS}
    rows += [{**pilot, "damage": damage, "gate_ships": share} for damage, share in small.items()]
    write_text(JSONL, "".join(json.dumps(row) + "\n" for row in rows))
    write_text(MARKDOWN, markdown(table, tasks, small))
    allowed = 3 * math.sqrt(ALPHA * (1 - ALPHA) / TRIALS)
    for cell in [*table, *tasks]:
        if cell.truth == "at the margin":
            assert cell.gate_ships <= ALPHA + allowed, cell
        if cell.truth in {"half the margin", "a quarter of the margin"}:
            assert not cell.planned or cell.gate_ships >= POWER - allowed, cell
    print(MARKDOWN.read_text(encoding="utf-8"))


def markdown(table: list[Cell], tasks: list[TaskCell], small_pilot: dict[str, float]) -> str:
    """The page for people."""
    error = math.sqrt(ALPHA * (1 - ALPHA) / TRIALS)
    planned = {cell.damage: cell.documents for cell in table if cell.planned}
    asked = " and ".join(f"{count} ({damage})" for damage, count in planned.items())
    ship = " and ".join(f"{share:.1%} ({damage})" for damage, share in small_pilot.items())
    lines = [
        "# How often the quality gate ships",
        "",
        "Written by `python benchmarks/gate_operating_characteristic.py`; every number is in "
        f"`{JSONL.relative_to(ROOT)}`.",
        "",
        f"Simulation with known truth, {TRIALS} evaluations per row, alpha {ALPHA}: at the margin "
        f"a gate should ship {ALPHA:.0%} at most. Simulation error of a share near {ALPHA}: ± "
        f"{error:.4f}.",
        "",
        "## Perplexity",
        "",
        f"Margin {MARGIN:.0%}. Documents have log-normal lengths (median {MEDIAN_TOKENS} tokens), "
        f"their own mean (spread {DOCUMENT_SPREAD} nats; even: normal, skewed: exponential, few "
        f"documents bear most of the damage) and heavy-tailed tokens (t with {TOKEN_FREEDOM} "
        f"degrees of freedom, spread {TOKEN_SPREAD} nats). Plain clusters: SE without correction "
        "for unequal lengths, t with m - 1 degrees of freedom.",
        "",
        f"* Planned: `documents_needed` asks for {asked} documents for a model at half the "
        f"margin, with probability {POWER:.0%}, when the spread between documents is known (a "
        f"pilot of {LARGE_PILOT}). Planned each time from its own pilot of {SMALL_PILOT} "
        f"documents, {ship} ship.",
        "",
        "| true loss | damage | documents | gate ships | gate fails | inconclusive | plain "
        "clusters: ships | tokens as independent: ships | point estimate: ships |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for c in table:
        star = " *" if c.planned else ""
        lines.append(
            f"| {c.truth} | {c.damage} | {c.documents}{star} | {c.gate_ships:.1%} | "
            f"{c.gate_fails:.1%} | {c.gate_inconclusive:.1%} | {c.plain_clusters_ships:.1%} | "
            f"{c.independent_tokens_ships:.1%} | {c.point_estimate_ships:.1%} |"
        )
    return "\n".join([*lines, *task_lines(tasks)]) + "\n"


def task_lines(tasks: list[TaskCell]) -> list[str]:
    """The part of the page about tasks."""
    planned = next(cell.items for cell in tasks if cell.planned)
    lines = [
        "",
        "## Tasks",
        "",
        f"Margin {TASK_MARGIN:.0%} of all items; exactly one of the two models has {CHANGED:.0%} "
        "of the items right.",
        "",
        f"* Planned: `planned_items` asks for {planned} items for a model at a quarter of the "
        f"margin, with probability {POWER:.0%}.",
        "",
        "| true loss | items | gate ships | gate fails | inconclusive | point estimate: ships |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for c in tasks:
        star = " *" if c.planned else ""
        lines.append(
            f"| {c.truth} | {c.items}{star} | {c.gate_ships:.1%} | {c.gate_fails:.1%} | "
            f"{c.gate_inconclusive:.1%} | {c.point_estimate_ships:.1%} |"
        )
    return [
        *lines,
        "",
        "The point estimate ships half of the models that are exactly at the margin, at any size.",
    ]


if __name__ == "__main__":
    main()
