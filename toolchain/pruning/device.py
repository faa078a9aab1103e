"""Which device the pruner computes on, and giving its host's memory back."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import torch

from toolchain.errors import BadRequestError


def resolve_device(name: str) -> str:
    """The torch device behind `auto` (cuda, else mps, else cpu), `cpu`, `cuda` or `mps`.

    Raises:
        BadRequestError: this machine or this build of torch does not have it.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return next(device for device, here in available.items() if here)
    if not available[name]:
        here = ", ".join(device for device, found in available.items() if found)
        raise BadRequestError(
            f"device '{name}' is not available here", f"use --device auto (available: {here})"
        )
    return name


def return_freed_memory() -> None:
    """Hand memory that was freed back to the system, where the C library is one that keeps it.

    glibc holds on to freed blocks below its mmap threshold, which grows to 32 MiB with use: between
    the forward passes of one layer and the solve that follows they would add to the peak.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
