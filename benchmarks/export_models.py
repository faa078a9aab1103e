"""What export_speed.py measures: checkpoints dense and pruned, and every artifact made of them.

Everything is written once under out/benchmarks/export_speed and kept; delete a folder to make it
again. Pruning is as cheap as it gets (magnitude, no recovery), because only sizes matter here.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stories3m import ASSETS, ROOT

from toolchain import export, gguf, prune
from toolchain.embedded import MODEL_DIR
from toolchain.exporting.formats import artifact_bytes, weight_format
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.recipe import ExportSettings
from toolchain.store import CHECKPOINT_RECORD, atomic_directory, sha256_file

WORK = ROOT / "out" / "benchmarks" / "export_speed"
WORKER = Path(__file__).with_name("export_peer_worker.py")
CONTEXT = 512
RATIOS = {"dense": 0.0, "pruned20": 0.2, "pruned35": 0.35, "pruned50": 0.5}
MODELS = ("random138M", "stories3M")
QUANTISATIONS = {
    "executorch": ("none", "8da4w", "8da8w"),
    "onnx": ("none", "int4", "int8", "fp16"),
}
LLAMA_CPP = ("f32", "q4_0", "q8_0", "f16")
GENAI = ("fp32", "int4")
PEER_SIZES = ("dense", "pruned35")
"""Sizes that the other runtimes are measured at."""
RANDOM_CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 16384,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 8,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "bos_token_id": 0,
    "eos_token_id": 1,
}
WEIGHT_STD = 0.02
ROUND_TO = {"random138M": 64, "stories3M": 32}
"""Widths that the groups of every quantisation divide."""


@dataclass(frozen=True)
class Artifact:
    """One thing that a runtime loads."""

    model: str
    size: str
    """A key of `RATIOS`."""
    runtime: str
    """`executorch`, `onnx`, or another's: `torch`, `genai`, `llama.cpp`."""
    quant: str

    @property
    def checkpoint(self) -> Path:
        """What it is made of."""
        return checkpoint_path(self.model, self.size)

    @property
    def path(self) -> Path:
        """The bundle, folder or file."""
        if self.runtime == "torch":
            return self.checkpoint
        suffix = ".gguf" if self.runtime == "llama.cpp" else ""
        return WORK / self.model / f"{self.runtime}-{self.quant}-{self.size}{suffix}"

    @property
    def settings(self) -> ExportSettings:
        """Of one of our bundles."""
        return ExportSettings(backend=self.runtime, quant=self.quant, context=CONTEXT)

    @property
    def weight_file(self) -> Path:
        """The file whose content tells one making of the artifact from another."""
        if self.runtime in QUANTISATIONS:
            return self.path / "manifest.json"
        names = {"torch": "model.safetensors", "genai": "model.onnx"}
        return self.path / names[self.runtime] if self.runtime in names else self.path

    @property
    def fingerprint(self) -> str:
        """Hash of that file (of a large one its size and time)."""
        file = self.weight_file
        if self.runtime in QUANTISATIONS:
            return sha256_file(file)[:16]
        return f"{file.stat().st_size}-{file.stat().st_mtime_ns}"


@dataclass(frozen=True)
class Peers:
    """Pythons that have the other runtimes; None leaves one out."""

    llama: Path | None
    genai: Path | None


def checkpoint_path(model: str, size: str) -> Path:
    """Folder of a checkpoint."""
    if size == "dense" and model == "stories3M":
        return ASSETS / "models" / model
    return WORK / model / f"checkpoint-{size}"


@functools.cache
def checkpoint(model: str, size: str) -> Checkpoint:
    """Make it if it is not there, and open it."""
    folder = checkpoint_path(model, size)
    if not folder.is_dir():
        if size == "dense":
            _write_random(folder)
        else:
            _prune(checkpoint(model, "dense"), RATIOS[size], ROUND_TO[model], folder)
    return open_checkpoint(folder)


def _write_random(folder: Path) -> None:
    """The same weights on every machine, with the tokenizer of the model that ships."""
    import torch
    from safetensors.torch import save_file

    config = RANDOM_CONFIG
    generator = torch.Generator().manual_seed(0)

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator) * WEIGHT_STD

    hidden, neurons = int(config["hidden_size"]), int(config["intermediate_size"])
    queries = int(config["num_attention_heads"]) * int(config["head_dim"])
    keys = int(config["num_key_value_heads"]) * int(config["head_dim"])
    tensors = {"model.embed_tokens.weight": matrix(int(config["vocab_size"]), hidden)}
    tensors["model.norm.weight"] = torch.ones(hidden)
    for index in range(int(config["num_hidden_layers"])):
        layer = f"model.layers.{index}."
        for name, rows, columns in (
            ("self_attn.q_proj", queries, hidden),
            ("self_attn.k_proj", keys, hidden),
            ("self_attn.v_proj", keys, hidden),
            ("self_attn.o_proj", hidden, queries),
            ("mlp.gate_proj", neurons, hidden),
            ("mlp.up_proj", neurons, hidden),
            ("mlp.down_proj", hidden, neurons),
        ):
            tensors[f"{layer}{name}.weight"] = matrix(rows, columns)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{layer}{name}.weight"] = torch.ones(hidden)
    with atomic_directory(folder) as work:
        save_file(tensors, work / "model.safetensors", {"format": "pt"})
        (work / "config.json").write_text(json.dumps(config, indent=2))
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(MODEL_DIR / name, work)


