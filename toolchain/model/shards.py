"""Write weights as safetensors, tensor by tensor: no shard is ever in memory.

A safetensors file is the length of a JSON header, the header, and the tensors' bytes one after the
other. The header says where each tensor lies, so the bytes go to a file of their own first and are
put behind it in the end. Tensors of wider elements come first, which keeps all of them aligned.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from toolchain import store

LARGEST_SHARD_BYTES = 2 * 10**9
DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}
_ALIGNMENT = 8


class ShardWriter:
    """One safetensors file that grows a tensor at a time and appears whole in the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[int, dict[str, dict[str, Any]]] = {}
        self._sizes: dict[int, int] = {}

    @property
    def names(self) -> list[str]:
        """Tensors so far."""
        return sorted(name for entries in self._entries.values() for name in entries)

    @property
    def size(self) -> int:
        """Bytes of the tensors so far."""
        return sum(self._sizes.values())

    def add(self, name: str, tensor: Tensor) -> None:
        """Append one tensor."""
        width = tensor.element_size()
        start = self._sizes.get(width, 0)
        raw = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
        with self._part(width).open("ab" if start else "wb") as stream:
            raw.numpy().tofile(stream)
        self._sizes[width] = start + len(raw)
        self._entries.setdefault(width, {})[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, start + len(raw)],
        }

    def close(self) -> None:
        """Put header and bytes together."""
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        start = 0
        widths = sorted(self._sizes, reverse=True)
        for width in widths:
            for name, entry in self._entries[width].items():
                entry["data_offsets"] = [start + offset for offset in entry["data_offsets"]]
                header[name] = entry
            start += self._sizes[width]
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        temporary = self._path.with_name(f".{self._path.name}.partial")
        with temporary.open("wb") as out:
            out.write(len(text).to_bytes(8, "little"))
            out.write(text)
            for width in widths:
                with self._part(width).open("rb") as stream:
                    shutil.copyfileobj(stream, out, 1 << 20)
                self._part(width).unlink()
        temporary.replace(self._path)

    def _part(self, width: int) -> Path:
        return self._path.with_name(f".{self._path.name}.{width}.partial")


def save_weights(
    folder: Path,
    groups: Iterable[dict[str, Tensor]],
    largest_shard_bytes: int = LARGEST_SHARD_BYTES,
) -> None:
    """Write `model.safetensors`, or shards and their index in transformers' layout.

    Args:
        folder: where to write.
        groups: tensors by full name, group by group (such as a layer); one group is in memory at a
            time, and a group is never split.
        largest_shard_bytes: a shard is closed before it grows beyond this.
    """
    shards = [ShardWriter(folder / _part_name(0))]
    for group in groups:
        added = sum(tensor.numel() * tensor.element_size() for tensor in group.values())
        if shards[-1].size and shards[-1].size + added > largest_shard_bytes:
            shards[-1].close()
            shards.append(ShardWriter(folder / _part_name(len(shards))))
        for name, tensor in group.items():
            shards[-1].add(name, tensor)
    shards[-1].close()
    if len(shards) == 1:
        (folder / _part_name(0)).replace(folder / "model.safetensors")
        return
    weight_map = {}
    for index, shard in enumerate(shards):
        file = f"model-{index + 1:05d}-of-{len(shards):05d}.safetensors"
        (folder / _part_name(index)).replace(folder / file)
        weight_map.update(dict.fromkeys(shard.names, file))
    store.write_json(
        folder / "model.safetensors.index.json",
        {
            "metadata": {"total_size": sum(shard.size for shard in shards)},
            "weight_map": dict(sorted(weight_map.items())),
        },
    )


def _part_name(index: int) -> str:
    return f"part-{index:05d}.safetensors"
