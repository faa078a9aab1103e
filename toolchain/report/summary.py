"""One or more run directories as plain JSON: all that the page, the Markdown and the card show.

Torch-free, and nothing is computed here that a run did not find but ratios of two of its numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime_py.schema import MANIFEST_NAME
from toolchain import __version__
from toolchain.errors import BadRequestError
from toolchain.report.run import BASELINE
from toolchain.steps import RUN_RECORD, RUN_SCHEMA
from toolchain.store import CHECKPOINT_RECORD
from toolchain.validation.verdict import combined

SUMMARY_SCHEMA = "paredown.summary/1"
COMPARED = ("decode_tok_s", "prefill_tok_s", "ttft_ms", "peak_rss_bytes")
"""Rows of a measurement that are set beside the dense model's."""

Json = dict[str, Any]


def summarize(folders: Sequence[Path]) -> Json:
    """What the runs in `folders` found.

    Returns:
        `schema`, `paredown_version` and `runs`; each run has `name`, `model`, `outcome`,
        `parameters`, `layers`, `pruning` (null for a dense run), `bundles` and `steps`.

    Raises:
        BadRequestError: a folder that holds no finished run, or is given twice.
    """
    resolved = [folder.resolve() for folder in folders]
    for folder in folders:
        if resolved.count(folder.resolve()) > 1:
            raise BadRequestError(f"{folder} is given twice", "give every run once")
    runs = [_run(folder) for folder in folders]
    beside = [folder / BASELINE for folder in folders]
    _add_baselines(runs, [_run(f) for f in beside if (f / RUN_RECORD).is_file()])
    return {"schema": SUMMARY_SCHEMA, "paredown_version": __version__, "runs": runs}


def _run(folder: Path) -> Json:
    path = folder / RUN_RECORD
    log = _read(path) if path.is_file() else {}
    if log.get("schema") != RUN_SCHEMA:
        raise BadRequestError(f"{folder} holds no run", "give a folder made by 'paredown run'")
    if "result" not in log:
        raise BadRequestError(
            f"the run in {folder} is not finished", "give its 'paredown run' again; it goes on"
        )
    pruned = folder / "pruned" / CHECKPOINT_RECORD
    record = _read(pruned) if pruned.is_file() else None
    bundles = [_bundle(folder, name) for name in log["result"]["bundles"]]
    provenance = bundles[0]["provenance"]
    return {
        "name": folder.resolve().name,
        "folder": str(folder),
        "model": provenance["dense"]["name"],
        "outcome": _outcome(bundles),
        "parameters": {
            "before": provenance["dense"]["parameters"],
            "after": log["result"]["parameters"]["after"],
            "share": log["result"]["parameters"]["after"] / provenance["dense"]["parameters"],
        },
        "layers": _layers(record, bundles[0]["layers"]),
        "pruning": None if record is None else _pruning(record),
        "bundles": bundles,
        "steps": [{"name": n, "seconds": s["seconds"]} for n, s in log["steps"].items()],
        "recipe": f"{folder}/recipe.yaml" if (folder / "recipe.yaml").is_file() else None,
    }


def _read(path: Path) -> Json:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRequestError(f"cannot read {path}: {error}", "run it again") from error
    if not isinstance(value, dict):
        raise BadRequestError(f"{path} is no JSON object", "run it again")
    return value


def _outcome(bundles: list[Json]) -> str:
    """`FAIL` if any bundle fails, `PASS` if all pass, null verdicts left aside."""
    outcomes = {b["verdict"]["outcome"] for b in bundles if b["verdict"]}
    return combined(outcomes) if outcomes else "NOT VALIDATED"


def _layers(record: Json | None, shapes: list[Json]) -> list[Json]:
    """Every layer of the dense model with its shape before and after; null where it went."""
    if record is None:
        return [{"index": i, "before": s, "after": s} for i, s in enumerate(shapes)]
    before, after = (record["shapes"][key]["layers"] for key in ("before", "after"))
    kept = record.get("layers", list(range(len(before))))
    place = dict(zip(kept, after, strict=True))
    return [{"index": i, "before": s, "after": place.get(i)} for i, s in enumerate(before)]


def _pruning(record: Json) -> Json:
    held_out = record["held_out"]
    measure = next((m for m in ("kl", "cosine_distance") if m in held_out), None)
    stages: Json = next((v for k, v in held_out.items() if k.endswith("_by_stage")), {})
    return {
        "settings": record["settings"],
        "importance": record["importance"],
        "recovery": record["recovery"],
        "measure": measure,
        "divergence": held_out.get(measure) if measure else None,
        "stages": [
            {"name": name, "divergence": stages[name]} for name in sorted(stages, key=_stage_order)
        ],
        "perplexity_before": held_out["perplexity_before"],
        "perplexity_after": held_out["perplexity_after"],
        "calibration": record["calibration"],
        "seconds": record["seconds"],
        "peak_rss_bytes": record["peak_rss_bytes"],
        "structure_sha256": record["structure_sha256"],
    }


