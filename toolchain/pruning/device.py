"""Which device the pruner computes on."""

from __future__ import annotations

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
