"""What the command line says about a measurement: lists, ranges, durations, percentages."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime_py.schema import Protocol
from toolchain.errors import BadRequestError, did_you_mean
from toolchain.profiling.output import FORMATS
from toolchain.recipe import ProfileSettings, build

_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
MOST_ROWS = 200
"""Of a grid: more is a slip of the pen, and would take days."""


def grid(
    prompt_tokens: str,
    generated_tokens: str,
    depth: str,
    threads: str,
    fixed: Mapping[str, object],
) -> list[Protocol]:
    """A protocol for every combination of the lists; `fixed` has the other `ProfileSettings`.

    Raises:
        BadRequestError: no number, a value out of bounds, too many combinations.
    """
    depths = numbers(depth, "--depth")
    prompts = numbers(prompt_tokens, "--prompt-tokens")
    generated = numbers(generated_tokens, "--generated-tokens")
    counts = numbers(threads, "--threads")
    rows = len(depths) * len(prompts) * len(generated) * len(counts)
    if rows > MOST_ROWS:
        raise BadRequestError(f"that makes {rows} rows", f"ask for {MOST_ROWS} or fewer")
    return [
        build(
            ProfileSettings,
            {
                "depth": d,
                "prompt_tokens": p,
                "generated_tokens": n,
                "threads": t,
                **fixed,
            },
            "profile",
        ).protocol
        for d, p, n, t in itertools.product(depths, prompts, generated, counts)
    ]


def numbers(text: str, option: str) -> list[int]:
    """`128,512` and `1-4`, in the order given, each once.

    Raises:
        BadRequestError: anything else.
    """
    values: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first = int(match[1]) if match else 0
        last = int(match[2] or match[1]) if match else -1
        if not first <= last < first + MOST_ROWS:
            raise BadRequestError(f"{option} is '{text}'", "give numbers such as 128,512 or 1-4")
        values += range(first, last + 1)
    return list(dict.fromkeys(values))


def seconds(text: str) -> float:
    """`600s`, `10m`, `1h` or plain seconds.

    Raises:
        BadRequestError: anything else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text)
    if match is None or match[2] not in _UNITS_S:
        raise BadRequestError(f"'{text}' is no duration", "give one such as 600s or 10m")
    return float(match[1]) * _UNITS_S[match[2]]


def share(text: str, option: str) -> float:
    """`5%` or `0.05`, 0 or more and below 1.

    Raises:
        BadRequestError: anything else.
    """
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise BadRequestError(f"{option} is '{text}'", "give a share such as 5%")
    return value


def choose_output(output: str, as_json: bool) -> str:
    """The output format; `--json` is `--output json`.

    Raises:
        BadRequestError: no such format.
    """
    if output not in FORMATS:
        raise BadRequestError(f"unknown output '{output}'", did_you_mean(output, FORMATS))
    return "json" if as_json else output


def one_of_each(devices: Sequence[str], record: Path | None) -> list[str]:
    """The devices, if each is named once, and only one where its session is recorded.

    Raises:
        BadRequestError: one twice, or several with a recording.
    """
    for device in devices:
        if devices.count(device) > 1:
            raise BadRequestError(f"device {device} is named twice", "name each once")
    if record is not None and len(devices) > 1:
        raise BadRequestError(f"{len(devices)} devices make no one recording", "record one")
    return list(devices)
