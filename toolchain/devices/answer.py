"""What the end of an agent's or a runner's process means, wherever it ran."""

from __future__ import annotations

import signal
from typing import TypeVar

from runtime_py.schema import SchemaError, loads
from toolchain.errors import (
    EXIT_BAD_REQUEST,
    EXIT_HOLD,
    EXIT_MISSING,
    EXIT_OK,
    BadRequestError,
    InvalidMeasurementError,
    MissingError,
    ParedownError,
)

_AGENT_ERRORS: dict[int, type[ParedownError]] = {
    EXIT_BAD_REQUEST: BadRequestError,
    EXIT_MISSING: MissingError,
}
_PREFIXES = ("paredown-agent: ", "paredown-runner: ")

T = TypeVar("T")


def answered(status: int, stdout: str) -> bool:
    """Whether the output is an answer: a failed check (status 1 with a report) is one."""
    return status == EXIT_OK or (status == EXIT_HOLD and bool(stdout.strip()))


def last_line(said: str) -> str:
    """The last line with words in what a program said; empty where it said nothing."""
    return next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")


def failure(who: str, status: int, stderr: str, hint: str = "") -> ParedownError:
    """The process's own one-line error, or how it crashed and the last line that it said.

    Args:
        who: `the agent`, or `the runner`.
        status: exit status; -n for signal n.
        stderr: what it said.
        hint: what else is known, such as the kernel's log.
    """
    last = last_line(stderr) or "it said nothing"
    prefix = next((prefix for prefix in _PREFIXES if last.startswith(prefix)), None)
    if status in _AGENT_ERRORS and prefix:
        return _AGENT_ERRORS[status](last.removeprefix(prefix))
    ended = f"exit status {status}"
    if status < 0:
        ended = f"signal {signal.Signals(-status).name} ({ended})"
    return InvalidMeasurementError(f"{who} ended with {ended}: {last}", hint)


def parse(cls: type[T], text: str) -> T:
    """The agent's answer as a dataclass.

    Raises:
        InvalidMeasurementError: it is not what the schema says.
    """
    try:
        return loads(cls, text, "the agent's answer")
    except SchemaError as error:
        raise InvalidMeasurementError(error.message) from error
