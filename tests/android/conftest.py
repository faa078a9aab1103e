"""Fixtures of the tests of the Android app; those of other folders need them, too."""

from __future__ import annotations

from android_fixtures import android_tools, java_classes, run_offline

__all__ = ["android_tools", "java_classes", "run_offline"]
