"""What a directory is: a checkpoint or a bundle, as facts and as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime_py.bundle import open_bundle
from runtime_py.schema import MANIFEST_NAME, Manifest, ParityRecord, to_json
from toolchain.errors import BadRequestError
from toolchain.model.checkpoint import open_checkpoint
from toolchain.model.families import ADAPTIVE
from toolchain.model.family import DIVERGENCES


def describe(directory: Path) -> tuple[dict[str, Any], str]:
    """Facts and text of a bundle (hashes verified) or a checkpoint.

    Raises:
        BadRequestError: neither of the two, or broken.
    """
    if (directory / MANIFEST_NAME).is_file():
        manifest = open_bundle(directory)
        return to_json(manifest), bundle_text(directory, manifest)
    if (directory / "config.json").is_file():
        facts = _checkpoint_facts(directory)
        return facts, _checkpoint_text(directory, facts)
    raise BadRequestError(
        f"{directory} is neither a bundle ({MANIFEST_NAME}) nor a checkpoint (config.json)"
    )


def _checkpoint_text(directory: Path, facts: dict[str, Any]) -> str:
    """A checkpoint in a few lines."""
    layers = facts["layers"]
    lines = [
        f"checkpoint {directory}: {facts['model_type']}, {facts['parameters']:,} parameters, "
        f"{facts['dtype']}",
        f"{len(layers)} layers, {_span(layers, 'num_attention_heads')} heads, "
        f"{_span(layers, 'num_key_value_heads')} KV heads, "
        f"intermediate_size {_span(layers, 'intermediate_size')}",
    ]
    if facts["layout"] == "adaptive":
        lines.append("adaptive: transformers loads it with trust_remote_code=True")
    return "\n".join([*lines, *_pruning_lines(facts["record"])])


def _span(layers: list[dict[str, int]], name: str) -> str:
    """A width of every layer: one number, or the least and the greatest."""
    least, greatest = (limit(layer[name] for layer in layers) for limit in (min, max))
    return str(least) if least == greatest else f"{least} to {greatest}"


def bundle_text(directory: Path, manifest: Manifest) -> str:
    """A bundle in a few lines."""
    size = sum(entry.bytes for entry in manifest.files)
    provenance = manifest.provenance
    checks = len(manifest.golden_cases) or len(manifest.golden_embeddings)
    return "\n".join(
        [
            f"bundle {directory}: {manifest.name}, {manifest.backend} for {manifest.target}, "
            f"quantisation {_quantization(manifest)}, context {manifest.context_length}",
            f"{manifest.parameters:,} parameters in {len(manifest.layers)} layers, "
            f"{size / 1e6:.1f} MB in {len(manifest.files)} files, {checks} golden cases",
            *_parity_lines(manifest.parity),
            *_memory_lines(manifest),
            f"from {provenance.dense.name} (weights {provenance.dense.weights_sha256[:12]}), "
            + ("pruned" if provenance.pruning else "not pruned"),
        ]
    )


def _quantization(manifest: Manifest) -> str:
    words = [manifest.quantization]
    if manifest.group_size:
        words.append(f"groups of {manifest.group_size}")
    if manifest.quantization != "none":
        words.append(f"embedding {manifest.embedding_bits} bits")
    return ", ".join(words)


def _parity_lines(records: list[ParityRecord]) -> list[str]:
    """How far the artifact is from torch, and from the checkpoint in float32."""
    lines = []
    for record in records:
        if record.candidate != "artifact":
            continue
        reference = "float32" if record.reference == "float" else "torch rounded alike"
        word = {True: " (passed)", False: " (FAILED: not a good bundle)", None: ""}[record.passed]
        lines.append(f"{record.output} against {reference}: {_differences(record)}{word}")
    return lines


def _differences(record: ParityRecord) -> str:
    found = [f"max {record.max_abs:.2g}"]
    if record.sqnr_db is not None:
        found.append(f"SQNR {record.sqnr_db:.1f} dB")
    if record.top1 is not None:
        found.append(f"top-1 {record.top1:.4f}")
    if record.kl_nats is not None:
        found.append(f"KL {record.kl_nats:.2g} nats")
    if record.cosine is not None:
        found.append(f"smallest cosine {record.cosine:.5f}")
    return ", ".join(found)


def _memory_lines(manifest: Manifest) -> list[str]:
    predicted = manifest.predicted_memory.total_bytes / 1e6
    lines = [f"predicted peak memory {predicted:.1f} MB plus the engine's own"]
    for what, size in (
        ("planned arena", manifest.planned_arena_bytes),
        ("packed weights", manifest.packed_weights_bytes),
    ):
        if size is not None:
            lines[0] += f"; {what} {size / 1e6:.1f} MB"
    return lines


def _checkpoint_facts(directory: Path) -> dict[str, Any]:
    checkpoint = open_checkpoint(directory)
    spec = checkpoint.spec
    return {
        "model_type": spec.model_type,
        "dtype": spec.dtype,
        "parameters": spec.parameters,
        "layout": "adaptive" if ADAPTIVE in checkpoint.config else "uniform",
        "layers": to_json(list(spec.layers)),
        "record": checkpoint.record,
    }


def _pruning_lines(record: dict[str, Any]) -> list[str]:
    if not record:
        return ["not made by paredown prune"]
    held_out = record["held_out"]
    recovered = sum(step["chosen"] != "none" for step in record["steps"])
    return [
        f"pruned from {record['dense']['name']} (weights {record['dense']['weights_sha256'][:12]}) "
        f"by {record['importance']}; {record['recovery']} kept at {recovered} of "
        f"{len(record['steps'])} steps",
        f"held-out {_perplexities(held_out)}{_divergence(held_out)}",
    ]


def _perplexities(held_out: dict[str, Any]) -> str:
    """Before and after; nothing for an encoder, which has none."""
    found = [held_out["perplexity_before"], held_out["perplexity_after"]]
    if None in found:
        return ""
    both = [f"{each['value']:.3f} ± {each['standard_error']:.3f}" for each in found]
    return f"perplexity {' → '.join(both)}, "


def _divergence(held_out: dict[str, Any]) -> str:
    key = next(key for key in DIVERGENCES if key in held_out)
    what, unit = DIVERGENCES[key]
    stages = ", ".join(f"{name} {value:.4f}" for name, value in held_out[f"{key}_by_stage"].items())
    return f"{what} {held_out[key]:.4f} {unit} ({stages})"
