"""What the tests of the Android app share: its tools, fetched once, and its classes for a JVM."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from jvm import Jvm
from offline_build import run_offline


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


@pytest.fixture(scope="session")
def jvm(java_classes: Path, android_tools: Path) -> Jvm:
    """The compiled core on a JVM."""
    return Jvm(java_classes, android_tools)
