"""What the README shows is run: its two commands exist, its options parse, its Python works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from runtime_py.__main__ import main as agent_main
from toolchain.cli import VERBS, main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"^make (\w+)$", README, re.MULTILINE)
    assert commands == ["demo", "test"]
    for command in commands:
        assert re.search(rf"^{command}: setup", makefile, re.MULTILINE)


def _commands(program: str) -> list[list[str]]:
    return [shlex.split(c)[1:] for c in re.findall(rf"`({program} [^`]+)`", README)]


@pytest.mark.parametrize("arguments", _commands("paredown"), ids=" ".join)
def test_every_option_shown_exists(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert arguments[0] in VERBS
    assert main([arguments[0], "--help"]) == 0
    text = capsys.readouterr().out
    for option in (a for a in arguments[1:] if a.startswith("-")):
        assert option in text


def test_every_verb_is_shown() -> None:
    shown = {arguments[0] for arguments in _commands("paredown")}
    assert shown >= set(VERBS)


@pytest.mark.parametrize("arguments", _commands("paredown-agent"), ids=" ".join)
def test_every_agent_verb_shown_exists(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        agent_main([arguments[0], "--help"])
    assert stop.value.code == 0
    assert arguments[0] in capsys.readouterr().out


@pytest.mark.slow
def test_the_python_shown_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own README
    assert capsys.readouterr().out.startswith("SHIP: ")
    dense = 1_701_600
    assert names["model"].num_parameters() < 0.83 * dense  # type: ignore[attr-defined]
