"""A latency table: how long a token takes on a device, by the size of the model. Torch-free.

Decoding one token reads every weight once, so its time on a given device and backend is close to a
straight line over the parameters. A few measured sizes make a table, and a table turns a latency
into a number of parameters. That is all that pruning asks of it, so a finer model of a device, by
shape rather than by size, can take its place.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

from toolchain.errors import BadRequestError

LATENCY_SCHEMA = "paredown.latency/1"


def read_latency_table(path: Path) -> list[tuple[int, float]]:
    """(parameters, ms per generated token) in increasing order.

    The file is `{"schema": "paredown.latency/1", "points": [[parameters, ms_per_token], ...]}`.

    Raises:
        BadRequestError: no such file, another schema, fewer than two points, or a larger model that
            is faster.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = sorted((int(count), float(ms)) for count, ms in content["points"])
        schema = content.get("schema")
    except OSError as error:
        raise BadRequestError(f"cannot read latency table {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadRequestError(
            f"latency table {path} is not JSON of the schema {LATENCY_SCHEMA}: {error}"
        ) from error
    if schema != LATENCY_SCHEMA:
        raise BadRequestError(f"latency table {path} has the schema {schema!r}", LATENCY_SCHEMA)
    if len(found) < 2:
        raise BadRequestError(f"latency table {path} has {len(found)} points", "measure two sizes")
    for (small, faster), (large, slower) in pairwise(found):
        if large == small or slower <= faster:
            raise BadRequestError(
                f"latency table {path}: {large:,} parameters take {slower:g} ms, "
                f"{small:,} take {faster:g} ms",
                "measure sizes further apart, or with more launches",
            )
    return found


def parameters_within(points: list[tuple[int, float]], latency_ms: float) -> int:
    """The most parameters whose token takes at most `latency_ms`, by linear interpolation.

    Beyond the measured sizes the nearest segment goes on; the result may then be zero or less.
    """
    segments = list(pairwise(points))
    (small, faster), (large, slower) = next(
        (segment for segment in segments if latency_ms <= segment[1][1]), segments[-1]
    )
    return int(small + (large - small) * (latency_ms - faster) / (slower - faster))
