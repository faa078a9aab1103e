"""The bundles that several benchmarks measure: stories3M, dense and pruned, on both backends."""

from __future__ import annotations

import os
from pathlib import Path

from runtime_py.bundle import open_bundle
from runtime_py.schema import Manifest
from toolchain import export, prune
from toolchain.recipe import BACKENDS

ROOT = Path(__file__).resolve().parent.parent
ASSETS = Path(os.environ.get("PAREDOWN_ASSETS", ROOT.parent / "shared" / "assets"))
MODEL = ASSETS / "models" / "stories3M"
CALIBRATION = ASSETS / "data" / "tinystories_calib.txt"
EVALUATION = ASSETS / "data" / "tinystories_eval.txt"
WORK = ROOT / "out" / "benchmarks" / "stories3M"
"""Kept between benchmarks; delete it to start afresh."""

RATIO = 0.35
CONTEXT = 256

Bundles = dict[tuple[str, str], tuple[Path, Manifest]]
"""Folder and manifest by (backend, `dense` or `pruned`)."""


def sources() -> dict[str, Path]:
    """The checkpoints: `dense`, and `pruned` as made by `make_bundles`."""
    return {"dense": MODEL, "pruned": WORK / "pruned"}


def make_bundles() -> Bundles:
    """Prune, and export both models to both backends, unless they are there."""
    if not (WORK / "pruned").is_dir():
        prune(MODEL, ratio=RATIO, calibration=str(CALIBRATION), out=WORK / "pruned")
    bundles = {}
    for backend in BACKENDS:
        for name, source in sources().items():
            out = WORK / f"{backend}-{name}"
            if not out.is_dir():
                export(source, backend=backend, context=CONTEXT, out=out)
            bundles[backend, name] = out, open_bundle(out)
    return bundles
