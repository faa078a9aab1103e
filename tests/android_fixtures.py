"""What the tests of the Android app share: its tools, fetched once, and its classes for a JVM."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OFFLINE = ROOT / "android_demo" / "offline"
UNAVAILABLE = 3
"""Exit status of the scripts where something cannot be had on this machine."""


@pytest.fixture(scope="session")
def android_tools() -> Path:
    """Folder of dx, the API stubs, ExecuTorch's and ONNX Runtime's Java; see fetch_tools.sh."""
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    default = Path.home() / ".cache" / "paredown" / "android-tools"
    tools = Path(os.environ.get("PAREDOWN_ANDROID_TOOLS", default))
    run_offline(tools, "fetch_tools.sh")
    return tools


@pytest.fixture(scope="session")
def java_classes(android_tools: Path) -> Path:
    """Folder with one folder of classes each: core, core-test, engine-onnx, host."""
    return Path(run_offline(android_tools, "compile.sh").strip())


def run_offline(tools: Path, script: str, *arguments: str) -> str:
    """Standard output of an offline script; skips where it says that something cannot be had."""
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PAREDOWN_ANDROID_TOOLS": str(tools),
    }
    done = subprocess.run(
        [str(OFFLINE / script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    if done.returncode == UNAVAILABLE:
        pytest.skip(f"{script}: {done.stderr.strip()}")
    if done.returncode != 0:
        pytest.fail(f"{script} failed:\n{done.stderr}")
    return done.stdout
