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


def row(backend: str, name: str, bundle: Path, manifest: Manifest) -> dict[str, Any]:
    """One bundle against its checkpoint."""
    checkpoint = open_checkpoint(sources()[name])
    text = read_gate_text(str(EVALUATION), checkpoint.tokenizer())
    engine = open_engine(bundle, manifest, threads=1)
    sequences = parity_sequences(text.documents, manifest.context_length, PARITY_DOCUMENTS)
    gate = judge(engine, manifest, checkpoint, sequences)
    prompts = [ids[: 2 + 3 * i] for i, ids in enumerate(text.documents[:PROMPTS])]
    expected = continuations(checkpoint.path, prompts, manifest)
    written = [list(generate(engine, p, NEW_TOKENS, manifest.eos_token_ids)) for p in prompts]
    return {
        "backend": backend,
        "model": name,
        "gate": to_json(gate),
        "greedy_identical": sum(a == b for a, b in zip(expected, written, strict=True)),
        "prompts": PROMPTS,
        "engine": engine.versions,
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """The page for people."""
    lines = [
        "# Do the exported files compute what transformers computes?",
        "",
        f"Written by `python benchmarks/export_parity.py`; raw in `{JSONL.relative_to(ROOT)}`.",
        "stories3M, dense and pruned by 35% (MLP and attention), float32, context 256, held-out "
        f"stories; greedy text: {NEW_TOKENS} tokens after {PROMPTS} prompts of 2 to "
        f"{2 + 3 * (PROMPTS - 1)} tokens against transformers' `generate`.",
        "",
        "| backend | model | positions | largest logit difference | top-1 agreement | same greedy "
        "text | G1 |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for r in rows:
        measures = r["gate"]["measures"]
        worst = max(v["value"] for k, v in measures.items() if k.endswith("max_abs_logit"))
        top1 = min(v["value"] for k, v in measures.items() if k.endswith("top1"))
        lines.append(
            f"| {r['backend']} | {r['model']} | {measures['positions']['value']:,} | {worst:.1e} "
            f"| {top1:.2%} | {r['greedy_identical']} of {r['prompts']} | {r['gate']['outcome']} |"
        )
    versions = {k: v for r in rows for k, v in r["engine"].items()}
    versions |= {"torch": torch.__version__, "transformers": transformers.__version__}
    lines += ["", f"{platform.platform()}, Python {platform.python_version()}; "]
    lines[-1] += ", ".join(f"{k} {v}" for k, v in sorted(versions.items())) + "."
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compare every bundle, write both files, and hold the claims."""
    torch.set_num_threads(1)
    rows = [row(b, n, *bundle) for (b, n), bundle in make_bundles().items()]
    write_text(JSONL, "".join(json.dumps(r, separators=(",", ":")) + "\n" for r in rows))
    write_text(MARKDOWN, markdown(rows))
    print(MARKDOWN.read_text(encoding="utf-8"))
    for r in rows:
        assert r["gate"]["outcome"] == "PASS", r
        assert r["greedy_identical"] == PROMPTS, r


if __name__ == "__main__":
    main()
