"""A recorded session answers as the device did, and refuses everything else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from handmade_bundle import write_bundle

from runtime_py.schema import Protocol
from toolchain.devices import open_device
from toolchain.errors import BadRequestError, MissingError

SMALL = Protocol(prompt_tokens=8, generated_tokens=3, repetitions=1, launches=1, warmup=0)
TOO_LONG = dataclasses.replace(SMALL, prompt_tokens=48)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("replay") / "bundle"
    write_bundle(path)
    return path


@pytest.fixture(scope="module")
def session(bundle: Path) -> Path:
    """Facts, a launch, a check and a refusal, recorded on this machine."""
    path = bundle.parent / "session.jsonl"
    with open_device("local", record=path) as device:
        device.prepare(bundle)
        device.facts()
        device.measure(bundle, SMALL)
        device.check(bundle)
        with pytest.raises(BadRequestError):
            device.measure(bundle, TOO_LONG)
    return path


def test_it_answers_what_was_answered(bundle: Path, session: Path) -> None:
    lines = [json.loads(line) for line in session.read_text().splitlines()]
    assert lines[0] == {"schema": "paredown.session/1", "uri": "local", "emulated": False}
    with open_device(f"replay:{session}") as device:
        assert (device.uri, device.emulated) == (f"replay:{session}", False)
        device.prepare(bundle)
        assert device.facts()["cpu_count"].value == lines[2]["reply"]["cpu_count"]["value"]
        launch = device.measure(bundle, SMALL)
        assert launch.samples[0].token_ns == lines[3]["reply"]["samples"][0]["token_ns"]
        assert device.check(bundle).passed
        with pytest.raises(BadRequestError) as caught:
            device.measure(bundle, TOO_LONG)
        assert lines[5]["error"]["message"] == caught.value.message
        assert lines[5]["error"]["hint"] == caught.value.hint
        with pytest.raises(BadRequestError, match="ends before this check"):
            device.check(bundle)


def test_a_replay_can_be_recorded(bundle: Path, session: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with open_device(f"replay:{session}", record=copy) as device:
        device.prepare(bundle)
        device.facts()
        device.measure(bundle, SMALL)
    assert copy.read_text().splitlines()[1:] == session.read_text().splitlines()[1:4]


def test_other_requests_are_refused(bundle: Path, session: Path, tmp_path: Path) -> None:
    device = open_device(f"replay:{session}")
    with pytest.raises(BadRequestError, match=r"request 1 \('prepare', not 'check'\)"):
        device.check(bundle)
    device.prepare(bundle)
    device.facts()
    with pytest.raises(BadRequestError, match="recorded another protocol at request 3"):
        device.measure(bundle, dataclasses.replace(SMALL, threads=2))
    write_bundle(tmp_path / "other", name="other")
    with pytest.raises(BadRequestError, match="recorded another bundle at request 3"):
        device.measure(tmp_path / "other", SMALL)


def test_errors_keep_their_class(bundle: Path, session: Path, tmp_path: Path) -> None:
    lines = session.read_text().splitlines()
    request = json.loads(lines[1])
    del request["reply"]
    said = {"class": "MissingError", "message": "no space", "hint": "free some"}
    broken = tmp_path / "broken"
    broken.write_text("\n".join([lines[0], json.dumps({**request, "error": said})]))
    with pytest.raises(MissingError, match="no space; free some"):
        open_device(f"replay:{broken}").prepare(bundle)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read the session"),
        ("", "no recorded session"),
        ("{", "no recorded session"),
        ('{"schema": "paredown.session/0"}', "no recorded session of this version"),
        ("[1]", "no recorded session"),
        ('{"schema": "paredown.session/1"}\n3', "no recorded session"),
    ],
)
def test_what_is_no_session(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "session"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadRequestError, match=words):
        open_device(f"replay:{path}")


def test_an_edited_reply_is_refused(bundle: Path, session: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in session.read_text().splitlines()]
    lines[3]["reply"]["load_ns"] = "soon"
    path = tmp_path / "edited"
    path.write_text("\n".join(map(json.dumps, lines)))
    device = open_device(f"replay:{path}")
    device.prepare(bundle)
    device.facts()
    with pytest.raises(BadRequestError, match=r"request 3\.load_ns is 'soon'"):
        device.measure(bundle, SMALL)
    lines[3] = {key: value for key, value in lines[3].items() if key != "reply"}
    path.write_text("\n".join(map(json.dumps, lines)))
    device = open_device(f"replay:{path}")
    device.prepare(bundle)
    device.facts()
    with pytest.raises(BadRequestError, match="neither reply nor error"):
        device.measure(bundle, SMALL)


def test_a_record_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="choose another --record"):
        open_device("local", record=tmp_path / "nowhere" / "session")
