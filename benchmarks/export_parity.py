"""Whether the exported files compute what transformers computes, dense and pruned.

    PAREDOWN_ASSETS=../shared/assets python benchmarks/export_parity.py

For each bundle of `stories3m.py`: the parity gate's numbers on held-out stories (every position,
prefill and step decode), and 64 greedy tokens after 20 prompts against transformers' `generate` of
the same checkpoint loaded by plain `AutoModelForCausalLM`. Writes JSON lines and
docs/benchmarks/export_parity.md.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch
import transformers
from stories3m import EVALUATION, ROOT, make_bundles, sources

from runtime_py.engines import open_engine
from runtime_py.generate import generate
from runtime_py.schema import Manifest, to_json
from toolchain.model.checkpoint import open_checkpoint
from toolchain.store import write_text
from toolchain.validation.parity import PARITY_DOCUMENTS, judge
from toolchain.validation.text import parity_sequences, read_gate_text

JSONL = ROOT / "benchmarks" / "results" / "export_parity.jsonl"
MARKDOWN = ROOT / "docs" / "benchmarks" / "export_parity.md"
PROMPTS = 20
NEW_TOKENS = 64
WAYS = ("prefill", "decode", "decode_after_prefill")
FLOAT_NOISE_NATS = 1e-7
"""Of a KL that is nearly nothing: float16 weights."""


def continuations(
    checkpoint: Path, prompts: list[list[int]], manifest: Manifest
) -> list[list[int]]:
    """Greedy continuations by transformers alone."""
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        generated = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=manifest.eos_token_ids,
            pad_token_id=manifest.eos_token_ids[0],
        )
        found.append(generated[0, len(prompt) :].tolist())
    return found


def row(backend: str, quant: str, name: str, bundle: Path, manifest: Manifest) -> dict[str, Any]:
    """One bundle against its checkpoint; greedy text only where nothing is rounded."""
    checkpoint = open_checkpoint(sources()[name])
    text = read_gate_text(str(EVALUATION), checkpoint.tokenizer())
    engine = open_engine(bundle, manifest, threads=1)
    sequences = parity_sequences(text.documents, manifest.context_length, PARITY_DOCUMENTS)
    gate = judge(engine, manifest, checkpoint, sequences)
    found = {
        "backend": backend,
        "quantisation": quant,
        "model": name,
        "gate": to_json(gate),
        "engine": engine.versions,
    }
    if quant == "none":
        prompts = [ids[: 2 + 3 * i] for i, ids in enumerate(text.documents[:PROMPTS])]
        expected = continuations(checkpoint.path, prompts, manifest)
        written = [list(generate(engine, p, NEW_TOKENS, manifest.eos_token_ids)) for p in prompts]
        found["greedy_identical"] = sum(a == b for a, b in zip(expected, written, strict=True))
    return found


def markdown(rows: list[dict[str, Any]]) -> str:
    """The page for people."""
    lines = [
        "# Do the exported files compute what transformers computes?",
        "",
        f"Written by `python benchmarks/export_parity.py`; raw in `{JSONL.relative_to(ROOT)}`.",
        "stories3M, dense and pruned by 35% (MLP and attention), context 256, held-out stories; "
        f"greedy text: {NEW_TOKENS} tokens after {PROMPTS} prompts of 2 to {2 + 3 * (PROMPTS - 1)} "
        "tokens against transformers' `generate`. Differences, SQNR and top-1 are from torch with "
        "the same rounding, the worst of prefill and decode; KL is to the model in float32, of the "
        "artifact and of the torch model that rounds like it.",
        "",
        "| backend | weights | model | positions | largest difference | SQNR dB | top-1 | KL, "
        "nats | KL in torch | ratio | same greedy text | G1 |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for r in rows:
        measures = r["gate"]["measures"]
        worst = max(measures[f"{way}_max_abs_logit"]["value"] for way in WAYS)
        top1 = min(measures[f"{way}_top1"]["value"] for way in WAYS)
        sqnr = min(measures[f"{way}_sqnr_db"]["value"] for way in WAYS)
        same = f"{r['greedy_identical']} of {PROMPTS}" if "greedy_identical" in r else ""
        lines.append(
            f"| {r['backend']} | {r['quantisation']} | {r['model']} "
            f"| {measures['positions']['value']:,} | {worst:.1e} | {sqnr:.0f} | {top1:.2%} "
            f"| {_damage(measures)} | {same} | {r['gate']['outcome']} |"
        )
    versions = {k: v for r in rows for k, v in r["engine"].items()}
    versions |= {"torch": torch.__version__, "transformers": transformers.__version__}
    lines += ["", f"{platform.platform()}, Python {platform.python_version()}; "]
    lines[-1] += ", ".join(f"{k} {v}" for k, v in sorted(versions.items())) + "."
    return "\n".join(lines) + "\n"


def damage(measures: dict[str, Any]) -> tuple[float, float] | None:
    """KL to float32 of the artifact and of its scheme in torch; None where nothing is rounded."""
    if "to_float_kl_nats" not in measures:
        return None
    return measures["to_float_kl_nats"]["value"], measures["torch_to_float_kl_nats"]["value"]


def _damage(measures: dict[str, Any]) -> str:
    found = damage(measures)
    if found is None:
        return " | | "
    return f"{found[0]:.2e} | {found[1]:.2e} | {found[0] / found[1]:.3f}"


def main() -> None:
    """Compare every bundle, write both files, and hold the claims."""
    torch.set_num_threads(1)
    rows = [row(*way, *bundle) for way, bundle in make_bundles().items()]
    write_text(JSONL, "".join(json.dumps(r, separators=(",", ":")) + "\n" for r in rows))
    write_text(MARKDOWN, markdown(rows))
    print(MARKDOWN.read_text(encoding="utf-8"))
    for r in rows:
        assert r["gate"]["outcome"] == "PASS", r
        assert r.get("greedy_identical", PROMPTS) == PROMPTS, r
        found = damage(r["gate"]["measures"])
        assert found is None or abs(found[0] - found[1]) <= 0.1 * found[1] + FLOAT_NOISE_NATS, r


if __name__ == "__main__":
    main()
