"""How far predicted peak memory is from the measured one, for bundles given on the command line.

    python benchmarks/memory_prediction.py BUNDLE [BUNDLE ...]

Each bundle runs a prompt that fills all but eight tokens of its context, on every engine that this
machine has for it. Prints a table and writes benchmarks/results/memory_prediction.jsonl.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from runtime_py.bundle import open_bundle
from runtime_py.schema import Protocol, to_json
from toolchain.devices import open_device
from toolchain.exporting.memory import PREDICTION_ERROR, engine_name, predict_bundle
from toolchain.store import write_text

JSONL = Path(__file__).resolve().parent / "results" / "memory_prediction.jsonl"
GENERATED = 8


def rows(bundle: Path) -> Iterator[dict[str, object]]:
    """One row per engine and prompt length."""
    manifest = open_bundle(bundle)
    engines = ["auto", "native"] if manifest.backend == "executorch" else ["auto"]
    with open_device("local") as device:
        device.prepare(bundle)
        for engine in engines:
            for prompt in (GENERATED, manifest.context_length - GENERATED):
                protocol = Protocol(
                    prompt_tokens=prompt, generated_tokens=GENERATED, engine=engine, phase="memory"
                )
                record = device.measure(bundle, protocol)
                name = engine_name(manifest, engine, remote=False)
                predicted = predict_bundle(manifest, name, prompt, prompt + GENERATED)
                peak = record.peak_rss_bytes or 0
                yield {
                    "bundle": bundle.name,
                    "quantization": manifest.quantization,
                    "engine": record.engine,
                    "prompt_tokens": prompt,
                    "measured_bytes": peak,
                    "predicted_bytes": predicted.total_bytes,
                    "error": predicted.total_bytes / peak - 1,
                    "parts": to_json(predicted),
                }


def main() -> None:
    """Print a table; exit 1 where a prediction is off by more than it may be."""
    found = []
    print("| bundle | engine | prompt | measured MB | predicted MB | error |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for path in map(Path, sys.argv[1:]):
        for row in rows(path):
            found.append(row)
            measured, predicted = (row[f"{k}_bytes"] for k in ("measured", "predicted"))
            print(
                f"| {row['bundle']} | {row['engine']} | {row['prompt_tokens']} "
                f"| {measured / 1e6:.1f} | {predicted / 1e6:.1f} | {row['error']:+.1%} |",
                flush=True,
            )
    write_text(JSONL, "".join(f"{json.dumps(row)}\n" for row in found))
    worst = max(abs(row["error"]) for row in found)
    print(f"worst: {worst:.1%}")
    if worst > PREDICTION_ERROR:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
