"""Rows of a stored table, read from its safetensors file with ordinary reads.

What is mapped counts as memory of the process, page after page, as long as any tensor of the file
is alive; a vocabulary table read in slices must not end up in memory whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


@dataclass(frozen=True)
class TableRows:
    """A two-dimensional tensor of a file."""

    file: Path
    offset: int
    """Of its first byte in the file."""
    dtype: torch.dtype
    count: int
    """Rows."""
    width: int
    """Columns."""

    @classmethod
    def open(cls, file: Path, name: str) -> TableRows:
        """Find the tensor `name`; reads the file's header alone.

        Raises:
            KeyError: no such tensor, or one whose dtype is no float.
        """
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            entry = json.loads(stream.read(length))[name]
        count, width = entry["shape"]
        start = 8 + length + entry["data_offsets"][0]
        return cls(file, start, DTYPES[entry["dtype"]], count, width)

    def read(self, start: int, stop: int) -> Tensor:
        """Rows from `start` to before `stop`, [stop - start, width] as stored."""
        return self._typed(
            np.fromfile(
                self.file,
                dtype=np.uint8,
                count=(stop - start) * self._row_bytes,
                offset=self.offset + start * self._row_bytes,
            )
        )

    def at(self, index: Tensor) -> Tensor:
        """The given rows, [n, width] as stored."""
        out = np.empty((len(index), self._row_bytes), dtype=np.uint8)
        with self.file.open("rb") as stream:
            for place, row in enumerate(index.tolist()):
                stream.seek(self.offset + row * self._row_bytes)
                stream.readinto(out[place].data)
        return self._typed(out)

    @property
    def _row_bytes(self) -> int:
        return self.width * self.dtype.itemsize

    def _typed(self, raw: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
        return torch.from_numpy(raw.reshape(-1)).view(self.dtype).view(-1, self.width)
