"""What several benchmarks measure: stories3M, dense and pruned, and every export of both."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from runtime_py.bundle import open_bundle
from runtime_py.schema import Manifest
from toolchain import export, prune
from toolchain.exporting.bundle import UnfaithfulError
from toolchain.recipe import QUANTIZATIONS

ROOT = Path(__file__).resolve().parent.parent
ASSETS = Path(os.environ.get("PAREDOWN_ASSETS", ROOT.parent / "shared" / "assets"))
MODEL = ASSETS / "models" / "stories3M"
CALIBRATION = ASSETS / "data" / "tinystories_calib.txt"
EVALUATION = ASSETS / "data" / "tinystories_eval.txt"
WORK = ROOT / "out" / "benchmarks" / "stories3M"
"""Kept between benchmarks; delete it to start afresh."""

RATIO = 0.35
CONTEXT = 256

Bundles = dict[tuple[str, str, str], tuple[Path, Manifest]]
"""Folder and manifest by (backend, quantisation, `dense` or `pruned`)."""


def sources() -> dict[str, Path]:
    """The checkpoints: `dense`, and `pruned` as made by `make_bundles`."""
    return {"dense": MODEL, "pruned": WORK / "pruned"}


def make_bundles() -> Bundles:
    """Prune, and export both models in every way, unless they are there.

    A bundle that its own parity check found wanting is there too; its manifest says so.
    """
    if not (WORK / "pruned").is_dir():
        prune(MODEL, ratio=RATIO, calibration=str(CALIBRATION), out=WORK / "pruned")
    bundles = {}
    ways = [(b, q, n) for b, quants in QUANTIZATIONS.items() for q in quants for n in sources()]
    for backend, quant, name in ways:
        out = WORK / f"{backend}-{quant}-{name}"
        if not out.is_dir():
            with suppress(UnfaithfulError):
                export(sources()[name], backend=backend, quant=quant, context=CONTEXT, out=out)
        bundles[backend, quant, name] = out, open_bundle(out)
    return bundles
