"""Runs the scripts of the Android app's offline build."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OFFLINE = ROOT / "android_demo" / "offline"
UNAVAILABLE = 3
"""Exit status of the scripts where something cannot be had on this machine."""


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
