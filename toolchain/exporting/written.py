"""What a backend reports of the model file it wrote. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Written:
    """One model file, as the manifest describes it."""

    model_file: str
    """Its name inside the bundle; external data beside it is found by listing."""
    versions: dict[str, str]
    """Versions of the packages (and formats) that determine the artifact."""
    max_prefill_tokens: int
    """Most tokens of one call; 0: no limit."""
    kv_cache: str
    """`internal`, `functional` or `shared`, as in `Manifest.kv_cache`; `none` for an encoder."""
    planned_arena_bytes: int | None = None
    """What the runtime plans for activations and KV cache together; None where it does not say."""
    packed_weights_bytes: int | None = None
    """Anonymous memory of weights repacked at load; None where unknown."""
