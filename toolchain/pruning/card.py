"""The model card of a pruned checkpoint, from its record alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from toolchain.model.families import auto_class
from toolchain.model.family import DIVERGENCES
from toolchain.pruning.request import Request

_PARTS = {
    "all": "attention and MLP",
    "mlp": "the MLP",
    "attention": "attention",
    "layers": "attention and MLP",
}
_PIPELINES = {
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForMaskedLM": "fill-mask",
    "AutoModel": "feature-extraction",
}
_SHAPE_KEYS = ("num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size")


def model_card(request: Request, record: dict[str, Any]) -> str:
    """README.md with the Hub's metadata: what was done, what it cost, how to load it.

    Args:
        request: what was asked for.
        record: `checkpoint_record`.
    """
    source = request.source
    loader = auto_class(source.config)
    head = _metadata(source.path, record["dense"]["name"], _PIPELINES[loader])
    before, after = (record["shapes"][key]["parameters"] for key in ("before", "after"))
    tuned = request.settings.tune != "none"
    remote = request.settings.layout == "adaptive" and not request.settings.pad
    trust = ", trust_remote_code=True" * remote
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=True).strip(),
        "---",
        "",
        f"# {record['dense']['name']}, pruned by {1 - after / before:.0%}",
        "",
        f"Made by paredown {record['paredown_version']} from `{record['dense']['name']}` "
        f"(weights sha256 `{record['dense']['weights_sha256']}`), "
        f"{'with' if tuned else 'without'} fine-tuning.",
        "",
        "## Recipe",
        "",
        *_recipe(record),
        "",
        "## Shapes",
        "",
        *_shapes(record),
        "",
        "## Quality on held-out calibration text",
        "",
        *_quality(record),
        "",
        "## Load it",
        "",
        "```python",
        f"from transformers import {loader}, AutoTokenizer",
        "",
        f'model = {loader}.from_pretrained("PATH"{trust})',
        f'tokenizer = AutoTokenizer.from_pretrained("PATH"{trust})',
        "```",
        "",
        "The full record, every step's decision included, is in `paredown.json`; the kept neurons "
        "and query heads are in `structure.safetensors`.",
    ]
    return "\n".join(lines) + "\n"


def _metadata(folder: Path, name: str, pipeline: str) -> dict[str, Any]:
    head: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": pipeline,
        "base_model": name,
        "base_model_relation": "finetune",
        "tags": ["paredown", "pruning"],
    }
    licence = _licence(folder / "README.md")
    return {**head, "license": licence} if licence else head


def _licence(card: Path) -> str | None:
    """The licence in the dense model's own card, if it has one."""
    if not card.is_file():
        return None
    parts = card.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return None
    try:
        metadata = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return None
    licence = metadata.get("license") if isinstance(metadata, dict) else None
    return licence if isinstance(licence, str) else None


def _recipe(record: dict[str, Any]) -> list[str]:
    settings = record["settings"]
    recovery = record["recovery"]
    key, (what, _) = _divergence(record["held_out"])
    if recovery == "none" != settings["recovery"]:
        recovery = "none: held-out text preferred the weights as they were"
    chosen = sum(step["chosen"] != "none" for step in record["steps"])
    dropped = sorted(set(range(len(record["shapes"]["before"]["layers"]))) - set(record["layers"]))
    return [
        f"- asked for: {_asked(settings)}",
        f"- layers dropped: {', '.join(map(str, dropped)) or 'none'}",
        f"- layout {settings['layout']}, allocation {record['allocation']}"
        f"{', padded with zeros to one width' * settings['pad']}",
        f"- importance: {record['importance']}",
        f"- recovery: {recovery}; kept at {chosen} of {len(record['steps'])} steps, each judged by "
        f"{what} on held-out text",
        *(_polish_line(stage, key) for stage in record["polish"]),
        *_calibration_lines(record["calibration"]),
        f"- structure sha256: `{record['structure_sha256']}`",
    ]


def _divergence(held_out: dict[str, Any]) -> tuple[str, tuple[str, str]]:
    """The key of the distance to the dense model, and its words and unit."""
    return next((key, words) for key, words in DIVERGENCES.items() if key in held_out)


def _asked(settings: dict[str, Any]) -> str:
    if settings["params"] is not None:
        return f"at most {settings['params']} parameters"
    if settings["bytes"] is not None:
        return f"at most {settings['bytes']} of weights exported as {settings['bytes_of']}"
    if settings["latency_ms"] is not None:
        return f"at most {settings['latency_ms']:g} ms per token by {settings['latency_table']}"
    return (
        f"{settings['ratio']:.0%} fewer parameters of {_PARTS[settings['parts']]} (MLP widths in "
        f"multiples of {settings['round_to']})"
    )


def _polish_line(stage: dict[str, Any], key: str) -> str:
    name, best = stage["stage"].replace("_", " "), stage["best"]
    what = {"kl": "KL"}.get(key, key.replace("_", " "))
    if best["step"] == 0:
        return f"- {name}: did not lower held-out {what}, left out"
    start = stage["checks"][0][f"held_out_{key}"]
    return (
        f"- {name}: {best['step']} of {stage['steps']} steps, held-out {what} "
        f"{start:.4f} → {best[f'held_out_{key}']:.4f}"
    )


def _calibration_lines(text: dict[str, Any]) -> list[str]:
    return [
        f"- calibration: `{text['source']}`, {text['samples']} samples, {text['tokens']} tokens, "
        f"seed {text['seed']}, token ids sha256 `{text['token_ids_sha256']}`"
    ]


def _shapes(record: dict[str, Any]) -> list[str]:
    before, after = record["shapes"]["before"], record["shapes"]["after"]
    rows = [("layers", str(len(before["layers"])), str(len(after["layers"])))]
    for key in _SHAPE_KEYS:
        old, new = (_span(layer[key] for layer in shape["layers"]) for shape in (before, after))
        rows.append((key, old, new))
    for key, name in (("block_parameters", "attention + MLP parameters"), ("parameters",) * 2):
        rows.append((name, f"{before[key]:,}", f"{after[key]:,}"))
    table = [f"| {name} | {old} | {new} |" for name, old, new in rows]
    return ["| | before | after |", "|---|---:|---:|", *table]


def _span(values: Iterable[int]) -> str:
    """One number, or the least and the most."""
    found = sorted(set(values))
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"


def _quality(record: dict[str, Any]) -> list[str]:
    held = record["held_out"]
    before, after = held["perplexity_before"], held["perplexity_after"]
    key, (what, unit) = _divergence(held)
    stages = ", ".join(f"{name} {value:.4f}" for name, value in held[f"{key}_by_stage"].items())
    table = ["| | before | after |", "|---|---:|---:|"]
    text = record["calibration"]
    said = f"{text['held_out_samples']} samples, {text['held_out_tokens']} tokens"
    if before is not None:
        said = f"{after['documents']} samples, {after['tokens']} predicted tokens"
        table.append(
            f"| perplexity ± standard error | {before['value']:.3f} ± "
            f"{before['standard_error']:.3f} | {after['value']:.3f} ± "
            f"{after['standard_error']:.3f} |"
        )
    table.append(f"| {what}, {unit} | 0 | {held[key]:.4f} |")
    said += ", none of them used for calibration"
    said += "; standard errors treat samples as clusters" * (before is not None)
    return [*table, "", f"{said}. {what} by stage: {stages}."]
