"""Where the pruner computes, and what it gives back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toolchain.pruning.device import resolve_device, return_freed_memory

STATM = Path("/proc/self/statm")


def test_the_cpu_is_always_there() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in {"cpu", "cuda", "mps"}


@pytest.mark.skipif(not STATM.is_file(), reason="needs Linux's /proc")
def test_freed_memory_goes_back_to_the_system() -> None:
    kept = [torch.ones(16_384) for _ in range(3000)]  # 64 KiB each: from the heap, not mapped
    full = resident_pages()
    kept = kept[-1:]  # the last one pins the heap's end, so that free alone gives nothing back
    return_freed_memory()
    freed = 0.5 * 3000 * 65_536 / 4096
    assert full - resident_pages() > freed
    assert len(kept) == 1


def resident_pages() -> int:
    return int(STATM.read_text().split()[1])
