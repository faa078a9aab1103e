"""Short parameter-efficient retraining, merged into the weights before they are saved.

Unlike the masks of `toolchain.pruning.joint` this is training, if of few parameters, and so never
done unless asked for. The trainer is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from toolchain.model.family import Family
from toolchain.pruning.distil import Parameters

RANK = 8


@dataclass(frozen=True)
class Norms:
    """An `Adaptation`: weights and biases of all norms within the layers."""

    family: Family

    def start(self, tensors: Mapping[str, Tensor], generator: torch.Generator) -> Parameters:
        """The weights as they are."""
        del generator
        owners = (*self.family.layer_norms, self.family.query_norm, self.family.key_norm)
        names = [f"{owner}.{kind}" for owner in owners for kind in ("weight", "bias")]
        return {name: tensors[name].float().clone() for name in names if name in tensors}

    def apply(self, tensors: Mapping[str, Tensor], parameters: Parameters) -> dict[str, Tensor]:
        """The trained weights in place of the old ones."""
        del tensors
        return dict(parameters)


@dataclass(frozen=True)
class Lora:
    """An `Adaptation`: a low-rank change of every projection (Hu et al. 2021, arXiv 2106.09685)."""

    family: Family
    rank: int = RANK

    def _names(self) -> list[str]:
        family = self.family
        owners = (*family.attention_inputs, family.output, *family.mlp_inputs, family.down)
        return [f"{owner}.weight" for owner in owners]

    def start(self, tensors: Mapping[str, Tensor], generator: torch.Generator) -> Parameters:
        """A random, uniform within ±1/√columns, as a linear layer starts; B zero."""
        out = {}
        for name in self._names():
            rows, columns = tensors[name].shape
            rank = min(self.rank, rows, columns)
            uniform = 2 * torch.rand(rank, columns, generator=generator) - 1
            out[f"{name}.a"] = uniform / columns**0.5
            out[f"{name}.b"] = torch.zeros(rows, rank)
        return out

    def apply(self, tensors: Mapping[str, Tensor], parameters: Parameters) -> dict[str, Tensor]:
        """W' = W + BA for each weight as it is stored."""
        return {
            name: tensors[name] + parameters[f"{name}.b"] @ parameters[f"{name}.a"]
            for name in self._names()
        }
