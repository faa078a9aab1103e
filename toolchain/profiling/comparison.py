"""Comparisons for a person, and the exit code of several."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.errors import EXIT_HOLD, EXIT_INCONCLUSIVE, EXIT_OK
from toolchain.profiling.compare import Comparison, RatioRow

_SENTENCES = {
    "pass": "Pass: no gated row is worse by more than {margin:.0%}.",
    "regress": "Regression: {rows} worse by more than {margin:.0%}.",
    "inconclusive": "Inconclusive at {margin:.0%}: {rows}; more launches would decide.",
}


def comparison_table(comparison: Comparison) -> str:
    """Markdown: B over A, row by row."""
    how = "in turns (A B B A)" if comparison.interleaved else "from two runs"
    lines = [
        f"B **{comparison.name_b}** over A **{comparison.name_a}** on {comparison.device_uri}, "
        f"{comparison.protocol_label}, threads {comparison.threads}, {how}",
        "",
        "| measure | B / A | 95% interval | difference | gate |",
        "| --- | ---: | ---: | --- | --- |",
        *map(_line, comparison.rows),
        "",
    ]
    if comparison.margin is not None:
        open_rows = [r.key for r in comparison.rows if r.gate == comparison.outcome]
        sentence = _SENTENCES[comparison.outcome]
        lines.append(sentence.format(margin=comparison.margin, rows=", ".join(open_rows)))
    lines += [f"- {warning}" for warning in comparison.warnings]
    return "\n".join(lines).rstrip() + "\n"


def gravest(comparisons: Sequence[Comparison]) -> int:
    """One exit code for all rows: a regression before what is not clear."""
    codes = {comparison.exit_code for comparison in comparisons}
    return next((code for code in (EXIT_HOLD, EXIT_INCONCLUSIVE) if code in codes), EXIT_OK)


def _line(row: RatioRow) -> str:
    interval = "" if row.low is None or row.high is None else f"{row.low:.3f} to {row.high:.3f}"
    return f"| {row.key} | {row.ratio:.3f} | {interval} | {row.difference} | {row.gate or ''} |"
