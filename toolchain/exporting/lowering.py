"""From a torch module to an ExecuTorch program for XNNPACK."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from toolchain.quiet import quiet


@torch.no_grad()
def lower(
    module: nn.Module,
    example: tuple[Tensor, ...],
    dynamic_shapes: dict[str, Any],
    metadata: dict[str, Any],
) -> Any:
    """The program (`ExecutorchProgramManager`) whose method `forward` is `module`.

    Linear layers over torchao's tensors become XNNPACK's quantised ones, lookups in such a table
    ExecuTorch's.

    Args:
        module: in eval mode; its buffers that it changes become state of the loaded method.
        example: inputs of any allowed size.
        dynamic_shapes: as `torch.export.export` takes them.
        metadata: constant methods, by name.
    """
    with quiet():
        import executorch.extension.llm.custom_ops.custom_ops  # noqa: F401  registers llama::*
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import (
            EdgeCompileConfig,
            ExecutorchBackendConfig,
            to_edge_transform_and_lower,
        )
        from executorch.exir.passes import MemoryPlanningPass

        exported = torch.export.export(module.eval(), example, dynamic_shapes=dynamic_shapes)
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
                # Else the core form copies its whole cache at each step.
                run_reinplace_pass=True,
                memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
            )
        )
