"""Runs a .pte for a program that cannot: serve_pte.py MODEL.pte, questions on stdin.

A question is a position (int64), a count (int32) and token ids (int64), big-endian as Java writes
them; the answer is the size of the vocabulary (int32) and float32 logits in little-endian.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

from runtime_py.engines.executorch import open_method


def main(path: str) -> None:
    """Serve until stdin ends."""
    out = sys.stdout.buffer
    opened = open_method(Path(path), threads=1)
    out.write(struct.pack(">i", 1))
    out.flush()
    while head := sys.stdin.buffer.read(12):
        position, count = struct.unpack(">qi", head)
        tokens = struct.unpack(f">{count}q", sys.stdin.buffer.read(8 * count))
        inputs = (
            opened.torch.tensor([tokens], dtype=opened.torch.int64),
            opened.torch.tensor([position], dtype=opened.torch.int64),
        )
        logits = opened.forward(inputs, clone_outputs=False)[0].numpy()
        out.write(struct.pack(">i", logits.shape[-1]) + logits.astype("<f4").tobytes())
        out.flush()


if __name__ == "__main__":
    main(sys.argv[1])
