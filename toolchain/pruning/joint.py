"""Mask tuning in its strong form: the factors of all layers together, by distilling.

One factor for each input channel of every output projection (each MLP neuron at down_proj, each
channel of a head at o_proj), and optionally one for each output channel. They fold into the
projections' columns and rows, so they cost nothing at run time. Kwon et al. 2022 (arXiv 2204.09656)
solve for such factors layer by layer; tuning all of them at once towards the dense model's
distribution is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toolchain.model.compact import PARTS, oriented, projection_name, read_projection
from toolchain.model.family import Family
from toolchain.pruning.distil import Parameters


@dataclass(frozen=True)
class Masks:
    """An `Adaptation`: factors on the columns (and rows) of the output projections."""

    family: Family
    parts: Sequence[str] = PARTS
    outputs: bool = True
    """Factors on the output channels too."""

    def start(self, tensors: Mapping[str, Tensor], generator: torch.Generator) -> Parameters:
        """All ones."""
        del generator
        out = {}
        for part in self.parts:
            width, outputs = read_projection(tensors, self.family, part).shape
            out[f"{part}.inputs"] = torch.ones(width)
            if self.outputs:
                out[f"{part}.outputs"] = torch.ones(outputs)
        return out

    def apply(self, tensors: Mapping[str, Tensor], parameters: Parameters) -> dict[str, Tensor]:
        """W' = diag(inputs) W diag(outputs); biases stay."""
        out = {}
        for part in self.parts:
            weight = read_projection(tensors, self.family, part)
            weight = weight * parameters[f"{part}.inputs"].unsqueeze(1)
            if self.outputs:
                weight = weight * parameters[f"{part}.outputs"]
            name = f"{projection_name(self.family, part)}.weight"
            out[name] = oriented(self.family, weight.T)
        return out
