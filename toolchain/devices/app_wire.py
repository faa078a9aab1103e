"""What the host and the Android app say to each other: spec, answer, and what `am` prints."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, TypeVar

from runtime_py.schema import Protocol, SchemaError, from_json, to_json
from toolchain.errors import (
    EXIT_BAD_REQUEST,
    EXIT_MISSING,
    BadRequestError,
    InvalidMeasurementError,
    MissingError,
    ParedownError,
)

SPEC_SCHEMA = "paredown.android-spec/1"
FAILURE_SCHEMA = "paredown.android-failure/1"
CHAT_SCHEMA = "paredown.android-chat/1"

_ERRORS: dict[int, type[ParedownError]] = {
    EXIT_BAD_REQUEST: BadRequestError,
    EXIT_MISSING: MissingError,
}
_LINE = re.compile(r"INSTRUMENTATION_(STATUS_CODE|STATUS|RESULT|CODE|FAILED|ABORTED): ?(.*)")
_ESCAPES = {"\\n": "\n", "\\r": "\r", "\\\\": "\\"}

T = TypeVar("T")


@dataclass(frozen=True)
class AppSpec:
    """One headless run of the app; the file that its instrumentation is started with."""

    id: str
    """The answer is `ID.json` in the app's folder of reports."""
    verb: str
    """`measure`, `check` or `chat`."""
    bundle: str
    """Absolute path of the bundle's folder on the device."""
    threads: int
    emulated: bool
    protocol: Protocol | None = None
    prompt_ids: list[int] | None = None
    """Of the measured prompt: the host decides, so that every device computes the same."""
    prompt: str | None = None
    max_new_tokens: int | None = None
    schema: str = SPEC_SCHEMA

    def text(self) -> str:
        """Compact JSON."""
        return json.dumps(to_json(self), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True)
class AppFailure:
    """Why the app has no result; the answer in place of one."""

    what: str
    hint: str
    exit_code: int
    schema: str = FAILURE_SCHEMA

    def error(self, who: str) -> ParedownError:
        """As the exception that the host raises; `who` is the app and its device."""
        kind = _ERRORS.get(self.exit_code, InvalidMeasurementError)
        return kind(f"{who}: {self.what}", self.hint)


@dataclass(frozen=True)
class ChatAnswer:
    """The answer to one prompt."""

    text: str
    prompt_tokens: int
    generated_tokens: int
    ttft_ms: float | None
    """From the prompt's tokens to the first new one; null where there is none."""
    schema: str = CHAT_SCHEMA


@dataclass(frozen=True)
class Instrumentation:
    """What `am instrument -r` printed."""

    code: int | None
    """Of INSTRUMENTATION_CODE; None where it never came."""
    result: dict[str, str]
    statuses: list[dict[str, str]]
    """One dictionary per INSTRUMENTATION_STATUS_CODE."""
    said: list[str] = field(default_factory=list)
    """Lines that are not instrumentation's own: am's errors and stack traces."""

    @property
    def complaint(self) -> str:
        """The line that says what went wrong; empty where am complained of nothing."""
        for values in (self.result, *reversed(self.statuses)):
            for key in ("longMsg", "shortMsg", "Error", "failure"):
                if values.get(key):
                    return values[key]
        return self.said[0] if self.said else ""


def parse_instrumentation(output: str) -> Instrumentation:
    """Read the raw (`-r`) output of `am instrument`; a value may go on over several lines."""
    result: dict[str, str] = {}
    statuses: list[dict[str, str]] = []
    current: dict[str, str] = {}
    said: list[str] = []
    code: int | None = None
    last: tuple[dict[str, str], str] | None = None
    for line in output.splitlines():
        match = _LINE.search(line)
        kind, value = (match[1], match[2]) if match else ("", line)
        if kind in ("STATUS", "RESULT"):
            values = current if kind == "STATUS" else result
            key, _, values_text = value.partition("=")
            values[key.strip()] = values_text
            last = (values, key.strip())
            continue
        if not kind and last is not None:
            last[0][last[1]] += "\n" + line
            continue
        last = None
        if kind == "STATUS_CODE":
            statuses.append(current)
            current = {}
        elif kind == "CODE":
            code = int(value) if re.fullmatch(r"-?\d+", value.strip()) else None
        elif kind == "ABORTED":  # the system itself went down, and the app with it
            code = 0
            result["shortMsg"] = value
        elif line.strip():
            said.append(line.strip())
    return Instrumentation(code, result, statuses + [current] * bool(current), said)


def streamed_text(line: str) -> str | None:
    """The piece of text that a line of `am instrument -r` carries in a chat; None for others."""
    match = re.match(r"INSTRUMENTATION_STATUS: text=(.*)", line, re.DOTALL)
    return None if match is None else unescape(match[1])


def unescape(text: str) -> str:
    """The app writes a line feed as `\\n`, a carriage return as `\\r`, a backslash twice."""
    return re.sub(r"\\[nr\\]", lambda match: _ESCAPES[match[0]], text)


def parse_answer(cls: type[T], text: str, who: str) -> T:
    """The app's answer file as a dataclass.

    Raises:
        ParedownError: the failure that it holds, by its exit code.
        InvalidMeasurementError: it is neither a result nor a failure of this version.
    """
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        raise InvalidMeasurementError(f"{who} left an answer that is no JSON: {error}") from error
    failed = isinstance(value, dict) and value.get("schema") == FAILURE_SCHEMA
    try:
        if not failed:
            return from_json(cls, value, f"the answer of {who}")
        failure = from_json(AppFailure, value, f"the answer of {who}")
    except SchemaError as error:
        hint = error.hint or "install the app of this version: paredown android install"
        raise InvalidMeasurementError(error.message, hint) from error
    raise failure.error(who)
