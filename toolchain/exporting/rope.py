"""Which rotary embeddings an exported graph can hold. Torch-free."""

from __future__ import annotations

from typing import Any

from toolchain.errors import BadRequestError
from toolchain.model import families

FIXED_ROPE_TYPES = ("default", "linear", "llama3", "yarn")
"""Rotary embeddings whose frequencies do not depend on the length of the sequence."""


def check_rope(config: dict[str, Any], name: str) -> None:
    """Refuse a rotary embedding that changes with the length of the sequence.

    Args:
        config: the parsed config.json.
        name: the model's name, for the message.

    Raises:
        BadRequestError: naming the type and the supported ones.
    """
    for kind in sorted(families.rope_types(config) - set(FIXED_ROPE_TYPES)):
        raise BadRequestError(
            f"{name} uses the rotary embedding '{kind}', which cannot be exported",
            f"supported: {', '.join(FIXED_ROPE_TYPES)}",
        )
