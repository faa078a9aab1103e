"""How much may be lost, by what is measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from toolchain.errors import BadRequestError, did_you_mean
from toolchain.validation.story_tasks import STORY_TASKS

PERPLEXITY, TASKS, GENERATION = "ppl", "tasks", "generation"

DEFAULTS = {PERPLEXITY: 0.1, TASKS: 0.05, GENERATION: 0.2}
"""`ppl`: relative rise of perplexity. `tasks`: share of a task's items, for every task without a
margin of its own. `generation`: share of the greedy texts that may be unsound beyond the dense
model's."""


def parse_margins(texts: Sequence[str]) -> dict[str, float]:
    """Read margins as the command line gives them: "ppl=10%" or "ppl=0.1".

    Raises:
        BadRequestError: not METRIC=VALUE, a repeated metric, or a value that is not a positive
            number.
    """
    margins: dict[str, float] = {}
    for text in texts:
        metric, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise BadRequestError(f"margin '{text}' is not METRIC=VALUE", "such as ppl=10%")
        if metric in margins:
            raise BadRequestError(f"margin '{metric}' is given twice", "give it once")
        margins[metric] = _value(text, value)
    return margins


def _value(text: str, value: str) -> float:
    hint = "give a positive share, such as 10% or 0.1"
    try:
        number = float(value.removesuffix("%"))
    except ValueError:
        raise BadRequestError(f"margin '{text}' is not a number", hint) from None
    number = number / 100 if value.endswith("%") else number
    if not (math.isfinite(number) and number > 0):
        raise BadRequestError(f"margin '{text}' is not positive", hint)
    return number


def check_margins(given: Mapping[str, float], tasks: Sequence[str]) -> dict[str, float]:
    """The margins in force: those given, and DEFAULTS for the others.

    Raises:
        BadRequestError: a margin on something that is not judged, or one that is no share of all
            items.
    """
    known = (*DEFAULTS, *tasks)
    for metric, value in given.items():
        if metric not in known:
            raise BadRequestError(
                f"margin on unknown metric '{metric}'", did_you_mean(metric, known)
            )
        if metric != PERPLEXITY and value >= 1:
            raise BadRequestError(
                f"margin {metric}={value:g} is not a share of all items", "give less than 100%"
            )
    return {**DEFAULTS, **given}


def check_names(given: Mapping[str, float], tasks: Sequence[str]) -> None:
    """`check_margins` before anything is opened, as far as names can be known by then.

    Args:
        given: the margins.
        tasks: as they were asked for; a file may name its task as it likes.

    Raises:
        BadRequestError: as `check_margins`.
    """
    if not any(name.endswith((".jsonl", ".yaml")) for name in tasks):
        check_margins(given, [*STORY_TASKS, *tasks])


def task_margin(margins: Mapping[str, float], task: str) -> float:
    """The margin of one task, from those in force."""
    return margins.get(task, margins[TASKS])
