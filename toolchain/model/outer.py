"""Everything of a model outside its layers, without its vocabulary tables in memory.

The embedding of a large vocabulary is bigger than any layer, and in float32 bigger still. Here only
the rows of the tokens at hand are read, and logits exist for a slice of the vocabulary at a time:
what is asked of them (divergences, likelihoods) is summed over the slices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from toolchain.calibrate.stats import exact_matmul
from toolchain.model import families
from toolchain.model.checkpoint import Checkpoint
from toolchain.model.sizes import CHUNK_LOGITS, SLICE_ELEMENTS


class Entrance:
    """What comes before the layers of a checkpoint, on one device: all of an encoder's outer part.

    Whatever head an encoder has is not ours.
    """

    def __init__(self, source: Checkpoint, device: str = "cpu") -> None:
        """Read the small outer tensors.

        Raises:
            BadRequestError: a table is absent or holds NaN or Inf.
        """
        self._device = device
        self._embedding = f"{source.family.embedding}.weight"
        self._model = source.small_outer(device)
        self._rows = source.rows(self._embedding)

    @property
    def rotary_embedding(self) -> nn.Module | None:
        """As `families.rotary_embedding`."""
        return families.rotary_embedding(self._model)

    def embed(self, token_ids: Tensor) -> Tensor:
        """Hidden states before the first layer, float32 [b, t, hidden_size], of ids [b, t].

        Only the rows of the ids that occur are read.
        """
        used, places = torch.unique(token_ids.cpu(), return_inverse=True)
        table = families.embedding(self._model)
        assert isinstance(table, nn.Embedding)  # noqa: S101 - every family's is
        table.padding_idx = None  # nothing here is trained, and the rows have other numbers
        rows = self._rows.at(used).to(self._device, torch.float32)
        table.weight = nn.Parameter(rows, requires_grad=False)
        try:
            return families.embed(self._model, places.to(self._device))
        finally:
            table.register_parameter("weight", None)


class Outer(Entrance):
    """Embedding, final norm and head of a decoder's checkpoint, on one device."""

    def __init__(
        self,
        source: Checkpoint,
        device: str = "cpu",
        *,
        slice_elements: int = SLICE_ELEMENTS,
        chunk_logits: int = CHUNK_LOGITS,
    ) -> None:
        """As `Entrance`; a small head is read whole."""
        super().__init__(source, device)
        self._chunk_logits = chunk_logits
        self._slice_rows = max(1, slice_elements // source.spec.hidden_size)
        self._cap = families.soft_cap(source.config)
        head = f"{source.family.head}.weight"
        self._head_rows = source.rows(self._embedding if source.spec.tie_word_embeddings else head)
        small = source.spec.vocab_size <= self._slice_rows
        self._whole = self._read_head(slice(0, self.vocab_size)) if small else None

    @property
    def vocab_size(self) -> int:
        """Entries of the vocabulary."""
        return self._head_rows.count

    def normed(self, hidden: Tensor) -> Tensor:
        """What the head reads: `hidden` [..., hidden_size] after the final norm."""
        normed: Tensor = families.final_norm(self._model)(hidden)
        return normed

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [..., vocab_size] of final hidden states, the whole vocabulary at once."""
        normed = self.normed(hidden)
        return torch.cat([self.sliced_logits(normed, weight) for _, weight in self.slices()], -1)

    def divergences(self, reference: Tensor, candidates: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """KL(reference ‖ candidate) at each position, in nats, in one pass over the head.

        With logits a and b, Z their sums of exponentials and p = softmax(a),
        KL = Σ p (a - b) - ln Z_a + ln Z_b; the sums are kept relative to the largest logit so far
        (online softmax: Milakov & Gimelshein 2018, arXiv 1805.02867).

        Args:
            reference: final hidden states [n, hidden_size], before the final norm.
            candidates: others like it, by name.

        Returns:
            float64 [n] on the CPU, by name.
        """
        dense = self.normed(reference.to(self._device))
        others = {name: self.normed(h.to(self._device)) for name, h in candidates.items()}
        p = Exponentials(len(dense))
        q = {name: Exponentials(len(dense)) for name in others}
        gaps = {name: torch.zeros(len(dense), dtype=torch.float64) for name in others}
        for _, weight in self.slices():
            for rows in self.positions(len(dense), len(weight)):
                a = self.sliced_logits(dense[rows], weight)
                exponentials, rescale = p.add(rows, a)
                for name, normed in others.items():
                    b = self.sliced_logits(normed[rows], weight)
                    gap = _sum(exponentials * (a - b))
                    gaps[name][rows] = gaps[name][rows] * rescale + gap
                    q[name].add(rows, b)
        return {n: gaps[n] / p.total - p.log_total + q[n].log_total for n in others}

    def negative_log_likelihood(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Nats of each target [n], float64 on the CPU; final hidden states [n, hidden_size]."""
        normed = self.normed(hidden.to(self._device))
        q = Exponentials(len(normed))
        chosen = torch.empty(len(normed), dtype=torch.float64)
        for entries, weight in self.slices():
            for rows in self.positions(len(normed), len(weight)):
                logits = self.sliced_logits(normed[rows], weight)
                q.add(rows, logits)
                within = targets[rows].cpu() - entries.start
                here = ((within >= 0) & (within < len(weight))).nonzero().squeeze(1)
                found = logits[here.to(self._device), within[here].to(self._device)]
                chosen[rows.start + here] = found.cpu().double()
        return q.log_total - chosen

    def sliced_logits(self, normed: Tensor, weight: Tensor) -> Tensor:
        """Logits [n, v] of what the head reads [n, hidden_size], for a slice of its rows."""
        with exact_matmul():
            return families.capped(nn.functional.linear(normed, weight), self._cap)

    def cap_slope(self, logits: Tensor) -> Tensor | None:
        """Derivative of the logits' soft cap where it gave `logits`; None without a cap."""
        return None if self._cap is None else 1 - (logits / self._cap).square()

    def slices(self) -> Iterator[tuple[slice, Tensor]]:
        """Slices of the vocabulary and the head's rows for them, float32."""
        if self._whole is not None:
            yield slice(0, self.vocab_size), self._whole
            return
        for start in range(0, self.vocab_size, self._slice_rows):
            entries = slice(start, min(start + self._slice_rows, self.vocab_size))
            yield entries, self._read_head(entries)

    def _read_head(self, entries: slice) -> Tensor:
        return self._head_rows.read(entries.start, entries.stop).to(self._device, torch.float32)

    def positions(self, count: int, entries: int) -> Iterator[slice]:
        """Slices of positions whose logits for that many entries are no more than allowed."""
        size = max(1, self._chunk_logits // entries)
        return (slice(i, min(i + size, count)) for i in range(0, count, size))


class Exponentials:
    """Σ exp(logit) at each position over slices of the vocabulary, without overflow."""

    def __init__(self, count: int) -> None:
        self._largest = torch.full((count,), -torch.inf, dtype=torch.float32)
        self.total = torch.zeros(count, dtype=torch.float64)
        """Relative to exp of the largest logit."""

    def add(self, rows: slice, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Take in the logits [n, v] of a slice at the positions `rows`.

        Returns:
            Their exponentials relative to the largest logit so far [n, v], and the factors, float64
            [n], that bring what was summed before to the same scale.
        """
        before = self._largest[rows]
        largest = torch.maximum(before, logits.amax(-1).cpu())
        rescale = (before - largest).double().exp()
        exponentials = (logits - largest.to(logits.device).unsqueeze(-1)).exp_()
        self.total[rows] = self.total[rows] * rescale + _sum(exponentials)
        self._largest[rows] = largest
        return exponentials, rescale

    @property
    def log_total(self) -> Tensor:
        """ln Σ exp(logit), float64 [n]."""
        return self._largest.double() + self.total.log()


def _sum(values: Tensor) -> Tensor:
    """Row sums, float64 on the CPU."""
    return values.sum(-1).cpu().double()
