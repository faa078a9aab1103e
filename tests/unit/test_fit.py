"""FITS, TIGHT or NO, and from what."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from handmade_bundle import write_bundle

from runtime_py.schema import Manifest, Reading
from toolchain.errors import BadRequestError, MissingError
from toolchain.exporting.memory import RUNTIME_BYTES, engine_name, predict_bundle
from toolchain.profiling.fit import fit_bundle, judge_fit

RUNTIME = RUNTIME_BYTES["onnxruntime"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fit") / "bundle"
    write_bundle(path)
    return path


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> Manifest:
    return write_bundle(bundle.with_name("other"))


def _facts(available: float, total: float) -> dict[str, Reading]:
    return {
        "memory_available_bytes": Reading(available),
        "memory_total_bytes": Reading(total),
    }


@pytest.mark.parametrize(
    ("available", "total", "verdict", "code"),
    [(4.0, 8.0, "FITS", 0), (1.2, 2.0, "TIGHT", 4), (0.5, 2.0, "TIGHT", 4), (0.9, 1.0, "NO", 1)],
)
def test_verdicts(
    manifest: Manifest, available: float, total: float, verdict: str, code: int
) -> None:
    facts = _facts(available * RUNTIME, total * RUNTIME)
    fit = judge_fit(manifest, "ssh:pi", "onnxruntime", 48, facts)
    assert (fit.verdict, fit.exit_code) == (verdict, code)
    lines = fit.text().splitlines()
    assert lines[0].startswith(f"{verdict}: tiny on ssh:pi: ")
    parts = fit.predicted
    megabytes = [float(line.split()[-2].replace(",", "")) for line in lines[2:]]
    assert sum(megabytes[:5]) == pytest.approx(megabytes[5], abs=0.3)
    assert megabytes[5] == pytest.approx(parts.total_bytes / 1e6, abs=0.1)


def test_less_memory_is_never_a_better_verdict(manifest: Manifest) -> None:
    order = ["NO", "TIGHT", "FITS"]
    ranks = [
        order.index(
            judge_fit(
                manifest, "x", "onnxruntime", 48, _facts(share * RUNTIME, 3.0 * RUNTIME)
            ).verdict
        )
        for share in (0.1, 0.5, 1.0, 1.2, 1.5, 2.0, 3.0)
    ]
    assert ranks == sorted(ranks)


def test_a_device_that_does_not_say(manifest: Manifest) -> None:
    facts = {**_facts(1, 1), "memory_available_bytes": Reading(None, "no MemAvailable")}
    with pytest.raises(MissingError, match="does not say its memory_available_bytes: no MemAv"):
        judge_fit(manifest, "adb:1", "onnxruntime", 48, facts)


def test_this_machine(bundle: Path) -> None:
    fit = fit_bundle(bundle, "local")
    assert fit.verdict == "FITS"
    assert fit.tokens == 48
    assert fit.available_bytes <= fit.total_bytes
    with pytest.raises(BadRequestError, match="context of this bundle is 48"):
        fit_bundle(bundle, "local", tokens=49)


def test_more_tokens_never_need_less(manifest: Manifest) -> None:
    predicted = [predict_bundle(manifest, "onnxruntime", n, n) for n in range(1, 49)]
    totals = [prediction.total_bytes for prediction in predicted]
    assert totals == sorted(totals)


def test_engines(manifest: Manifest) -> None:
    pte = dataclasses.replace(manifest, backend="executorch")
    assert engine_name(manifest, "auto", remote=True) == "onnxruntime"
    assert engine_name(pte, "auto", remote=False) == "executorch"
    assert engine_name(pte, "native", remote=False) == "executorch-native"
    assert engine_name(pte, "auto", remote=True) == "executorch-native"


def test_an_engine_whose_own_cost_is_measured(manifest: Manifest) -> None:
    known = predict_bundle(manifest, "onnxruntime", 8, 16)
    java = predict_bundle(manifest, "onnxruntime-java", 8, 16, base_bytes=90_000_000)
    model_only = predict_bundle(manifest, "onnxruntime-java", 8, 16)
    assert java.total_bytes - model_only.total_bytes == 90_000_000
    assert known.total_bytes - model_only.total_bytes == RUNTIME
    assert predict_bundle(manifest, "onnxruntime", 8, 16, base_bytes=90_000_000) == known
