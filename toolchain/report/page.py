"""The report as one self-contained HTML file: no network, no script.

Every number stands in a `data` element that names its place in the summary, so that what is read
is what the JSON says.
"""

from __future__ import annotations

from typing import Any

from toolchain.report.figures import (
    latency_figure,
    layers_figure,
    memory_figure,
    pareto_figure,
    stages_figure,
    temperature_figure,
)
from toolchain.report.numbers import at, shown

Json = dict[str, Any]

ROWS = (
    ("prefill_tok_s", "prefill", "number", "tok/s"),
    ("decode_tok_s", "decode", "number", "tok/s"),
    ("ttft_ms", "time to first token", "number", "ms"),
    ("itl_ms_p50", "time per token, median", "number", "ms"),
    ("itl_ms_p90", "time per token, 90%", "number", "ms"),
    ("itl_ms_p99", "time per token, 99%", "number", "ms"),
    ("load_cold_ms", "load, cold cache", "number", "ms"),
    ("load_warm_ms", "load, warm cache", "number", "ms"),
    ("peak_rss_bytes", "peak memory of the process", "megabytes", ""),
    ("peak_pss_bytes", "peak PSS", "megabytes", ""),
)
"""(key of a summary, words, style, unit) of a measurement."""

WORDS = {
    "PASS": "Ship",
    "FAIL": "Hold",
    "INCONCLUSIVE": "Hold: inconclusive",
    "NOT VALIDATED": "Not validated",
}


def render_page(summary: Json) -> str:
    """The HTML of a summary; several runs are compared first, then shown one by one."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("toolchain.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def number(pointer: str, style: str = "number") -> Markup:
        value = at(summary, pointer)
        text = shown(value, style)
        return Markup('<data data-key="{}" data-style="{}" value="{}">{}</data>').format(
            pointer, style, "" if value is None else value, text
        )

    environment.globals.update(number=number, words=WORDS, rows=ROWS, title=_title(summary))
    figures = [_figures(run) for run in summary["runs"]]
    points = pareto_points(summary)
    return environment.get_template("report.html.j2").render(
        summary=summary,
        figures=figures,
        pareto=pareto_figure(points) if len(points) > 1 and len(figures) > 1 else None,
    )


def pareto_points(summary: Json) -> list[Json]:
    """Every bundle with a perplexity ratio: its bytes, the ratio and its upper bound."""
    points = []
    for run in summary["runs"]:
        for bundle in run["bundles"]:
            ratio = quality_measures(bundle).get("perplexity_ratio")
            if ratio and ratio["value"] is not None:
                label = bundle["name"]
                if len(summary["runs"]) > 1:
                    label = f"{run['name']}: {label}"
                points.append(
                    {
                        "label": label,
                        "bytes": bundle["bytes"],
                        "ratio": ratio["value"],
                        "high": ratio["high"],
                        "passed": bundle["verdict"]["outcome"] == "PASS",
                    }
                )
    return points


def quality_measures(bundle: Json) -> Json:
    """The measures of the bundle's quality gate; empty where it did not run."""
    gates = bundle["verdict"]["gates"] if bundle["verdict"] else []
    return next((gate["measures"] for gate in gates if gate["gate"] == "G2"), {})


def _title(summary: Json) -> str:
    runs = summary["runs"]
    if len(runs) > 1:
        return f"{len(runs)} runs compared"
    return f"{runs[0]['model']}: {WORDS[runs[0]['outcome']].lower()}"


def _figures(run: Json) -> Json:
    return {
        "layers": layers_figure(run) if run["pruning"] else None,
        "stages": stages_figure(run) if run["pruning"] and run["pruning"]["stages"] else None,
        "bundles": [
            {
                "latency": latency_figure(bundle["measured"]) if bundle["measured"] else None,
                "temperature": (
                    temperature_figure(bundle["measured"]) if bundle["measured"] else None
                ),
                "memory": memory_figure(bundle),
            }
            for bundle in run["bundles"]
        ],
    }
