"""Peak memory and time of pruning models that do not fit into memory, against the promise.

    python benchmarks/pruning_memory.py [--shape small 1b 3b 7b] [--threads 2]

Writes a randomly initialised Llama of each shape in bfloat16, a shard at a time, and prunes it on
the CPU in a fresh process. The promise is

    peak RSS <= 1.5 * (largest layer + its statistics + hidden states of the calibration set) + 1 GB

with all three in float32. Phases come from a thread that looks at the main thread's stack. Raw
values go to benchmarks/results/pruning_memory.jsonl, the table made from them to
docs/benchmarks/memory.md; a shape that is measured again replaces its row.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "out" / "benchmarks" / "pruning_memory"
RAW = ROOT / "benchmarks" / "results" / "pruning_memory.jsonl"
TABLE = ROOT / "docs" / "benchmarks" / "memory.md"
GB = 10**9
FACTOR = 1.5
RATIO, SAMPLES, SEQ_LEN = 0.2, 16, 128
OPTIONS = ["--layers", "0", "--allocation", "uniform", "--importance", "condition"]
OPTIONS += ["--recovery", "least_squares", "--no-joint-masks"]
"""One pass over the layers: everything that `auto` would find out by drafts is given."""
INTERVAL_S = 0.05
LEARNED_TOKENS = 2048
SPECIAL = ["<s>", "</s>"]

_LLAMA_3 = {"vocab_size": 128256, "tie_word_embeddings": True, "num_key_value_heads": 8}
SHAPES: dict[str, dict[str, Any]] = {
    "small": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 6,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "vocab_size": 32768,
        "tie_word_embeddings": True,
    },
    "1b": {
        **_LLAMA_3,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "head_dim": 64,
    },
    "3b": {
        **_LLAMA_3,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 28,
        "num_attention_heads": 24,
        "head_dim": 128,
    },
    "7b": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
        "vocab_size": 32000,
        "tie_word_embeddings": False,
    },
}
"""The shapes of Llama 3.2 1B and 3B and of Llama 2 7B, and one for trying things out."""

PHASES = (
    ("read", ("model/checkpoint.py", "model/rows.py")),
    ("hash", ("toolchain/store.py",)),
    ("write", ("model/compact.py", "pruning/layers.py", "pruning/result.py")),
    ("statistics", ("calibrate/stats.py",)),
    ("solve", ("pruning/linear.py", "pruning/targets.py", "/importance/", "/recovery/")),
    ("judge", ("pruning/judge.py", "model/outer.py")),
    ("forward", ("model/block.py", "pruning/flow.py")),
)
"""The first phase one of whose files is anywhere on the stack has the sample."""


@dataclass(frozen=True)
class Bound:
    """The promise, in bytes."""

    layer: int
    statistics: int
    hidden_states: int

    @property
    def total(self) -> int:
        """The most that may be resident."""
        return int(FACTOR * (self.layer + self.statistics + self.hidden_states)) + GB


def write_model(folder: Path, shape: dict[str, Any]) -> None:
    """A random Llama in bfloat16: one shard for what is outside the layers, one for each layer."""
    import torch

    from toolchain.model.compact import save_tensors
    from toolchain.store import write_json

    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> torch.Tensor:
        return torch.empty(size, dtype=torch.bfloat16).normal_(std=0.02, generator=generator)

    def ones() -> torch.Tensor:
        return torch.ones(shape["hidden_size"], dtype=torch.bfloat16)

    hidden, count = shape["hidden_size"], shape["num_hidden_layers"]
    queries = shape["num_attention_heads"] * shape["head_dim"]
    keys = shape["num_key_value_heads"] * shape["head_dim"]
    sizes = {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (shape["intermediate_size"], hidden),
        "mlp.up_proj": (shape["intermediate_size"], hidden),
        "mlp.down_proj": (hidden, shape["intermediate_size"]),
    }
    weight_map = {}
    for index in range(count + 1):
        file = f"model-{index + 1:05d}-of-{count + 1:05d}.safetensors"
        if index == count:
            tensors = {"model.norm.weight": ones()}
            tensors["model.embed_tokens.weight"] = normal(shape["vocab_size"], hidden)
            if not shape["tie_word_embeddings"]:
                tensors["lm_head.weight"] = normal(shape["vocab_size"], hidden)
        else:
            prefix = f"model.layers.{index}."
            tensors = {f"{prefix}{name}.weight": normal(*size) for name, size in sizes.items()}
            for norm in ("input_layernorm", "post_attention_layernorm"):
                tensors[f"{prefix}{norm}.weight"] = ones()
        save_tensors(folder / file, tensors, {"format": "pt"})
        weight_map.update(dict.fromkeys(tensors, file))
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    config = {
        **shape,
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "dtype": "bfloat16",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    write_json(folder / "config.json", config)
    write_tokenizer(folder, shape["vocab_size"])


def write_tokenizer(folder: Path, vocab_size: int) -> None:
    """A byte-level BPE of the built-in stories, filled up with tokens that never occur."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from toolchain.calibrate.sources import read_documents

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=LEARNED_TOKENS,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(read_documents("builtin", "calibration"), trainer)
    learned = json.loads(trained.to_str())["model"]
    vocabulary = learned["vocab"]
    vocabulary |= {f"<unused{i}>": i for i in range(len(vocabulary), vocab_size)}
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in learned["merges"]]
    inner = Tokenizer(models.BPE(vocabulary, merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=SPECIAL[0], eos_token=SPECIAL[1]
    ).save_pretrained(folder)


class StackSampler(threading.Thread):
    """Counts what the main thread is doing, and remembers where it stood at its largest."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._main = threading.get_ident()
        self._over = threading.Event()
        self.counts: Counter[str] = Counter()
        self.peaks: dict[str, int] = {}
        """Largest resident bytes seen in each phase."""

    def run(self) -> None:
        """Until `finish`."""
        page = os.sysconf("SC_PAGE_SIZE")
        statm = Path("/proc/self/statm")
        while not self._over.wait(INTERVAL_S):
            phase = phase_of(sys._current_frames()[self._main])
            self.counts[phase] += 1
            resident = int(statm.read_text().split()[1]) * page
            self.peaks[phase] = max(resident, self.peaks.get(phase, 0))

    def finish(self) -> dict[str, Any]:
        """Stop; seconds and peak by phase."""
        self._over.set()
        self.join()
        return {"samples": dict(self.counts), "peaks": self.peaks}


def phase_of(frame: FrameType | None) -> str:
    """The phase that a stack is in."""
    files = []
    while frame is not None:
        files.append(frame.f_code.co_filename)
        frame = frame.f_back
    for phase, marks in PHASES:
        if any(mark in file for file in files for mark in marks):
            return phase
    return "other"


def child(model: Path, out: Path, samples: int, seq_len: int, report: Path) -> None:
    """In the fresh process: the command line's `prune`, watched."""
    from toolchain.cli import main

    sampler = StackSampler()
    sampler.start()
    started = time.monotonic()
    arguments = ["prune", str(model), "--out", str(out), "--ratio", str(RATIO)]
    arguments += ["--samples", str(samples), "--seq-len", str(seq_len), "--device", "cpu", "--json"]
    arguments += OPTIONS
    code = main(arguments)
    found = sampler.finish()
    found["seconds"] = time.monotonic() - started
    report.write_text(json.dumps(found))
    raise SystemExit(code)


def measure(name: str, threads: int, samples: int, seq_len: int, keep: bool) -> dict[str, Any]:
    """Write the model unless it is there, prune it in a fresh process, and compare."""
    model, out, report = WORK / name, WORK / f"{name}-pruned", WORK / f"{name}.json"
    if not (model / "tokenizer.json").is_file():
        shutil.rmtree(model, ignore_errors=True)
        write_model(model, SHAPES[name])
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, __file__, "--child", str(model), str(out), str(report)]
    command += ["--samples", str(samples), "--seq-len", str(seq_len)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
    }
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"pruning {name} failed with exit code {process.returncode}")
    found = json.loads(report.read_text())
    record = json.loads((out / "paredown.json").read_text())
    if not keep:
        shutil.rmtree(out)
        shutil.rmtree(model)
    per_sample = found["seconds"] / sum(found["samples"].values())
    bound = bound_of(name, record)
    return {
        "shape": name,
        **SHAPES[name],
        "parameters": record["shapes"]["before"]["parameters"],
        "samples": samples,
        "seq_len": seq_len,
        "calibration_tokens": record["calibration"]["tokens"],
        "held_out_tokens": record["calibration"]["held_out_tokens"],
        "threads": threads,
        "seconds": round(found["seconds"], 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_rss_bytes": usage.ru_maxrss * 1024,
        "bound_bytes": bound.total,
        "bound_terms": asdict(bound),
        "planned_bytes": planned_bytes(name, samples, seq_len),
        "seconds_by_phase": {
            phase: round(count * per_sample, 1) for phase, count in found["samples"].items()
        },
        "peak_by_phase": found["peaks"],
        **machine(),
    }


def bound_of(name: str, record: dict[str, Any]) -> Bound:
    """The promise for this shape and calibration set."""
    from toolchain.model.spec import spec_from_config

    spec = spec_from_config({**SHAPES[name], "model_type": "llama"} | _POSITIONS, name)
    layer = max(spec.layer_parameters(shape) for shape in spec.layers)
    width = max(max(s.intermediate_size, s.num_attention_heads * s.head_dim) for s in spec.layers)
    outputs = spec.hidden_size
    statistics = width * width + 2 * width * outputs + width + 2 * outputs
    # Both streams of calibration text, and the three of held-out text.
    calibration = record["calibration"]
    tokens = 2 * calibration["tokens"] + 3 * calibration["held_out_tokens"]
    return Bound(4 * layer, 4 * statistics, 4 * tokens * spec.hidden_size)


_POSITIONS = {"max_position_embeddings": 4096, "dtype": "bfloat16"}


def planned_bytes(name: str, samples: int, seq_len: int) -> int:
    """What `paredown plan` predicts, without the interpreter."""
    from toolchain.model.spec import spec_from_config
    from toolchain.pruning.memory import predict_peak_bytes
    from toolchain.recipe import PruneSettings

    spec = spec_from_config({**SHAPES[name], "model_type": "llama"} | _POSITIONS, name)
    settings = PruneSettings(ratio=RATIO, samples=samples, seq_len=seq_len, device="cpu")
    return predict_peak_bytes(spec, settings)


def machine() -> dict[str, Any]:
    """What it ran on, with which versions."""
    import numpy as np
    import torch
    import transformers

    from runtime_py.sensors import HERE, linux
    from toolchain import __version__

    return {
        "machine": f"{linux.cpu_model(HERE).value}, {platform.system()} {platform.machine()}",
        "paredown": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
    }


def page(rows: list[dict[str, Any]]) -> str:
    """The Markdown page."""
    lines = [
        "# Memory and time of pruning",
        "",
        "Written by `python benchmarks/pruning_memory.py`; raw values are in "
        f"`{RAW.relative_to(ROOT)}`.",
        "",
        "Randomly initialised Llamas in bfloat16, written a shard at a time, pruned on the CPU by "
        f"{RATIO:.0%} in a fresh process, in one pass (`{' '.join(OPTIONS)}`). Peak is the "
        "process's largest resident set as the kernel counts it. The bound is 1.5 * (largest layer "
        "+ its statistics + hidden states of the calibration text, all in float32) + 1 GB; `plan` "
        "predicts without "
        "the interpreter and its libraries. MB are 10⁶ bytes.",
        "",
        "| shape | parameters | layers | tokens | layer MB | statistics MB | hidden states MB | "
        "bound MB | peak MB | plan MB | minutes |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        terms = row["bound_terms"]
        sizes = [*terms.values(), row["bound_bytes"], row["peak_rss_bytes"], row["planned_bytes"]]
        cells = [
            row["shape"],
            f"{row['parameters'] / 1e9:.2f} B",
            str(row["num_hidden_layers"]),
            f"{row['calibration_tokens']} + {row['held_out_tokens']}",
            *(f"{size / 1e6:,.0f}" for size in sizes),
            f"{row['seconds'] / 60:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    phases = [phase for phase, _ in PHASES] + ["other"]
    lines += [
        "",
        "Where the time goes, seconds:",
        "",
        f"| shape | threads | {' | '.join(phases)} | processor seconds |",
        f"| --- |{' ---: |' * (len(phases) + 2)}",
    ]
    for row in rows:
        seconds = [f"{row['seconds_by_phase'].get(phase, 0):.0f}" for phase in phases]
        cells = [row["shape"], str(row["threads"]), *seconds, f"{row['cpu_seconds']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *_remarks(rows)]
    return "\n".join(lines) + "\n"


def _remarks(rows: list[dict[str, Any]]) -> list[str]:
    keys = ("machine", "paredown", "python", "torch", "transformers", "numpy")
    first = rows[0]
    facts = {key: " / ".join(dict.fromkeys(str(row[key]) for row in rows)) for key in keys}
    return [
        f"Tokens: calibration + held out, of {first['samples']} samples of at most "
        f"{first['seq_len']} tokens. `judge` is the held-out comparison of what each step could "
        "do, through the rest of the dense model; `read` includes turning the weights to float32.",
        "",
        "Where minutes are much more than the processor seconds by the threads, other work ran "
        "beside it.",
        "",
        f"Machine: {facts['machine']}. Versions: "
        + ", ".join(f"{key} {facts[key]}" for key in keys[1:])
        + ".",
    ]


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=["1b"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--seq-len", type=int, default=SEQ_LEN)
    parser.add_argument("--layers", type=int, help="fewer layers than the shape has")
    parser.add_argument("--keep", action="store_true", help="keep the models for the next time")
    parser.add_argument("--trial", action="store_true", help="print only; write no results")
    parser.add_argument("--child", nargs=3, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        model, out, report = given.child
        child(model, out, given.samples, given.seq_len, report)
    rows = {}
    if RAW.is_file():
        known = map(json.loads, RAW.read_text(encoding="utf-8").splitlines())
        rows = {row["shape"]: row for row in known}
    if given.layers:
        for shape in SHAPES.values():
            shape["num_hidden_layers"] = given.layers
    for name in given.shape:
        row = measure(name, given.threads, given.samples, given.seq_len, given.keep)
        print(json.dumps(row, indent=2))
        verdict = "within" if row["peak_rss_bytes"] <= row["bound_bytes"] else "ABOVE"
        print(
            f"{name}: peak {row['peak_rss_bytes'] / 1e6:,.0f} MB is {verdict} the bound of "
            f"{row['bound_bytes'] / 1e6:,.0f} MB, in {row['seconds'] / 60:.1f} min"
        )
        row["shape"] += f" cut to {given.layers} layers" if given.layers else ""
        rows[row["shape"]] = row
    if not given.trial:
        ordered = sorted(rows.values(), key=lambda row: row["parameters"])
        RAW.write_text("".join(json.dumps(row) + "\n" for row in ordered), encoding="utf-8")
        TABLE.write_text(page(ordered), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
