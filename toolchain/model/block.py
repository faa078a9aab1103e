"""One residual branch of a decoder layer, as the pruner runs it: attention or MLP by itself."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from toolchain.calibrate.stats import exact_matmul
from toolchain.model.compact import ATTENTION
from toolchain.model.families import Family


class Rotary:
    """Makes (cos, sin) for the positions of a batch."""

    def __init__(self, module: nn.Module, device: str) -> None:
        self._module = module
        self._device = device

    def __call__(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Position embeddings of [b, t, hidden_size] that starts at position 0."""
        positions = torch.arange(hidden.shape[1], device=self._device).unsqueeze(0)
        cos, sin = self._module(hidden, positions)
        return cos, sin


class Block:
    """One residual branch of a decoder layer: attention or MLP, each ended by a projection."""

    def __init__(self, family: Family, part: str, rotary: Rotary) -> None:
        self.part = part
        self.projection_name = family.output if part == ATTENTION else family.down
        self._norm = family.attention_norm if part == ATTENTION else family.mlp_norm
        self._module = family.attention if part == ATTENTION else family.mlp
        self._rotary = rotary

    def projection(self, layer: nn.Module) -> nn.Linear:
        """The output projection within `layer`."""
        module = layer.get_submodule(self.projection_name)
        assert isinstance(module, nn.Linear)  # noqa: S101 - every family's is
        return module

    def branch(self, layer: nn.Module, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Input [b, t, d] and output [b, t, m] (bias included) of the projection at `hidden`."""
        seen: list[Tensor] = []
        handle = self.projection(layer).register_forward_pre_hook(
            lambda _, inputs: seen.append(inputs[0])
        )
        try:
            output = self._run(layer, hidden)
        finally:
            handle.remove()
        return seen[0], output

    def project(self, inputs: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """Output [b, t, m] of the projection in `tensors` (a layer's) at its input [b, t, k]."""
        weight = tensors[f"{self.projection_name}.weight"].to(inputs)
        bias = tensors.get(f"{self.projection_name}.bias")
        with exact_matmul():
            return nn.functional.linear(inputs, weight, None if bias is None else bias.to(inputs))

    def join(self, layer: nn.Module, hidden: Tensor, output: Tensor) -> Tensor:
        """The residual stream [b, t, hidden_size] once the projection's `output` is in it."""
        del layer
        return hidden + output

    def apply(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """The residual stream after this block."""
        return self.join(layer, hidden, self._run(layer, hidden))

    def _run(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        normed = layer.get_submodule(self._norm)(hidden)
        module = layer.get_submodule(self._module)
        with exact_matmul():
            if self.part == ATTENTION:
                # No mask: causal attention, whose earlier positions never see padding on the right.
                output: Tensor = module(
                    hidden_states=normed,
                    position_embeddings=self._rotary(hidden),
                    attention_mask=None,
                )[0]
            else:
                output = module(normed)
        return output
