"""The page of `pruning_methods.py`: tables and statements from finished cells, nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Record = dict[str, Any]
TASKS = ("ending", "blimp", "agreement")
DENSE = "dense"
NORMAL_95 = 1.64
"""Standard errors of a one-sided test at 5%."""
NAMES = {"stories3M": "stories3M", "stories260K": "stories260K", "embedded": "the embedded model"}


class Row(Protocol):
    """What the page needs of a row."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def ours(self) -> bool: ...
    @property
    def published(self) -> bool: ...


Groups = dict[tuple[str, float, str], list[Record]]
"""Cells by model, ratio and row: one record per seed."""


def grouped(records: Iterable[Record]) -> Groups:
    """Records by what a table's line shows."""
    groups: Groups = {}
    for record in records:
        groups.setdefault((record["model"], record["ratio"], record["row"]), []).append(record)
    return groups


def mean(group: Sequence[Record], key: str) -> float:
    """Mean over the calibration draws."""
    return math.fsum(record[key] for record in group) / len(group)


def spread(group: Sequence[Record], key: str, digits: int) -> str:
    """mean [lowest, highest], or the value alone where there is one."""
    values = [record[key] for record in group]
    shown = [mean(group, key)] if len(group) == 1 else [mean(group, key), min(values), max(values)]
    # Adding 0 turns a rounded -0 into 0.
    first, *ends = [f"{round(value, digits) + 0:.{digits}f}" for value in shown]
    return f"{first} [{', '.join(ends)}]" if ends else first


def shared(
    one: Sequence[Record], other: Sequence[Record]
) -> tuple[Sequence[Record], Sequence[Record]]:
    """The draws that both groups have: only those saw the same text and answered the same items."""
    seeds = {record["seed"] for record in one} & {record["seed"] for record in other}
    first, second = ([r for r in group if r["seed"] in seeds] for group in (one, other))
    return first, second


@dataclass(frozen=True)
class Difference:
    """How much more accurate one row is than another on a task, over the draws of both."""

    cell: str
    value: float
    """Of the accuracy, in 0..1."""
    standard_error: float
    """Binomial, as if unpaired."""

    @property
    def in_errors(self) -> float:
        """In standard errors; 0 where both answer alike."""
        return self.value / self.standard_error if self.standard_error else 0.0


def difference(
    cell: str, ours: Sequence[Record], other: Sequence[Record], task: str
) -> Difference | None:
    """`ours` less `other` on a task; None where they have no draw in common."""
    pair = shared(ours, other)
    if not pair[0]:
        return None
    variance = 0.0
    for group in pair:
        p = mean(group, task)
        variance += p * (1 - p) / sum(int(record[f"{task}_items"]) for record in group)
    return Difference(cell, mean(pair[0], task) - mean(pair[1], task), math.sqrt(variance))


def tasks_of(groups: Groups, model: str) -> list[str]:
    """The tasks that the model's cells report."""
    some = next(group for (name, _, _), group in groups.items() if name == model)
    return [task for task in TASKS if task in some[0]]


def cells_of(groups: Groups) -> list[tuple[str, float]]:
    """(model, ratio) of all tables, in order."""
    found = {(model, ratio) for model, ratio, row in groups if row != DENSE}
    order = list(NAMES)
    return sorted(found, key=lambda cell: (order.index(cell[0]), cell[1]))


def table(groups: Groups, model: str, ratio: float, rows: Sequence[Row]) -> list[str]:
    """The lines of one table; the best of each column is bold."""
    tasks = tasks_of(groups, model)
    names = ["method", "layout", "blocks left", "all left", "KL", "perplexity", *tasks, "prune s"]
    lines = [f"| {' | '.join(names)} |", "|---|---|" + "---:|" * (len(names) - 2)]
    present = {
        row.name: groups[model, ratio, row.name]
        for row in rows
        if (model, ratio, row.name) in groups
    }
    best = {
        key: pick(present, key=lambda name, key=key: mean(present[name], key))
        for pick, keys in ((min, ("kl", "perplexity")), (max, tasks))
        for key in keys
    }
    dense = groups.get((model, 0, DENSE))
    if dense:
        lines.append(_line("dense", dense, dense, tasks, {}))
    for row in rows:
        if row.name in present:
            bold = {key for key, name in best.items() if name == row.name}
            lines.append(_line(row.label, present[row.name], dense, tasks, bold))
        else:
            lines.append(f"| {row.label} |{' - |' * (len(names) - 1)}")
    return lines


def _line(
    label: str,
    group: Sequence[Record],
    dense: Sequence[Record] | None,
    tasks: Sequence[str],
    bold: Iterable[str],
) -> str:
    values = {"kl": spread(group, "kl", 3), "perplexity": spread(group, "perplexity", 2)}
    values |= {task: f"{mean(group, task):.1%}" for task in tasks}
    for key in bold:
        values[key] = f"**{values[key]}**"
    layouts = "/".join(sorted({record["layout"] for record in group}))
    total = f"{mean(group, 'parameters') / dense[0]['parameters']:.1%}" if dense else "-"
    cells = [label, layouts, f"{mean(group, 'block_share'):.1%}", total, *values.values()]
    return f"| {' | '.join(cells)} | {mean(group, 'prune_s'):.0f} |"


