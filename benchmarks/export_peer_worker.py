"""One launch of another runtime, in a Python that has it: JSON on stdout.

    export_peer_worker.py measure torch|genai|llama.cpp PATH PROTOCOL_JSON
    export_peer_worker.py quantise IN.gguf OUT.gguf q8_0|q4_0

The protocol holds `prompt_ids`, `generated_tokens`, `repetitions`, `warmup`, `threads` and
`context`. Times are taken as paredown's own engines take them: prefill until the prompt's logits
are there, then the first token, then every further token with its choice. Imports nothing of ours.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Step = Callable[[], int]
Start = Callable[[list[int]], tuple[Step, Step]]
"""From the prompt to (choose the first token, next token); it returns when the logits are there."""


def torch_eager(path: str, protocol: dict[str, Any]) -> tuple[Start, list[str]]:
    """transformers' own model and cache, float32, one token at a time."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(protocol["threads"])
    torch.set_grad_enabled(False)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()

    def start(prompt: list[int]) -> tuple[Step, Step]:
        state = model(torch.tensor([prompt]), use_cache=True, logits_to_keep=1)

        def choose() -> int:
            return int(state.logits[0, -1].argmax())

        def step() -> int:
            nonlocal state
            ids = torch.tensor([[choose()]])
            state = model(ids, past_key_values=state.past_key_values, use_cache=True)
            return choose()

        return choose, step

    return start, ["torch", "transformers"]


def genai(path: str, protocol: dict[str, Any]) -> tuple[Start, list[str]]:
    """onnxruntime-genai's generator, greedy."""
    import onnxruntime_genai as og

    config = og.Config(path)
    options = {"intra_op_num_threads": protocol["threads"]}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
    model = og.Model(config)
    length = len(protocol["prompt_ids"]) + protocol["generated_tokens"] + 2

    def start(prompt: list[int]) -> tuple[Step, Step]:
        params = og.GeneratorParams(model)
        params.set_search_options(
            max_length=protocol["context"], min_length=length, do_sample=False
        )
        generator = og.Generator(model, params)
        generator.append_tokens(prompt)

        def step() -> int:
            generator.generate_next_token()
            return int(generator.get_next_tokens()[0])

        return step, step

    return start, ["onnxruntime-genai", "onnxruntime"]


def llama_cpp(path: str, protocol: dict[str, Any]) -> tuple[Start, list[str]]:
    """llama.cpp through its C interface, with its own defaults (float16 cache)."""
    import ctypes

    import llama_cpp as lib
    import numpy as np

    quiet = lib.llama_log_callback(lambda _level, _text, _data: None)
    lib.llama_log_set(quiet, ctypes.c_void_p(0))
    lib.llama_backend_init()
    model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = protocol["context"]
    params.n_threads = params.n_threads_batch = protocol["threads"]
    context = lib.llama_init_from_model(model, params)
    vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))

    def decode(ids: list[int]) -> None:
        tokens = (lib.llama_token * len(ids))(*ids)
        status = lib.llama_decode(context, lib.llama_batch_get_one(tokens, len(ids)))
        if status:
            raise RuntimeError(f"llama_decode returned {status}")

    def choose() -> int:
        logits = lib.llama_get_logits_ith(context, -1)
        return int(np.ctypeslib.as_array(logits, (vocabulary,)).argmax())

    def start(prompt: list[int]) -> tuple[Step, Step]:
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        decode(prompt)

        def step() -> int:
            decode([choose()])
            return choose()

        return choose, step

    start.keep = quiet  # type: ignore[attr-defined]  # C holds no reference to it
    return start, ["llama_cpp_python"]


RUNTIMES = {"torch": torch_eager, "genai": genai, "llama.cpp": llama_cpp}


def measure(runtime: str, path: str, protocol: dict[str, Any]) -> dict[str, Any]:
    """Load, warm up, repeat."""
    _import(runtime)
    began = time.perf_counter_ns()
    start, packages = RUNTIMES[runtime](path, protocol)
    load_ns = time.perf_counter_ns() - began
    samples = [
        _sample(start, protocol) for _ in range(protocol["warmup"] + protocol["repetitions"])
    ]
    return {
        "load_ns": load_ns,
        "samples": samples[protocol["warmup"] :],
        "peak_rss_bytes": _peak_rss_bytes(),
        "engine_versions": {name: importlib.metadata.version(name) for name in packages},
    }


def _import(runtime: str) -> None:
    """Importing is no part of loading a model."""
    if runtime == "torch":
        from transformers.models.llama import modeling_llama  # noqa: F401
    elif runtime == "genai":
        import onnxruntime_genai  # noqa: F401
    else:
        import llama_cpp  # noqa: F401


def _sample(start: Start, protocol: dict[str, Any]) -> dict[str, Any]:
    began = time.perf_counter_ns()
    choose, step = start(protocol["prompt_ids"])
    prefilled = time.perf_counter_ns()
    choose()
    last = first = time.perf_counter_ns()
    token_ns = []
    for _ in range(protocol["generated_tokens"]):
        step()
        now = time.perf_counter_ns()
        token_ns.append(now - last)
        last = now
    return {"prefill_ns": prefilled - began, "ttft_ns": first - began, "token_ns": token_ns}


def _peak_rss_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def quantise(source: str, out: str, kind: str) -> None:
    """llama.cpp's own quantisation, as its command llama-quantize does it."""
    import llama_cpp as lib

    params = lib.llama_model_quantize_default_params()
    params.ftype = {
        "q8_0": lib.LLAMA_FTYPE_MOSTLY_Q8_0,
        "q4_0": lib.LLAMA_FTYPE_MOSTLY_Q4_0,
    }[kind]
    params.nthread = 1
    if lib.llama_model_quantize(source.encode(), out.encode(), params):
        raise SystemExit(f"llama_model_quantize failed on {source}")


def main() -> None:
    """Entry point."""
    verb, *arguments = sys.argv[1:]
    if verb == "quantise":
        quantise(*arguments)
        return
    runtime, path, protocol = arguments
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    print(json.dumps(measure(runtime, path, json.loads(protocol))))


if __name__ == "__main__":
    main()
