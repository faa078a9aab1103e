"""Numbers for people, each bound to its place in the summary."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Format = Callable[[float], str]


def significant(value: float, digits: int = 3) -> str:
    """`digits` significant digits; whole numbers from 10^digits on, an exponent below 1e-4."""
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e-4:
        return f"{value:.{digits - 1}e}"
    if size >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(size)))}f}"


FORMATS: dict[str, Format] = {
    "count": lambda v: f"{v:,.0f}",
    "number": significant,
    "precise": lambda v: significant(v, 4),
    "percent": lambda v: f"{100 * v:.1f}%",
    "points": lambda v: f"{100 * v:+.1f}",
    "megabytes": lambda v: f"{significant(v / 1e6)} MB",
    "change": lambda v: f"{100 * (v - 1):+.1f}%",
    "times": lambda v: f"{significant(v)}\N{MULTIPLICATION SIGN}",
    "seconds": lambda v: f"{significant(v)} s",
}
"""By style."""

ABSENT = "not available"


def at(summary: Any, pointer: str) -> Any:
    """The value at `pointer`: keys and list places joined by '/'."""
    value = summary
    for part in pointer.split("/"):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def shown(value: float | None, style: str) -> str:
    """`value` in the given style, or a word where there is none."""
    return ABSENT if value is None else FORMATS[style](value)
