"""Prune one checkpoint with one package; `peers.py` runs this in the Python that has the package.

    python peer_worker.py request.json answer.json

Imports nothing of paredown unless paredown is the package. The answer holds what was done, seconds
without imports, and this process's memory: once everything was imported, and at its peak.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
Request = dict[str, Any]
"""package, model, out, seed, settings, samples (token ids), block_parameters (what may stay)."""
FASTNAS_SAMPLES = 16
"""FastNAS measures each width of each layer: its documentation asks for a small data set."""


def _bytes_of(field: str) -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if field in x)
    return int(line.split()[1]) * 1024


def _dense(request: Request) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(request["model"]).float()
    model.config.use_cache = False
    return model.eval()


def _block_parameters(model: Any) -> int:
    return sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if ".self_attn." in name or ".mlp." in name
    )


def _neurons_to_remove(model: Any, request: Request) -> int:
    """Over all layers; rounded down, so that the package never keeps less than it may."""
    excess = _block_parameters(model) - request["block_parameters"]
    return max(0, int(excess // (3 * model.config.hidden_size)))


def _neurons(model: Any) -> int:
    return sum(int(layer.mlp.gate_proj.out_features) for layer in model.model.layers)


def _tensors(request: Request) -> Iterator[Any]:
    import torch

    for ids in request["samples"]:
        yield torch.tensor([ids])


def paredown(request: Request) -> str:
    """As a user calls it; writes its own folder."""
    from toolchain import prune

    record = prune(
        request["model"], out=request["out"], seed=request["seed"], **request["settings"]
    )
    return f"{record['importance']}, {record['recovery']}"


def optipfair(request: Request) -> Any:
    """Neurons by its score, after `layers` whole layers by its cosine importance."""
    from optipfair import analyze_layer_importance, prune_model

    settings = request["settings"]
    model = _dense(request)
    batches = [{"input_ids": ids, "attention_mask": ids * 0 + 1} for ids in _tensors(request)]
    detail = settings["method"]
    if settings.get("layers"):
        importance = analyze_layer_importance(model, batches, show_progress=False)
        chosen = sorted(importance, key=importance.__getitem__)[: settings["layers"]]
        model = prune_model(
            model, pruning_type="DEPTH", layer_indices=sorted(chosen), show_progress=False
        )
        detail += f", without layers {sorted(chosen)}"
    # Whole layers may already have taken more than the budget asks for.
    per_layer = _neurons_to_remove(model, request) // len(model.model.layers)
    if per_layer > 0:
        model = prune_model(
            model,
            neuron_selection_method=settings["method"],
            # It removes int(percentage / 100 * width) neurons.
            pruning_percentage=100 * (per_layer + 0.5) / model.config.intermediate_size,
            dataloader=batches if settings.get("data") else None,
            show_progress=False,
        )
    model.save_pretrained(request["out"])
    return detail


def torch_pruning(request: Request) -> str:
    """Neurons, or everything as its example for language models does."""
    settings = request["settings"]
    model = _dense(request)
    pruner = _example(model, request) if settings.get("everything") else _mlp_only(model, request)
    for group in pruner.step(interactive=True):
        group.prune()
    if settings.get("everything"):
        _update_config(model)
    model.config.intermediate_size = model.model.layers[0].mlp.gate_proj.out_features
    model.save_pretrained(request["out"])
    return str(settings["importance"])


def _importance(model: Any, request: Request) -> Any:
    import torch
    import torch_pruning as tp

    name = request["settings"]["importance"]
    if name == "magnitude":
        return tp.importance.GroupMagnitudeImportance(p=2, group_reduction="mean")
    if name == "activation":
        importance = tp.pruner.importance.ActivationImportance(p=2, target_types=[torch.nn.Linear])
        # It keeps the last forward pass alone, so all text goes into one.
        ids = [i for sample in request["samples"] for i in sample]
        length = max(map(len, request["samples"]))
        rows = torch.tensor(ids[: len(ids) // length * length]).view(-1, length)
        with torch.no_grad(), importance.compute_importance(model):
            model(rows)
        return importance
    hessian = name == "hessian"
    importance = (
        tp.importance.GroupHessianImportance() if hessian else tp.importance.GroupTaylorImportance()
    )
    squares: dict[Any, Any] = {}
    for ids in _tensors(request):
        if hessian:
            model.zero_grad()
        (model(ids, labels=ids).loss * ids.shape[1]).backward()
        for parameter in model.parameters() if hessian else ():
            square = parameter.grad.pow(2)
            squares[parameter] = squares[parameter] + square if parameter in squares else square
    if hessian:
        # Its accumulate_grad overwrites what earlier samples gave; these are its sums over all.
        importance._accu_grad = squares
        importance._counter = dict.fromkeys(squares, len(request["samples"]))
    return importance


def _mlp_only(model: Any, request: Request) -> Any:
    import torch
    import torch_pruning as tp

    importance = _importance(model, request)
    neurons, removed = _neurons(model), _neurons_to_remove(model, request)
    scope = request["settings"].get("global", False)
    layers = len(model.model.layers)
    # It keeps int(width * (1 - ratio)) of each layer, or of all together.
    kept = neurons - removed if scope else (neurons - removed + layers - 1) // layers * layers
    wanted = {id(layer.mlp.gate_proj) for layer in model.model.layers}
    wanted |= {id(layer.mlp.up_proj) for layer in model.model.layers}
    others = [
        module
        for module in model.modules()
        if isinstance(module, (torch.nn.Linear, torch.nn.Embedding)) and id(module) not in wanted
    ]
    return tp.pruner.BasePruner(
        model,
        example_inputs=torch.tensor([request["samples"][0][:8]]),
        importance=importance,
        global_pruning=scope,
        output_transform=lambda output: output.logits,
        pruning_ratio=1 - (kept + 0.5) / neurons,
        ignored_layers=others,
    )


def _example(model: Any, request: Request) -> Any:
    """The settings of examples/LLMs/prune_llm.py: hidden size, heads and neurons, by magnitude."""
    import torch
    import torch_pruning as tp

    heads = {}
    for layer in model.model.layers:
        attention = layer.self_attn
        heads[attention.q_proj] = model.config.num_attention_heads
        heads[attention.k_proj] = model.config.num_key_value_heads
        heads[attention.v_proj] = model.config.num_key_value_heads
    wanted = request["block_parameters"]
    ratio = (
        min(range(1, 80), key=lambda p: abs(_example_size(model.config, p / 100) - wanted)) / 100
    )
    return tp.pruner.BasePruner(
        model,
        example_inputs=torch.tensor([request["samples"][0][:8]]),
        importance=_importance(model, request),
        global_pruning=False,
        output_transform=lambda output: output.logits,
        pruning_ratio=ratio,
        head_pruning_ratio=ratio,
        ignored_layers=[model.lm_head],
        num_heads=heads,
        prune_num_heads=True,
        prune_head_dims=False,
        round_to=4,
    )


def _example_size(config: Any, ratio: float) -> int:
    """Block parameters that those settings leave, by how it rounds; what is left is counted."""
    hidden, width = (
        int(size * (1 - ratio)) // 4 * 4 for size in (config.hidden_size, config.intermediate_size)
    )
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    fewer = math.ceil(ratio * heads)
    # Keys and values stay where queries share them, and each group loses as many queries.
    queries = heads - (fewer if heads == groups else math.ceil(fewer / groups) * groups)
    keys = queries if heads == groups else groups
    attention = 2 * hidden * (queries + keys) * config.head_dim
    return int(config.num_hidden_layers * (attention + 3 * hidden * width))


def _update_config(model: Any) -> None:
    attention = model.model.layers[0].self_attn
    head_dim = attention.head_dim
    model.config.head_dim = head_dim
    model.config.hidden_size = model.lm_head.in_features
    model.config.num_attention_heads = attention.q_proj.out_features // head_dim
    model.config.num_key_value_heads = attention.k_proj.out_features // head_dim


def modelopt(request: Request) -> str:
    """`fastnas`, its only mode for models outside Megatron: a width per layer, by measured loss."""
    import modelopt.torch.prune as mtp
    import torch

    settings = request["settings"]
    model = _dense(request)
    if settings["mode"] == "mcore_minitron":
        mtp.prune(
            model,
            mode="mcore_minitron",
            constraints={"params": "80%"},
            dummy_input=torch.tensor([request["samples"][0][:8]]),
            config={"forward_loop": lambda m: [m(ids) for ids in _tensors(request)]},
        )
    samples = list(_tensors(request))[:FASTNAS_SAMPLES]

    @torch.no_grad()
    def score(candidate: Any) -> float:
        losses = [float(candidate(ids, labels=ids).loss) * (ids.shape[1] - 1) for ids in samples]
        return -sum(losses) / sum(ids.shape[1] - 1 for ids in samples)

    # It counts a tied head a second time.
    total = sum(p.numel() for _, p in model.named_parameters(remove_duplicate=False))
    limit = total - _block_parameters(model) + request["block_parameters"]
    ratios = tuple(step / settings["steps"] for step in range(1, settings["steps"] + 1))
    model, _ = mtp.prune(
        model,
        mode=[("fastnas", {"nn.Linear": {"*": {"features_ratio": ratios, "feature_divisor": 1}}})],
        # It takes an upper limit; the next width up would be nearer as often as this one.
        constraints={"params": limit},
        dummy_input=samples[0][:, :8],
        config={
            "score_func": score,
            "data_loader": samples,
            "collect_func": lambda ids: ids,
            "checkpoint": None,
            "verbose": False,
        },
    )
    _save_plain(model, request)
    return f"{settings['mode']}, {FASTNAS_SAMPLES} samples for its score"


def _save_plain(model: Any, request: Request) -> None:
    """Weights and config alone: its own save adds a state that only its own load understands."""
    from safetensors.torch import save_file

    folder = Path(request["out"])
    folder.mkdir(parents=True)
    tensors = {
        name: tensor.detach().clone().contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight" or not model.config.tie_word_embeddings
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.intermediate_size = model.model.layers[0].mlp.gate_proj.out_features
    model.config.save_pretrained(folder)


PACKAGES: dict[str, tuple[str, Callable[[Request], str], tuple[str, ...]]] = {
    "paredown": ("paredown", paredown, ("toolchain",)),
    "optipfair": ("optipfair", optipfair, ("optipfair",)),
    "torch-pruning": ("torch-pruning", torch_pruning, ("torch_pruning",)),
    "nvidia-modelopt": ("nvidia-modelopt", modelopt, ("modelopt.torch.prune",)),
}
"""Distribution, function, modules to import, by package."""


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def main() -> int:
    """Entry point: an exception is part of the answer."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    distribution, prune, modules = PACKAGES[request["package"]]
    answer: dict[str, Any] = {}
    try:
        with _quiet():
            for name in ("torch", "transformers", *modules):
                importlib.import_module(name)
            import torch

            torch.set_num_threads(1)
            torch.manual_seed(request["seed"])
            answer["version"] = importlib.metadata.version(distribution)
            answer["imported_rss_bytes"] = _bytes_of("VmRSS")
            started = time.monotonic()
            answer["detail"] = prune(request)
            answer["prune_s"] = round(time.monotonic() - started, 2)
            answer["peak_rss_bytes"] = _bytes_of("VmHWM")
    except Exception as error:
        answer["error"] = f"{type(error).__name__}: {error}"
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