def _prune(source: Checkpoint, ratio: float, round_to: int, folder: Path) -> None:
    prune(
        source,
        out=folder,
        ratio=ratio,
        layers=0,
        importance="magnitude",
        recovery="none",
        allocation="uniform",
        joint_masks=False,
        drafts=1,
        samples=4,
        seq_len=64,
        round_to=round_to,
    )
    assert (folder / CHECKPOINT_RECORD).is_file()


def ours(model: str, backend: str, quant: str) -> list[Artifact]:
    """Our bundles of every size."""
    return [Artifact(model, size, backend, quant) for size in RATIOS]


def others(model: str, runtime: str, quant: str) -> list[Artifact]:
    """The same of another runtime."""
    return [Artifact(model, size, runtime, quant) for size in PEER_SIZES]


def weights_read(artifact: Artifact) -> int:
    """Bytes of weights that one decode step has to read: all layers and the head.

    For our formats by their own definition, else from the bits of the type: of the embedding only
    one row is read, which counts as nothing.
    """
    spec = checkpoint(artifact.model, artifact.size).spec
    if artifact.runtime in QUANTISATIONS:
        stored = weight_format(artifact.settings)
        table = spec.vocab_size * stored.table_row_bits(spec.hidden_size) // 8
        return artifact_bytes(spec, artifact.settings) - (table if stored.tied_twice else 0)
    bits = {"none": 32, "fp32": 32, "f32": 32, "f16": 16, "q8_0": 8.5, "q4_0": 4.5, "int4": 5}
    return int(spec.parameters * bits[artifact.quant] / 8)


def file_bytes(artifact: Artifact) -> int:
    """Bytes of what is shipped: the model file with its external data."""
    if artifact.path.is_file():
        return artifact.path.stat().st_size
    suffixes = {"torch": (".safetensors",), "executorch": (".pte", ".ptd")}
    wanted = suffixes.get(artifact.runtime, (".onnx", ".data"))
    return sum(f.stat().st_size for f in artifact.path.iterdir() if f.suffix in wanted)


def make(artifact: Artifact, peers: Peers) -> None:
    """Write an artifact if it is not there.

    Raises:
        ParedownError, CalledProcessError: it cannot be made.
    """
    source = checkpoint(artifact.model, artifact.size)
    if artifact.path.exists() or artifact.runtime == "torch":
        return
    print(f"making {artifact.path.relative_to(ROOT)}", file=sys.stderr, flush=True)
    if artifact.runtime in QUANTISATIONS:
        settings = artifact.settings
        export(
            source,
            out=artifact.path,
            backend=settings.backend,
            quant=settings.quant,
            context=settings.context,
        )
    elif artifact.runtime == "llama.cpp":
        _make_gguf(artifact, source, peers.llama)
    else:
        _make_genai(artifact, source, peers.genai)


def _make_gguf(artifact: Artifact, source: Checkpoint, python: Path | None) -> None:
    """Float files by us, quantised ones by llama.cpp itself from the float32 file."""
    if artifact.quant in ("f32", "f16"):
        gguf(source, out=artifact.path, kind=artifact.quant)
        return
    exact = Artifact(artifact.model, artifact.size, "llama.cpp", "f32")
    make(exact, Peers(python, None))
    partial = artifact.path.with_suffix(".partial")
    arguments = ["quantise", str(exact.path), str(partial), artifact.quant]
    subprocess.run([str(python), WORKER, *arguments], check=True)
    partial.rename(artifact.path)


def _make_genai(artifact: Artifact, source: Checkpoint, python: Path | None) -> None:
    partial = artifact.path.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [str(python), "-m", "onnxruntime_genai.models.builder", "-i", str(source.path)]
    command += ["-o", str(partial), "-p", artifact.quant, "-e", "cpu"]
    command += ["-c", str(partial.with_suffix(".cache"))]
    if artifact.quant == "int4":
        command += ["--extra_options", "int4_accuracy_level=4"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    partial.rename(artifact.path)


def all_artifacts(peers: Peers) -> Iterator[list[Artifact]]:
    """Groups that are measured together, the most important first."""
    for model in MODELS:
        for backend, quants in QUANTISATIONS.items():
            for quant in quants:
                yield ours(model, backend, quant)
        yield others(model, "torch", "none")
        if peers.llama is not None:
            for kind in LLAMA_CPP:
                yield others(model, "llama.cpp", kind)
        if peers.genai is not None:
            for kind in GENAI:
                yield others(model, "genai", kind)
