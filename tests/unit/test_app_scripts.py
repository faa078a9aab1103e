"""The scripts behind the app's device, run by this machine's sh."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from toolchain.devices.package import PACKAGE
from toolchain.devices.push import Item
from toolchain.devices.session import Session
from toolchain.devices.shell import LocalShell, run_script, run_text, script_text
from toolchain.errors import MissingError
from toolchain.progress import SILENT


@contextmanager
def _session(folder: Path) -> Iterator[Session]:
    session = Session(LocalShell(), str(folder / "root"), str(folder / "lock"))
    try:
        yield session
    finally:
        session.close(keep=False)
    assert list(folder.iterdir()) == []


def test_lines_come_as_they_are_said(tmp_path: Path) -> None:
    heard: list[tuple[str, float]] = []
    start = time.monotonic()
    script = "printf '%s\\n' ' a b  ' '' '@end 7' 'ü\\n'; sleep 3; echo late >&2; exit 4"
    with _session(tmp_path) as session:
        status = session.talk(
            ["sh", "-c", script], 60, lambda line: heard.append((line, time.monotonic() - start))
        )
    assert [line for line, _ in heard] == [" a b  ", "", "@end 7", "ü\\n", "late"]
    assert heard[3][1] < heard[4][1] - 2, "not all at the end"
    assert status == 0, "of the pipe: the program's own is not asked for"


def test_who_talks_for_too_long_is_stopped(tmp_path: Path) -> None:
    name = secrets.token_hex(8)
    with _session(tmp_path) as session:
        script = f": {name}; sleep 300; :"
        assert session.talk(["sh", "-c", script], 1, lambda _: None) is None
    end = time.monotonic() + 30
    while _processes(name):
        assert time.monotonic() < end, "it lives on"
        time.sleep(0.1)


def _processes(name: str) -> list[str]:
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = cmdline.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        found += [text] * (name in text)
    return found


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for commands that only a phone has."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def _command(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_why_an_app_died(stand_ins: Path) -> None:
    assert run_script(LocalShell(), "app_death", [PACKAGE]) == ["unreadable"]
    log = stand_ins / "log"
    _command(stand_ins, "logcat", f"cat {log}")
    killed = f"I am_proc_died: [0,31337,{PACKAGE},900,19]"
    log.write_text(
        f"I lowmemorykiller: Kill '{PACKAGE}' (31337), uid 10123, oom_score_adj 900\n{killed}\n"
        "I am_kill : [0,99,com.example.other,900,empty]\n"
        f"I am_kill : [0,31338,{PACKAGE},0,stop {PACKAGE}]\n"
        f"I am_kill : [0,31339,{PACKAGE},0,finished inst]\n"
    )
    assert run_script(LocalShell(), "app_death", [PACKAGE]) == [killed]
    log.write_text("nothing about it\n")
    assert run_script(LocalShell(), "app_death", [PACKAGE]) == []


def test_what_the_package_manager_says(stand_ins: Path) -> None:
    dump = (
        f"Packages:\n  Package [{PACKAGE}] (1f):\n    primaryCpuAbi=arm64-v8a\n"
        "    versionCode=1 minSdk=26 targetSdk=36\n    versionName=0.1.0 beta\n"
        "Hidden system packages:\n    primaryCpuAbi=null\n    versionName=0.0.1\n"
    )
    (stand_ins / "dump").write_text(dump)
    _command(stand_ins, "dumpsys", f"cat {stand_ins}/dump")
    _command(stand_ins, "pm", 'echo "called with $*" >&2; exit 1')
    assert run_script(LocalShell(), "package", [PACKAGE]) == []
    _command(
        stand_ins,
        "pm",
        'if [ "$1" = path ]; then echo package:/data/app/~~x==/y/base.apk; '
        "echo package:/data/app/~~x==/y/split.apk; "
        f'else echo "instrumentation:{PACKAGE}/.BenchInstrumentation (target={PACKAGE})"; fi',
    )
    assert run_script(LocalShell(), "package", [PACKAGE]) == [
        "path /data/app/~~x==/y/base.apk",
        "version 0.1.0 beta",
        "abi arm64-v8a",
        f"instrumentation {PACKAGE}/.BenchInstrumentation",
    ]


def test_an_answer_is_taken_once(stand_ins: Path) -> None:
    reports = stand_ins / "reports"
    reports.mkdir()
    (reports / "host-1.json").write_text("{}\n")
    asked = [str(reports), PACKAGE, "host-1.json"]
    assert run_text(LocalShell(), "answer", script_text("answer"), asked) == (0, "{}\n")
    status, out = run_text(LocalShell(), "answer", script_text("answer"), asked)
    assert (status, out) == (9, "")


def test_no_space_for_a_copy(stand_ins: Path) -> None:
    _command(stand_ins, "ln", "exit 1")  # as for adb's user on a phone
    _command(stand_ins, "cp", 'echo "cp: $2: No space left on device" >&2; exit 1')
    source = stand_ins / "source"
    source.write_text("weights")
    item = Item(source, "model.onnx", 7, hashlib.sha256(b"weights").hexdigest())
    folder = stand_ins / "phone"
    folder.mkdir()
    with (
        pytest.raises(MissingError, match=r"lay out .*No space left on device; free some space"),
        _session(folder) as session,
    ):
        session.bring([item], "bundle", "push", SILENT, copy=True)
    assert list(folder.iterdir()) == []
