"""Losses at the head and their gradients, with logits for a slice of the vocabulary at a time.

The gradient of KL(dense ‖ model) and of the cross-entropy with respect to the model's logits b is
q - p, with q = softmax(b) and p the target. So the gradient with respect to what the head reads is
the difference of two means over the head's rows, which add up over slices of the vocabulary like
the sums of an online softmax (Milakov & Gimelshein 2018, arXiv 1805.02867): the head is read once,
and neither it nor the logits are ever whole in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toolchain.calibrate.stats import exact_matmul
from toolchain.model.outer import Exponentials, Outer


@dataclass(frozen=True)
class HeadLoss:
    """A loss summed over positions."""

    total: float
    """Nats."""
    gradient: Tensor
    """[n, hidden_size] with respect to the final hidden states, before the final norm."""


def distillation(outer: Outer, hidden: Tensor, teacher: Tensor) -> HeadLoss:
    """KL(teacher ‖ model) from final hidden states [n, hidden_size] of both."""
    with torch.no_grad():
        dense, normed = outer.normed(teacher.to(hidden.device)), outer.normed(hidden)
        p, q = _Mean(normed), _Mean(normed)
        gap = torch.zeros(len(normed), dtype=torch.float64)
        for _, weight in outer.slices():
            for rows in outer.positions(len(normed), len(weight)):
                a = outer.sliced_logits(dense[rows], weight)
                b = outer.sliced_logits(normed[rows], weight)
                slopes = outer.cap_slope(b)
                exponentials, rescale = p.add_(rows, a, weight, slopes)
                gap[rows] = gap[rows] * rescale + (exponentials * (a - b)).sum(-1).cpu().double()
                q.add_(rows, b, weight, slopes)
    total = gap / p.sums.total - p.sums.log_total + q.sums.log_total
    return HeadLoss(float(total.sum()), _pulled(outer, hidden, q.value() - p.value()))


def cross_entropy(outer: Outer, hidden: Tensor, targets: Tensor) -> HeadLoss:
    """-ln q(target) from final hidden states [n, hidden_size] and token ids [n]."""
    with torch.no_grad():
        normed = outer.normed(hidden)
        q = _Mean(normed)
        chosen = torch.zeros(len(normed), dtype=torch.float64)
        target_rows = torch.zeros_like(normed)
        for entries, weight in outer.slices():
            for rows in outer.positions(len(normed), len(weight)):
                logits = outer.sliced_logits(normed[rows], weight)
                slopes = outer.cap_slope(logits)
                q.add_(rows, logits, weight, slopes)
                within = targets[rows].cpu() - entries.start
                here = ((within >= 0) & (within < len(weight))).nonzero().squeeze(1)
                at = (here.to(logits.device), within[here].to(logits.device))
                chosen[rows.start + here] = logits[at].cpu().double()
                found = weight[at[1]]
                if slopes is not None:
                    found = found * slopes[at].unsqueeze(1)
                target_rows[rows.start + at[0]] = found
    total = q.sums.log_total - chosen
    return HeadLoss(float(total.sum()), _pulled(outer, hidden, q.value() - target_rows))


class _Mean:
    """Mean of the head's rows under softmax(logits), times the slope of the logits' cap."""

    def __init__(self, normed: Tensor) -> None:
        self.sums = Exponentials(len(normed))
        self._weighted = torch.zeros_like(normed)

    def add_(
        self, rows: slice, logits: Tensor, weight: Tensor, slopes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Take in a slice; returns what `Exponentials.add` does."""
        exponentials, rescale = self.sums.add(rows, logits)
        steep = exponentials if slopes is None else exponentials * slopes
        before = self._weighted[rows] * rescale.to(self._weighted).unsqueeze(1)
        with exact_matmul():
            self._weighted[rows] = before + steep @ weight
        return exponentials, rescale

    def value(self) -> Tensor:
        """[n, hidden_size]."""
        return self._weighted / self.sums.total.to(self._weighted).unsqueeze(1)


def _pulled(outer: Outer, hidden: Tensor, gradient: Tensor) -> Tensor:
    """The gradient before the final norm."""
    leaf = hidden.detach().requires_grad_()
    with torch.enable_grad():
        (pulled,) = torch.autograd.grad(outer.normed(leaf), leaf, gradient)
    return pulled
