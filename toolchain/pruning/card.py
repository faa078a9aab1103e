"""The model card of a pruned checkpoint, from its record alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from toolchain.pruning.request import Request

_PARTS = {"all": "attention and MLP", "mlp": "the MLP", "attention": "attention"}
_SHAPE_KEYS = ("num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size")


def model_card(request: Request, record: dict[str, Any]) -> str:
    """README.md with the Hub's metadata: what was done, what it cost, how to load it.

    Args:
        request: what was asked for.
        record: `checkpoint_record`.
    """
    source = request.source
    head = _metadata(source.path, record["dense"]["name"])
    settings = request.settings
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=True).strip(),
        "---",
        "",
        f"# {record['dense']['name']}, pruned by {settings.ratio:.0%}",
        "",
        f"Made by paredown {record['paredown_version']} from `{record['dense']['name']}` "
        f"(weights sha256 `{record['dense']['weights_sha256']}`), without fine-tuning.",
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
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'model = AutoModelForCausalLM.from_pretrained("PATH")',
        'tokenizer = AutoTokenizer.from_pretrained("PATH")',
        "```",
        "",
        "The full record, every step's decision included, is in `paredown.json`; the kept neurons "
        "and query heads are in `structure.safetensors`.",
    ]
    return "\n".join(lines) + "\n"


def _metadata(folder: Path, name: str) -> dict[str, Any]:
    head: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
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
    settings, text = record["settings"], record["calibration"]
    recovery = settings["recovery"]
    if record["recovery"] != recovery:
        recovery += " (held-out text preferred the weights without it, so none was applied)"
    kept = sum(step["chosen"] != "none" for step in record["steps"])
    return [
        f"- removed: {settings['ratio']:.0%} of the parameters of {_PARTS[settings['parts']]} "
        f"(MLP widths in multiples of {settings['round_to']})",
        f"- importance: {record['importance']}",
        f"- recovery: {recovery}; kept at {kept} of {len(record['steps'])} steps, each decided by "
        "KL to the dense model on held-out text",
        f"- calibration: `{text['source']}`, {text['samples']} samples, {text['tokens']} tokens, "
        f"seed {text['seed']}, token ids sha256 `{text['token_ids_sha256']}`",
        f"- structure sha256: `{record['structure_sha256']}`",
    ]


def _shapes(record: dict[str, Any]) -> list[str]:
    before, after = record["shapes"]["before"], record["shapes"]["after"]
    rows = [(key, before["layers"][0][key], after["layers"][0][key]) for key in _SHAPE_KEYS]
    rows.insert(0, ("layers", len(before["layers"]), len(after["layers"])))
    rows.append(
        ("attention + MLP parameters", before["block_parameters"], after["block_parameters"])
    )
    rows.append(("parameters", before["parameters"], after["parameters"]))
    table = [f"| {name} | {old:,} | {new:,} |" for name, old, new in rows]
    return ["| | before | after |", "|---|---:|---:|", *table]


def _quality(record: dict[str, Any]) -> list[str]:
    held = record["held_out"]
    before, after = held["perplexity_before"], held["perplexity_after"]
    return [
        "| | before | after |",
        "|---|---:|---:|",
        f"| perplexity ± standard error | {before['value']:.3f} ± {before['standard_error']:.3f} "
        f"| {after['value']:.3f} ± {after['standard_error']:.3f} |",
        f"| KL to the dense model, nats per token | 0 | {held['kl']:.4f} |",
        "",
        f"{after['documents']} samples, {after['tokens']} predicted tokens, none of them used for "
        "calibration; standard errors treat samples as clusters. Without recovery the KL of the "
        f"same structure is {held['kl_unrecovered']:.4f}.",
    ]