def _stage_order(name: str) -> int:
    """Stages as they come: without recovery, recovered, then what was tuned over all layers."""
    first = ("unrecovered", "recovered")
    return first.index(name) if name in first else len(first)


def _bundle(folder: Path, name: str) -> Json:
    manifest = _read(folder / "bundles" / name / MANIFEST_NAME)
    verdict, report = folder / "verdicts" / f"{name}.json", folder / "reports" / f"{name}.json"
    return {
        "name": name,
        "title": manifest["name"],
        "backend": manifest["backend"],
        "quantization": manifest["quantization"],
        "context_length": manifest["context_length"],
        "bytes": sum(entry["bytes"] for entry in manifest["files"]),
        "parameters": manifest["parameters"],
        "layers": manifest["layers"],
        "predicted_memory": manifest["predicted_memory"],
        "parity": manifest.get("parity", []),
        "provenance": {
            key: manifest["provenance"][key] for key in ("dense", "checkpoint", "paredown_version")
        },
        "backend_versions": manifest["backend_versions"],
        "verdict": _verdict(_read(verdict)) if verdict.is_file() else None,
        "measured": _measured(_read(report)) if report.is_file() else None,
    }


def _verdict(verdict: Json) -> Json:
    keys = ("outcome", "sentence", "gates", "notes", "suggestions", "criteria", "criteria_sha256")
    return {key: verdict[key] for key in keys}


def _measured(report: Json) -> Json:
    launches = report["launches"]
    keys = ("device_uri", "validity", "validity_reasons", "emulated", "summary", "protocol")
    found = {key: report[key] for key in keys}
    found["protocol_fingerprint"] = report["protocol_fingerprint"]
    found["created_at"] = report["created_at"]
    found["device"] = launches[0]["device"]
    found["engine"] = {"name": launches[0]["engine"], **launches[0]["engine_versions"]}
    found["token_ms"] = [
        [ns / 1e6 for sample in launch["samples"] for ns in sample["token_ns"]]
        for launch in launches
    ]
    found["temperature_celsius"] = [
        launch["device"].get("temperature_celsius", {}).get("value") for launch in launches
    ]
    return found


def _add_baselines(runs: list[Json], beside: list[Json]) -> None:
    """Beside each pruned bundle, the dense bundle of the same backend and quantisation, if any."""
    bundles = [(run, bundle) for run in [*runs, *beside] for bundle in run["bundles"]]
    dense = [(run, bundle) for run, bundle in bundles if _is_dense(bundle)]
    for run in runs:
        for bundle in run["bundles"]:
            bundle["baseline"] = None if _is_dense(bundle) else _baseline(bundle, dense)


def _baseline(bundle: Json, dense: list[tuple[Json, Json]]) -> Json | None:
    """A pruned bundle against the first of its kind in `dense`, pairs of run and bundle."""
    same = ((run, other) for run, other in dense if _same_kind(bundle, other))
    return next((_against(bundle, other, run["name"]) for run, other in same), None)


def _is_dense(bundle: Json) -> bool:
    return bool(bundle["provenance"]["dense"] == bundle["provenance"]["checkpoint"])


def _same_kind(bundle: Json, dense: Json) -> bool:
    keys = ("backend", "quantization", "context_length")
    same = all(bundle[key] == dense[key] for key in keys)
    one, other = (b["provenance"]["dense"]["weights_sha256"] for b in (bundle, dense))
    return same and one == other


def _against(bundle: Json, dense: Json, run: str) -> Json:
    found: Json = {
        "run": run,
        "bundle": dense["name"],
        "bytes": dense["bytes"],
        "bytes_ratio": bundle["bytes"] / dense["bytes"],
        "rows": {},
    }
    ours, theirs = bundle["measured"], dense["measured"]
    if not (ours and theirs) or ours["protocol_fingerprint"] != theirs["protocol_fingerprint"]:
        return found
    if ours["device_uri"] != theirs["device_uri"]:
        return found
    for key in COMPARED:
        if key in ours["summary"] and key in theirs["summary"]:
            found["rows"][key] = _ratio(ours["summary"][key], theirs["summary"][key])
    return found


def _ratio(one: Json, other: Json) -> Json:
    """one / other; the 95% interval adds the squares of both half-widths on the log scale.

    The launches of the two were not interleaved, so a drift of the machine between them is in it:
    `paredown compare --interleave` is the stricter way.
    """
    ratio = one["median"] / other["median"]
    found: Json = {"before": other, "after": one, "ratio": ratio, "low": None, "high": None}
    if all(e[key] is not None and e[key] > 0 for e in (one, other) for key in ("low", "high")):
        halves = [math.log(e["high"] / e["low"]) / 2 for e in (one, other)]
        spread = math.exp(math.hypot(*halves))
        found |= {"low": ratio / spread, "high": ratio * spread}
    return found
