"""`replay:FILE`: a recorded session; and what records one, for tests and bug reports.

The file is JSON lines: a header, then one line per request with its reply or its error.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from runtime_py.schema import (
    MANIFEST_NAME,
    CheckReport,
    LaunchRecord,
    Protocol,
    Reading,
    SchemaError,
    from_json,
    to_json,
)
from toolchain.devices import Device
from toolchain.errors import (
    BadRequestError,
    BrokenBundleError,
    InvalidMeasurementError,
    MissingError,
    ParedownError,
)
from toolchain.progress import SILENT, Progress
from toolchain.store import sha256_file

SESSION_SCHEMA = "paredown.session/1"

_ERRORS: dict[str, type[ParedownError]] = {
    error.__name__: error
    for error in (
        ParedownError,
        BadRequestError,
        BrokenBundleError,
        InvalidMeasurementError,
        MissingError,
    )
}

T = TypeVar("T")


class RecordingDevice(Device):
    """Another device, whose requests and replies are written down as they happen.

    Args:
        device: the real one.
        path: the file; replaced.

    Raises:
        BadRequestError: the file cannot be written.
    """

    def __init__(self, device: Device, path: Path) -> None:
        self._device = device
        self.uri = device.uri
        self.emulated = device.emulated
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            device.close()
            raise BadRequestError(
                f"cannot write {path}: {error.strerror}", "choose another --record"
            ) from error
        self._write({"schema": SESSION_SCHEMA, "uri": self.uri, "emulated": self.emulated})

    def prepare(self, bundle: Path, progress: Progress = SILENT) -> None:
        """See `toolchain.devices.Device`."""
        self._record(_request("prepare", bundle), lambda: self._device.prepare(bundle, progress))

    def measure(self, bundle: Path, protocol: Protocol) -> LaunchRecord:
        """See `toolchain.devices.Device`."""
        request = _request("measure", bundle, protocol)
        return self._record(request, lambda: self._device.measure(bundle, protocol))

    def check(self, bundle: Path) -> CheckReport:
        """See `toolchain.devices.Device`."""
        return self._record(_request("check", bundle), lambda: self._device.check(bundle))

    def facts(self) -> dict[str, Reading]:
        """See `toolchain.devices.Device`."""
        return self._record({"request": "facts"}, self._device.facts)

    def close(self) -> None:
        """See `toolchain.devices.Device`."""
        self._device.close()
        self._file.close()

    def _record(self, request: dict[str, Any], act: Callable[[], T]) -> T:
        try:
            reply = act()
        except ParedownError as error:
            said = {"class": type(error).__name__, "message": error.message, "hint": error.hint}
            self._write({**request, "error": said})
            raise
        self._write({**request, "reply": to_json(reply)})
        return reply

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()


class ReplayDevice(Device):
    """Answers what the recorded device answered, in the same order.

    Args:
        path: a file that `RecordingDevice` wrote.

    Raises:
        BadRequestError: there is no such file, or it is no recorded session.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = _read_session(path)
        header = self._lines.pop(0)
        self.uri = f"replay:{path}"
        self.recorded_uri = str(header.get("uri", ""))
        self.emulated = header.get("emulated") is True
        self._next = 0

    def prepare(self, bundle: Path, progress: Progress = SILENT) -> None:
        """See `toolchain.devices.Device`."""
        del progress
        self._reply(_request("prepare", bundle))

    def measure(self, bundle: Path, protocol: Protocol) -> LaunchRecord:
        """See `toolchain.devices.Device`."""
        return self._as(LaunchRecord, self._reply(_request("measure", bundle, protocol)))

    def check(self, bundle: Path) -> CheckReport:
        """See `toolchain.devices.Device`."""
        return self._as(CheckReport, self._reply(_request("check", bundle)))

    def facts(self) -> dict[str, Reading]:
        """See `toolchain.devices.Device`."""
        reply = self._reply({"request": "facts"})
        return {name: self._as(Reading, reading) for name, reading in reply.items()}

    def close(self) -> None:
        """Nothing to give back."""

    def _reply(self, request: dict[str, Any]) -> Any:
        asked = _canonical(request)
        if self._next == len(self._lines):
            raise BadRequestError(
                f"{self.uri} ends before this {request['request']}",
                "replay with the options that were recorded",
            )
        line = self._lines[self._next]
        recorded = {key: value for key, value in line.items() if key not in ("reply", "error")}
        if recorded != asked:
            key = next((k for k in asked if asked[k] != recorded.get(k)), "request")
            raise BadRequestError(
                f"{self.uri} recorded another {key} at request {self._next + 1} "
                f"({recorded.get('request')!r}, not {asked['request']!r})"
                if key == "request"
                else f"{self.uri} recorded another {key} at request {self._next + 1}",
                "replay with the bundle and the options that were recorded",
            )
        self._next += 1
        if "error" in line:
            raise _recorded_error(line["error"])
        if "reply" not in line:
            raise BadRequestError(
                f"{self.uri} request {self._next} has neither reply nor error", "record it again"
            )
        return line["reply"]

    def _as(self, cls: type[T], value: Any) -> T:
        try:
            return from_json(cls, value, f"{self.uri} request {self._next}")
        except SchemaError as error:
            raise BadRequestError(error.message, error.hint or "record it again") from error


def _recorded_error(said: Any) -> ParedownError:
    words = said if isinstance(said, dict) else {}
    error = _ERRORS.get(str(words.get("class")), ParedownError)
    return error(str(words.get("message", "an error")), str(words.get("hint", "")))


def _request(name: str, bundle: Path, protocol: Protocol | None = None) -> dict[str, Any]:
    """What identifies a request: the verb, the bundle's bytes, the protocol."""
    request: dict[str, Any] = {"request": name, "bundle": sha256_file(bundle / MANIFEST_NAME)}
    return request if protocol is None else {**request, "protocol": to_json(protocol)}


def _canonical(request: dict[str, Any]) -> dict[str, Any]:
    """As it reads back from JSON: lists for tuples."""
    canonical: dict[str, Any] = json.loads(json.dumps(request))
    return canonical


def _read_session(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise BadRequestError(
            f"cannot read the session {path}: {reason}", "record one with --record FILE"
        ) from error
    try:
        lines = [json.loads(line) for line in text.splitlines()]
    except json.JSONDecodeError as error:
        raise BadRequestError(f"{path} is no recorded session: {error}") from error
    objects = bool(lines) and all(isinstance(line, dict) for line in lines)
    if not objects or lines[0].get("schema") != SESSION_SCHEMA:
        raise BadRequestError(
            f"{path} is no recorded session of this version", "record one with --record FILE"
        )
    return lines
