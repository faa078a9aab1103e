"""The verbs as plain functions: what the command line calls, and what a script imports.

Every function checks its request before any long work and raises only
`toolchain.errors.ParedownError` for what a user can act on.
"""

from __future__ import annotations

from toolchain.api.android import android_bench, android_chat, android_install
from toolchain.api.building import build_runner, export, gguf, prune
from toolchain.api.judging import gate, report, validate
from toolchain.api.measuring import (
    compare_bundles,
    compare_reports,
    devices,
    doctor,
    fit,
    profile,
    profile_rows,
)
from toolchain.api.running import info, plan, run

__all__ = [
    "android_bench",
    "android_chat",
    "android_install",
    "build_runner",
    "compare_bundles",
    "compare_reports",
    "devices",
    "doctor",
    "export",
    "fit",
    "gate",
    "gguf",
    "info",
    "plan",
    "profile",
    "profile_rows",
    "prune",
    "report",
    "run",
    "validate",
]
