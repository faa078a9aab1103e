"""One residual branch of a layer, as the pruner runs it: attention or MLP by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toolchain.calibrate.stats import exact_matmul
from toolchain.model import decoder_layer
from toolchain.model.compact import ATTENTION, oriented, projection_name, read_projection
from toolchain.model.family import Family


class Rotary:
    """Makes (cos, sin) for the positions of a batch; `module` is None for learned positions."""

    def __init__(self, module: nn.Module | None, device: str) -> None:
        self._module = module
        self._device = device

    def __call__(self, hidden: Tensor, layer_type: str | None) -> tuple[Tensor, Tensor] | None:
        """Position embeddings of [b, t, hidden_size] that starts at position 0.

        `layer_type` is for a family whose layers have different ones.
        """
        if self._module is None:
            return None
        positions = torch.arange(hidden.shape[1], device=self._device).unsqueeze(0)
        kind = () if layer_type is None else (layer_type,)
        cos, sin = self._module(hidden, positions, *kind)
        return cos, sin


@dataclass(frozen=True)
class Projection:
    """An output projection within a layer, whichever way its weight is stored."""

    weight: Tensor
    """[m, d]."""
    bias: Tensor | None
    """[m]."""


class _ReachedError(Exception):
    """The forward pass has come to the projection, and that is far enough."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self.inputs = inputs


class Block:
    """One residual branch of a layer: attention or MLP, each ended by a projection."""

    def __init__(self, family: Family, part: str, rotary: Rotary) -> None:
        self.part = part
        self.family = family
        self.projection_name = projection_name(family, part)
        attention = part == ATTENTION
        self._norm = family.attention_norm if attention else family.mlp_norm
        self._post_norm = family.attention_post_norm if attention else family.mlp_post_norm
        self._sum_norm = family.attention_sum_norm if attention else family.mlp_sum_norm
        self._rotary = rotary

    def projection(self, layer: nn.Module) -> Projection:
        """The output projection within `layer`."""
        module = layer.get_submodule(self.projection_name)
        assert isinstance(module.weight, Tensor)  # noqa: S101 - a projection's
        assert module.bias is None or isinstance(module.bias, Tensor)  # noqa: S101
        return Projection(oriented(self.family, module.weight), module.bias)

    def branch(self, layer: nn.Module, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Input [b, t, d] and output [b, t, m] (bias included) of the projection at `hidden`."""
        seen: list[Tensor] = []
        handle = layer.get_submodule(self.projection_name).register_forward_pre_hook(
            lambda _, inputs: seen.append(inputs[0])
        )
        try:
            output = self.output(layer, hidden)
        finally:
            handle.remove()
        return seen[0], output

    def inputs(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """Input [b, t, d] of the projection at `hidden`; the projection itself is not computed."""

        def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            raise _ReachedError(inputs[0])

        handle = layer.get_submodule(self.projection_name).register_forward_pre_hook(stop)
        try:
            self.output(layer, hidden)
        except _ReachedError as reached:
            return reached.inputs
        finally:
            handle.remove()
        raise AssertionError(f"{self.projection_name} was not called")

    def project(self, inputs: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """Output [b, t, m] of the projection in `tensors` (a layer's) at its input [b, t, k]."""
        weight = read_projection(tensors, self.family, self.part).T.to(inputs)
        bias = tensors.get(f"{self.projection_name}.bias")
        with exact_matmul():
            return nn.functional.linear(inputs, weight, None if bias is None else bias.to(inputs))

    def join(self, layer: nn.Module, hidden: Tensor, output: Tensor) -> Tensor:
        """The residual stream [b, t, hidden_size] once the projection's `output` is in it."""
        joined = hidden + self._normed(layer, self._post_norm, output)
        return self._normed(layer, self._sum_norm, joined)

    def apply(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """The residual stream after this block."""
        return self.join(layer, hidden, self.output(layer, hidden))

    def output(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """Output [b, t, m] of the projection (bias included) at `hidden`."""
        normed = self._normed(layer, self._norm, hidden)
        with exact_matmul():
            if self.part == ATTENTION:
                return self._attend(layer, normed)
            return decoder_layer.run_mlp(self.family, layer, normed)

    def _attend(self, layer: nn.Module, normed: Tensor) -> Tensor:
        """Causal attention, or an encoder's: that one needs batches without padding.

        In causal attention earlier positions never see padding on the right.
        """
        family = self.family
        position_embeddings = self._rotary(normed, decoder_layer.rotary_layer_type(family, layer))
        known = {} if position_embeddings is None else {"position_embeddings": position_embeddings}
        # transformers' fused attention is causal by itself where there is no mask.
        mask = _causal_mask(normed) if family.eager_attention else None
        attention = layer.get_submodule(family.attention)
        output: Tensor = attention(hidden_states=normed, attention_mask=mask, **known)[0]
        if not family.output.startswith(f"{family.attention}."):
            output = layer.get_submodule(family.output)(output)
        return output

    @staticmethod
    def _normed(layer: nn.Module, norm: str | None, hidden: Tensor) -> Tensor:
        if norm is None:
            return hidden
        normed: Tensor = layer.get_submodule(norm)(hidden)
        return normed


def _causal_mask(hidden: Tensor) -> Tensor:
    """What to add to the attention scores: 0 up to each position, -inf after it; [1, 1, t, t]."""
    length = hidden.shape[1]
    mask = hidden.new_full((length, length), float("-inf"))
    return mask.triu(1)[None, None]
