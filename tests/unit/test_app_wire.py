"""What `am instrument` prints and what the app answers, read strictly."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime_py.schema import CaseResult, CheckReport, Protocol, dumps, loads, to_json
from toolchain.devices.app_wire import (
    AppFailure,
    AppSpec,
    ChatAnswer,
    parse_answer,
    parse_instrumentation,
    streamed_text,
    unescape,
)
from toolchain.errors import BadRequestError, InvalidMeasurementError, MissingError

FINISHED = """\
INSTRUMENTATION_STATUS: repetition=1
INSTRUMENTATION_STATUS_CODE: 0
INSTRUMENTATION_STATUS: repetition=2
INSTRUMENTATION_STATUS_CODE: 0
INSTRUMENTATION_RESULT: exit_code=0
INSTRUMENTATION_CODE: -1
"""
NOT_INSTALLED = """\
INSTRUMENTATION_STATUS: id=ActivityManagerService
INSTRUMENTATION_STATUS: Error=Unable to find instrumentation info for: ComponentInfo{a.b/a.b.C}
INSTRUMENTATION_STATUS_CODE: -1
android.util.AndroidException: INSTRUMENTATION_FAILED: a.b/.C
\tat com.android.commands.am.Instrument.run(Instrument.java:543)
"""
KILLED = """\
INSTRUMENTATION_RESULT: shortMsg=Process crashed.
INSTRUMENTATION_CODE: 0
"""
THREW = """\
INSTRUMENTATION_RESULT: shortMsg=java.lang.IllegalStateException
INSTRUMENTATION_RESULT: longMsg=java.lang.IllegalStateException: first line
second line
INSTRUMENTATION_CODE: 0
"""
DENIED = """\
java.lang.SecurityException: Permission Denial: not allowed
\tat android.os.Parcel.createException(Parcel.java:2071)
"""


def test_a_run_that_finished() -> None:
    ended = parse_instrumentation(FINISHED)
    assert ended.code == -1
    assert ended.result == {"exit_code": "0"}
    assert ended.statuses == [{"repetition": "1"}, {"repetition": "2"}]
    assert ended.complaint == ""


@pytest.mark.parametrize(
    ("output", "code", "complaint"),
    [
        (NOT_INSTALLED, None, "Unable to find instrumentation info for: ComponentInfo{a.b/a.b.C}"),
        (KILLED, 0, "Process crashed."),
        (THREW, 0, "java.lang.IllegalStateException: first line\nsecond line"),
        (DENIED, None, "java.lang.SecurityException: Permission Denial: not allowed"),
        ("sh: am: not found\n", None, "sh: am: not found"),
        ("INSTRUMENTATION_ABORTED: System has crashed.\n", 0, "System has crashed."),
        ("INSTRUMENTATION_STATUS: Error=cut", None, "cut"),
        ("", None, ""),
    ],
)
def test_what_went_wrong(output: str, code: int | None, complaint: str) -> None:
    ended = parse_instrumentation(output)
    assert (ended.code, ended.complaint) == (code, complaint)


@given(st.text())
def test_any_output_is_read(output: str) -> None:
    parse_instrumentation(output)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_streamed_text_is_what_was_said(text: str) -> None:
    assert unescape(_escape(text)) == text
    assert streamed_text(f"INSTRUMENTATION_STATUS: text={_escape(text)}") == text


def test_other_lines_are_no_text() -> None:
    assert streamed_text("INSTRUMENTATION_STATUS: texture=1") is None
    assert streamed_text("INSTRUMENTATION_RESULT: text=1") is None


def test_a_spec_is_one_line_of_json() -> None:
    spec = AppSpec("host-1", "measure", "/b", 2, False, Protocol(threads=2), [1, 2])
    assert "\n" not in spec.text()
    assert loads(AppSpec, spec.text()) == spec
    assert json.loads(spec.text())["prompt"] is None


def test_answers() -> None:
    report = CheckReport("m", "onnxruntime", [CaseResult("a", True, 0.0, 4, 4, False)], True)
    assert parse_answer(CheckReport, dumps(report), "the app") == report
    answer = ChatAnswer("Hi", 3, 1, 4.5)
    assert parse_answer(ChatAnswer, dumps(answer), "the app") == answer


@pytest.mark.parametrize(
    ("exit_code", "kind"),
    [
        (2, BadRequestError),
        (3, MissingError),
        (1, InvalidMeasurementError),
        (70, InvalidMeasurementError),
        (130, InvalidMeasurementError),
    ],
)
def test_failures(exit_code: int, kind: type[Exception]) -> None:
    text = dumps(AppFailure("it is wrong", "do it right", exit_code))
    with pytest.raises(kind, match="the app on x: it is wrong; do it right"):
        parse_answer(CheckReport, text, "the app on x")


def _of_another_version() -> str:
    answer = to_json(ChatAnswer("Hi", 3, 1, 4.5))
    return json.dumps({**answer, "schema": "paredown.android-chat/2"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "an answer that is no JSON"),
        ('{"schema": "paredown.android-chat/1", "text"', "an answer that is no JSON"),
        ("[]", "is list, not an object"),
        ('{"schema": "paredown.android-chat/1"}', "lacks the key 'text'"),
        ('{"schema": "paredown.android-failure/1", "what": 1}', "not str"),
        (_of_another_version(), "has schema 'paredown.android-chat/2'"),
    ],
)
def test_answers_that_are_none(text: str, said: str) -> None:
    with pytest.raises(InvalidMeasurementError, match=said) as caught:
        parse_answer(ChatAnswer, text, "the app")
    assert "\n" not in str(caught.value)
