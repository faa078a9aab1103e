"""KL to the dense model and perplexity after pruning, by recovery method and MLP ratio.

    PAREDOWN_ASSETS=../shared/assets python benchmarks/recovery_table.py [--model DIR ...]

Every row is `paredown prune --parts mlp --round-to 1` with its default settings otherwise; the
evaluation text is read only after pruning. Raw values go to benchmarks/results/recovery.jsonl, the
table made from them to docs/benchmarks/recovery.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from stories3m import CALIBRATION, EVALUATION, MODEL, ROOT
from torch import Tensor, nn

from runtime_py import sensors
from toolchain import __version__
from toolchain.calibrate.sources import encode, pieces, read_documents
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.model.likelihood import Perplexity, document_nlls, padded_batches, predicted
from toolchain.pruning.run import prune_checkpoint
from toolchain.recipe import PruneSettings
from toolchain.store import sha256_file

RAW = ROOT / "benchmarks" / "results" / "recovery.jsonl"
TABLE = ROOT / "docs" / "benchmarks" / "recovery.md"
RECOVERIES = ("none", "bias", "mask_tuning", "least_squares")
RATIOS = (0.2, 0.35)
SEEDS = (0, 1, 2)
KL_DOCUMENTS = 100


@torch.inference_mode()
def log_probabilities(model: nn.Module, documents: Sequence[Sequence[int]]) -> list[Tensor]:
    """log softmax at every predicted position, float32 [t - 1, vocabulary] per sequence."""
    found: list[Tensor] = [torch.empty(0)] * len(documents)
    for rows, ids, mask in padded_batches(documents):
        logits = torch.log_softmax(model(ids).logits[:, :-1], -1)
        for row, index in enumerate(rows):
            found[index] = logits[row][predicted(mask)[row]]
    return found


def divergence(dense: Sequence[Tensor], model: nn.Module, documents: list[list[int]]) -> float:
    """Mean KL(dense ‖ model) over all predicted positions, nats per token."""
    total, tokens = 0.0, 0
    for p, q in zip(dense, log_probabilities(model, documents), strict=True):
        total += float((p.exp() * (p - q)).sum(-1).double().sum())
        tokens += len(p)
    return total / tokens


class Evaluation:
    """The evaluation text, and what the dense model says of it."""

    def __init__(self, source: Checkpoint, text: str) -> None:
        tokenizer = source.tokenizer()
        self.bos = tokenizer.bos_token_id
        self.context = source.spec.max_position_embeddings
        self.documents = encode(tokenizer, read_documents(text, "evaluation"))
        self.first = [pieces(d, self.context, self.bos)[0] for d in self.documents[:KL_DOCUMENTS]]
        model = source.load()
        self.dense = log_probabilities(model, self.first)
        self.dense_perplexity = self.perplexity(model)

    def perplexity(self, model: nn.Module) -> Perplexity:
        """Over the whole text, documents as clusters."""
        nlls = document_nlls(
            model, self.documents, context_length=self.context, bos_token_id=self.bos
        )
        return Perplexity.of(nlls)

    def measure(self, checkpoint: Checkpoint) -> dict[str, float]:
        """KL and perplexity of a pruned checkpoint."""
        model = checkpoint.load()
        perplexity = self.perplexity(model)
        return {
            "kl": divergence(self.dense, model, self.first),
            "perplexity": perplexity.value,
            "perplexity_standard_error": perplexity.standard_error,
        }


def row(
    source: Checkpoint, evaluation: Evaluation, calibration: str, settings: dict[str, Any]
) -> dict[str, Any]:
    """Prune once and measure."""
    started = time.monotonic()
    chosen = PruneSettings(calibration=calibration, parts="mlp", round_to=1, **settings)
    with tempfile.TemporaryDirectory() as folder:
        result = prune_checkpoint(source, chosen, Path(folder) / "pruned")
        pruned = open_checkpoint(result.path)
        measured = evaluation.measure(pruned)
    held_out = result.record["held_out"]
    return {
        **settings,
        "importance": result.record["importance"],
        "intermediate_size": result.after.layers[0].intermediate_size,
        **measured,
        "held_out_kl": held_out["kl"],
        "held_out_kl_unrecovered": held_out["kl_unrecovered"],
        "targets": [step["chosen"] for step in result.record["steps"] if step["part"] == "mlp"],
        "calibration_tokens": result.record["calibration"]["tokens"],
        "seconds": round(time.monotonic() - started, 1),
    }


def header(
    source: Checkpoint, evaluation: Evaluation, arguments: argparse.Namespace
) -> dict[str, Any]:
    """What was measured, on what, with which versions."""
    dense = evaluation.dense_perplexity
    return {
        "model": source.name,
        "weights_sha256": source.identity.weights_sha256,
        "calibration_sha256": sha256_file(Path(arguments.calibration)),
        "evaluation_sha256": sha256_file(Path(arguments.evaluation)),
        "dense_perplexity": dense.value,
        "dense_perplexity_standard_error": dense.standard_error,
        "evaluation_tokens": dense.tokens,
        "evaluation_documents": dense.documents,
        "kl_documents": KL_DOCUMENTS,
        "paredown": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{sensors.cpu_model().value}, {platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
    }


def spread(values: Sequence[float], digits: int) -> str:
    """mean [lowest, highest]."""
    mean = statistics.mean(values)
    return f"{mean:.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def table(facts: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """The Markdown page."""
    lines = [
        "# Recovery methods",
        "",
        f"`{facts['model']}`, MLP neurons only, all other settings at their defaults; importance "
        "is the one that matches each recovery. KL to the dense model over the first "
        f"{facts['kl_documents']} documents of held-out text, nats per token; perplexity over all "
        f"{facts['evaluation_documents']} ({facts['evaluation_tokens']} tokens; dense "
        f"{facts['dense_perplexity']:.3f} ± {facts['dense_perplexity_standard_error']:.3f}). "
        f"Mean [lowest, highest] of {len(SEEDS)} calibration draws (seeds "
        f"{', '.join(map(str, SEEDS))}); SE is the clustered standard error over documents, mean "
        "of the draws.",
        "",
        "| ratio | width | recovery | importance | KL | perplexity | SE |",
        "|---:|---:|---|---|---:|---:|---:|",
    ]
    for ratio in RATIOS:
        for recovery in RECOVERIES:
            group = [r for r in rows if r["ratio"] == ratio and r["recovery"] == recovery]
            lines.append(table_row(group))
    versions = ", ".join(
        f"{name} {facts[name]}" for name in ("paredown", "python", "torch", "transformers", "numpy")
    )
    lines += [
        "",
        f"{facts['machine']}, {facts['threads']} thread(s), {versions}. Raw values: "
        "`benchmarks/results/recovery.jsonl`; made by `benchmarks/recovery_table.py`.",
    ]
    return "\n".join(lines) + "\n"


def table_row(group: Sequence[dict[str, Any]]) -> str:
    """One method at one ratio."""
    first = group[0]
    error = statistics.mean(r["perplexity_standard_error"] for r in group)
    cells = [
        f"{first['ratio']:.0%}",
        str(first["intermediate_size"]),
        first["recovery"],
        first["importance"],
        spread([r["kl"] for r in group], 3),
        spread([r["perplexity"] for r in group], 2),
        f"{error:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default=str(MODEL))
    parser.add_argument("--calibration", default=str(CALIBRATION))
    parser.add_argument("--evaluation", default=str(EVALUATION))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    source = open_checkpoint(arguments.model)
    evaluation = Evaluation(source, arguments.evaluation)
    facts = header(source, evaluation, arguments)
    rows = []
    RAW.parent.mkdir(parents=True, exist_ok=True)
    with RAW.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(facts) + "\n")
        for seed in SEEDS:
            for ratio in RATIOS:
                for recovery in RECOVERIES:
                    settings = {"ratio": ratio, "recovery": recovery, "seed": seed}
                    rows.append(row(source, evaluation, arguments.calibration, settings))
                    stream.write(json.dumps(rows[-1]) + "\n")
                    stream.flush()
                    print(json.dumps(rows[-1]), file=sys.stderr)
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(table(facts, rows), encoding="utf-8")
    print(TABLE)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
