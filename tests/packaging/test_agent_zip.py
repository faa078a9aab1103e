"""The agent as one file: the same bytes every time, and it runs without anything else of ours."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

from handmade_bundle import write_bundle

import runtime_py
from toolchain.devices.agent_zip import agent_bytes


def test_the_same_bytes_always() -> None:
    content = agent_bytes()
    assert content == agent_bytes()
    names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    sources = Path(runtime_py.__file__).parent
    expected = [f"runtime_py/{p.relative_to(sources).as_posix()}" for p in sources.rglob("*.py")]
    assert names == [*sorted(expected), "__main__.py"]


def test_it_runs_on_its_own(tmp_path: Path) -> None:
    agent = tmp_path / "agent.pyz"
    agent.write_bytes(agent_bytes())
    write_bundle(tmp_path / "b")
    command = [sys.executable, "-P", str(agent), "check", str(tmp_path / "b"), "--threads", "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env={}
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["passed"]
