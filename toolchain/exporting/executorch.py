"""Lowering to ExecuTorch: one .pte for XNNPACK in float32, with the LLM runner's metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from toolchain.exporting.wrapper import Decoder, StaticDecoder
from toolchain.quiet import quiet

MODEL_FILE = "model.pte"
PACKAGES = ("executorch", "torch", "torchao", "transformers")
"""Packages whose versions determine the artifact."""


def write(decoder: Decoder, out: Path, bos_token_id: int | None, eos_token_ids: list[int]) -> None:
    """Lower `decoder` and write `out / MODEL_FILE`.

    The method is `forward(tokens int64 [1,S], input_pos int64 [1]) -> logits float32 [1,S,V]` with
    S from 1 to context - 1; the KV cache lives in the loaded method.
    """
    with quiet(), torch.no_grad():
        program = _lower(decoder, _metadata(decoder, bos_token_id, eos_token_ids))
        with (out / MODEL_FILE).open("wb") as stream:
            program.write_to_file(stream)


def _lower(decoder: Decoder, metadata: dict[str, Any]) -> Any:
    import executorch.extension.llm.custom_ops.custom_ops  # noqa: F401  registers llama::*
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import (
        EdgeCompileConfig,
        ExecutorchBackendConfig,
        to_edge_transform_and_lower,
    )
    from executorch.exir.passes import MemoryPlanningPass

    longest = decoder.context - 1  # the ops' guards refuse a call that fills the whole cache
    example = (
        torch.zeros(1, min(2, longest), dtype=torch.int64),
        torch.zeros(1, dtype=torch.int64),
    )
    length = torch.export.Dim("length", min=1, max=longest) if longest > 1 else 1
    exported = torch.export.export(
        StaticDecoder(decoder).eval(),
        example,
        dynamic_shapes={"tokens": {1: length}, "input_pos": None},
    )
    edge = to_edge_transform_and_lower(
        exported,
        partitioner=[XnnpackPartitioner()],
        compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
        constant_methods=metadata,
    )
    return edge.to_executorch(
        ExecutorchBackendConfig(
            extract_delegate_segments=True,
            do_quant_fusion_and_const_prop=True,
            memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
        )
    )


def _metadata(
    decoder: Decoder, bos_token_id: int | None, eos_token_ids: list[int]
) -> dict[str, Any]:
    """Constant methods that ExecuTorch's LLM runner and LlmModule read."""
    metadata: dict[str, Any] = {
        "get_max_seq_len": decoder.context - 1,
        "get_max_context_len": decoder.context,
        "get_vocab_size": decoder.vocab_size,
        "get_n_layers": len(decoder.shapes),
        "use_kv_cache": True,
        "use_sdpa_with_kv_cache": True,
        "enable_dynamic_shape": True,
    }
    if bos_token_id is not None:
        metadata["get_bos_id"] = bos_token_id
    if eos_token_ids:
        metadata["get_eos_ids"] = eos_token_ids
    return metadata
