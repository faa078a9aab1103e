"""The model card of a run, in the Hub's format, with what the gates measured in its metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from toolchain.report.numbers import shown
from toolchain.report.page import quality_measures

Json = dict[str, Any]

FENCE = "---\n"
METRICS = {
    "artifact_perplexity": ("perplexity", "Perplexity"),
    "perplexity_ratio": ("perplexity_ratio", "Perplexity relative to the dense model"),
    "kl_nats": ("kl_divergence", "KL divergence from the dense model, nats per token"),
    "top1_agreement": ("top1_agreement", "Top-1 agreement with the dense model"),
}
"""Measure of the quality gate -> the Hub's metric type and a name."""


def evaluated_card(run: Json, card: str) -> str:
    """`card` with the run's results: `model-index` in its metadata and a section at its end.

    Args:
        run: one run of a summary.
        card: the pruned checkpoint's README.md, metadata between two lines of dashes first.
    """
    _, head, body = card.split(FENCE, 2)
    metadata = yaml.safe_load(head)
    metadata["model-index"] = [
        {
            "name": f"{run['model']}-pruned",
            "results": [_result(bundle) for bundle in run["bundles"] if quality_measures(bundle)],
        }
    ]
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    return f"{FENCE}{front}{FENCE}{body.rstrip()}\n\n{_section(run)}"


def read_card(run: Json) -> str | None:
    """README.md of the run's pruned checkpoint; None where nothing was pruned."""
    path = Path(run["folder"]) / "pruned" / "README.md"
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _result(bundle: Json) -> Json:
    criteria, measures = bundle["verdict"]["criteria"], quality_measures(bundle)
    return {
        "task": {"type": "text-generation", "name": f"{bundle['name']}, by its own engine"},
        "dataset": {
            "name": criteria["text"],
            "type": "text",
            "revision": criteria["text_sha256"],
        },
        "metrics": [
            {"type": kind, "name": name, "value": measures[key]["value"]}
            for key, (kind, name) in METRICS.items()
            if key in measures and measures[key]["value"] is not None
        ]
        + [
            {
                "type": "accuracy",
                "name": gate["title"],
                "value": gate["measures"]["artifact_accuracy"]["value"],
            }
            for gate in bundle["verdict"]["gates"]
            if "artifact_accuracy" in gate["measures"]
        ],
    }


def _section(run: Json) -> str:
    lines = ["## Evaluation of the exported files", ""]
    for bundle in run["bundles"]:
        verdict = bundle["verdict"]
        lines.append(f"- **{bundle['name']}**: {verdict['sentence'] if verdict else 'not judged'}")
    lines += ["", "| file | bytes | decode, tok/s | device |", "|---|---:|---:|---|"]
    for bundle in run["bundles"]:
        measured = bundle["measured"]
        speed = measured["summary"].get("decode_tok_s") if measured else None
        device = f"{measured['device_uri']}, {measured['validity']}" if measured else "not measured"
        lines.append(
            f"| {bundle['name']} | {bundle['bytes']:,} | "
            f"{shown(speed['median'] if speed else None, 'number')} | {device} |"
        )
    return "\n".join(lines) + "\n"