def least_kl(groups: Groups, row: Row, others: Sequence[Row], kind: str) -> str:
    """In how many cells `row` has the least KL, and what was better elsewhere.

    Args:
        groups: all cells.
        row: whose claim it is.
        others: the rows that it is held against.
        kind: what these are, in the plural.
    """
    cells = [cell for cell in cells_of(groups) if (*cell, row.name) in groups]
    lost = []
    for model, ratio in cells:
        ahead: dict[str, tuple[float, float]] = {}
        for other in others:
            pair = shared(
                groups[model, ratio, row.name], groups.get((model, ratio, other.name), [])
            )
            if pair[0]:
                ahead[other.name] = (mean(pair[1], "kl"), mean(pair[0], "kl"))
        best = min(ahead, key=lambda name: ahead[name][0] - ahead[name][1], default=row.name)
        if ahead and ahead[best][0] < ahead[best][1]:
            theirs, ours = ahead[best]
            lost.append(f"{model} at {ratio:.0%} (`{best}` {theirs:.2g}, {ours:.2g})")
    text = (
        f"`{row.name}` has the least KL in {len(cells) - len(lost)} of {len(cells)} cells "
        f"(a model at a ratio) against {len(others)} {kind}"
    )
    return f"{text}; not in {'; '.join(lost)}." if lost else f"{text}."


def differences(groups: Groups, row: Row, other: Row) -> list[Difference]:
    """`row` less `other` in every cell and task that both have a draw of."""
    found = []
    for model, ratio in cells_of(groups):
        ours, theirs = (groups.get((model, ratio, one.name), []) for one in (row, other))
        for task in tasks_of(groups, model):
            found.append(difference(f"{model} {task}, {ratio:.0%}", ours, theirs, task))
    return [one for one in found if one is not None]


def zero_shot(groups: Groups, row: Row, others: Sequence[Row]) -> list[str]:
    """The table of accuracies of `row` against each other row, and what it comes to."""
    pairs = {other.label: differences(groups, row, other) for other in others}
    pairs = {label: found for label, found in pairs.items() if found}
    if not pairs:
        return []
    everything = [found for against in pairs.values() for found in against]
    behind = sum(found.in_errors < -1 for found in everything)
    far = sum(found.in_errors < -NORMAL_95 for found in everything)
    lines = [
        "",
        f"## Zero-shot, `{row.name}` against each row",
        "",
        "Points of accuracy that it has more, over the tasks and ratios of the tables below; each "
        "comparison is of the same draws and the same items. The standard error is that of two "
        "independent samples, larger than that of the same items. Of "
        f"{len(everything)} comparisons `{row.name}` is behind by more than one standard error in "
        f"{behind}, by more than {NORMAL_95} in {far}.",
        "",
        "| against | comparisons | mean | worst comparison | points | standard errors |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for label, found in pairs.items():
        worst = min(found, key=lambda one: one.in_errors)
        average = math.fsum(one.value for one in found) / len(found)
        error = math.sqrt(math.fsum(one.standard_error**2 for one in found)) / len(found)
        cells = [label, str(len(found)), f"{100 * average:+.1f} ± {100 * error:.1f}", worst.cell]
        cells += [f"{100 * worst.value:+.1f}", f"{worst.in_errors:+.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def page(records: Sequence[Record], rows: Sequence[Row], missing: Mapping[str, str]) -> str:
    """The Markdown page.

    Args:
        records: finished cells, one per model, ratio, row and seed.
        rows: the tables' lines in order.
        missing: rows that could not be run, with the reason.
    """
    groups = grouped(records)
    ours = [row for row in rows if row.ours]
    others = [row for row in rows if not row.ours]
    published = [row for row in others if row.published]
    kinds = {"published methods": published, "rows, paredown's own parts included": others}
    lines = ["# Pruning methods", "", *_explanation(records), ""]
    for row in ours:
        if any(row.name == name for _, _, name in groups):
            for kind, against in kinds.items():
                lines.append(f"- {least_kl(groups, row, against, kind)}")
    lines += [f"- not measured: `{name}` ({why})" for name, why in missing.items()]
    seeds = {record["seed"] for record in records}
    for row in ours:
        if {record["seed"] for record in records if record["row"] == row.name} == seeds:
            lines += zero_shot(groups, row, others)
    for model, ratio in cells_of(groups):
        lines += ["", f"## {NAMES[model]}, {ratio:.0%}", "", *table(groups, model, ratio, rows)]
    setups = sorted({f"{record['machine']}; {record['versions']}" for record in records})
    lines += ["", *setups, "", "Raw values: `benchmarks/results/pruning_methods.jsonl`; made by "]
    lines[-1] += "`benchmarks/pruning_methods.py`."
    return "\n".join(lines) + "\n"


def _explanation(records: Sequence[Record]) -> list[str]:
    seeds = sorted({record["seed"] for record in records})
    return [
        "The ratio is the share of attention and MLP parameters that was asked for; *blocks left* "
        "is the share of them that is really there, *all left* that of all parameters, embedding "
        "included. KL to the dense model in nats per token and perplexity on the same held-out "
        "documents, read only after pruning; every model is measured in float32 from the saved "
        "checkpoint (ShortGPT and SliceGPT style: in memory). Mean [lowest, highest] of "
        f"{len(seeds)} calibration draws (seeds {', '.join(map(str, seeds))}). Zero-shot: each "
        "draw answers another third of a task's items. Best in bold; a dash: not run, or refused "
        "(a Llama with biases needs heads that divide its hidden size). Times are of a machine "
        "with other work on it.",
    ]
