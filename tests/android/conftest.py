"""Fixtures of the tests of the Android app; those of other folders need them, too."""

from __future__ import annotations

from pathlib import Path

import pytest
from android_fixtures import android_tools, java_classes, run_offline
from jvm import Jvm

__all__ = ["android_tools", "java_classes", "jvm", "run_offline"]


@pytest.fixture(scope="session")
def jvm(java_classes: Path, android_tools: Path) -> Jvm:
    """The compiled core on a JVM."""
    return Jvm(java_classes, android_tools)
