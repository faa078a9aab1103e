"""A config.json that transformers 4.57 and 5 read alike.

transformers 5 keeps all of the rotary embedding in `rope_parameters`. 4.57 looks for `rope_theta`
and `rope_scaling`, and where they are missing it takes its defaults without a word: another model.
5 still reads the older keys, so a config with both is the same model to both. Torch-free.
"""

from __future__ import annotations

from typing import Any

from toolchain.model.families import FULL, SLIDING

OUTSIDE = ("rope_theta", "partial_rotary_factor")
"""What 4.57 keeps beside `rope_scaling` and not in it."""


def portable(config: dict[str, Any]) -> dict[str, Any]:
    """`config` with the keys that transformers 4.57 needs beside those of transformers 5.

    A config that has no `rope_parameters` is returned as it is: it is in the older form already.
    """
    rope = config.get("rope_parameters")
    if not rope:
        return config
    out = dict(config)
    if FULL in rope or SLIDING in rope:
        local = rope.get(SLIDING) or {}
        if "rope_theta" in local:
            out["rope_local_base_freq"] = local["rope_theta"]
        rope = rope.get(FULL) or {}
    out |= {key: rope[key] for key in OUTSIDE if key in rope}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "longrope":  # Phi-3's config of 4.57 takes these three keys and no other
        factors = {key: rope[key] for key in ("short_factor", "long_factor")}
        out["rope_scaling"] = {"type": kind, **factors}
    elif kind != "default":
        rest = {key: value for key, value in rope.items() if key not in (*OUTSIDE, "type")}
        out["rope_scaling"] = {**rest, "rope_type": kind}
    return out
