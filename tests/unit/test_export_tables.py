"""What the page of the export benchmark claims, from launches made by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import export_page
import export_speed
from export_models import RATIOS, Artifact
from export_page import Ratio, Results, page

MODEL = export_page.LARGE


def artifact(runtime: str, quant: str, size: str, read: int, **values: Any) -> dict[str, Any]:
    return {
        "kind": "artifact",
        "model": MODEL,
        "runtime": runtime,
        "quant": quant,
        "size": size,
        "threads": 0,
        "fingerprint": "now",
        "parameters": 100,
        "file_bytes": read + 7,
        "weights_read_bytes": read,
        "arena_bytes": 1000,
        "kv_cache_bytes": 500,
        **values,
    }


def launch(
    runtime: str, quant: str, size: str, token_ns: int, number: int = 0, **values: Any
) -> dict[str, Any]:
    return {
        "kind": "launch",
        "model": MODEL,
        "runtime": runtime,
        "quant": quant,
        "size": size,
        "threads": 1,
        "fingerprint": "now",
        "round": number,
        "load_ns": 5_000_000,
        "samples": [{"prefill_ns": 64_000_000, "ttft_ns": 65_000_000, "token_ns": [token_ns] * 3}],
        "peak_rss_bytes": 100_000_000,
        "engine": runtime,
        "engine_versions": {runtime: "1"},
        "device": {"cpu_model": "c", "cpu_count": 2.0, "kernel": "k", "governor": None},
        "other_work_cores": 0.1,
        **values,
    }


BANDWIDTH = {"kind": "bandwidth", "1": 2e9, "2": 3e9}


def records() -> list[dict[str, Any]]:
    """Dense at 1 ms a token and pruned at 0.6 ms, which drift by 20% between the two rounds."""
    found = [BANDWIDTH]
    for runtime, quant, dense_ns in (
        ("executorch", "none", 1_000_000),
        ("executorch", "8da4w", 500_000),
        ("llama.cpp", "f32", 800_000),
    ):
        found.append(artifact(runtime, quant, "dense", 1_000_000))
        found.append(artifact(runtime, quant, "pruned35", 600_000))
        for number, drift in enumerate((1.0, 1.2)):
            found.append(launch(runtime, quant, "dense", int(dense_ns * drift), number))
            found.append(launch(runtime, quant, "pruned35", int(0.6 * dense_ns * drift), number))
    return found


def test_ratios_come_from_rounds_and_so_no_drift_shows() -> None:
    results = Results(records())
    dense = (MODEL, "executorch", "none", "dense", 1)
    ratio = results.ratio((MODEL, "executorch", "none", "pruned35", 1), dense)
    assert ratio is not None
    assert ratio.value == pytest.approx(1 / 0.6)
    assert ratio.low == pytest.approx(ratio.high)
    assert results.median(dense, "prefill") == pytest.approx(1000)
    assert results.median(dense, "load") == 5
    share = results.share(dense)
    assert share is not None
    assert share.value == pytest.approx(0.5 / 1.2**0.5)  # 1 MB each ms is 1 GB/s of 2


def test_lines_of_an_older_artifact_do_not_count() -> None:
    stale = launch("executorch", "none", "dense", 1, fingerprint="before")
    results = Results([*records(), stale])
    assert results.median((MODEL, "executorch", "none", "dense", 1), "decode") < 1001


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (Ratio(1.2, 1.1, 1.3), "yes"),
        (Ratio(1.2, 0.9, 1.6), "yes, not for certain"),
        (Ratio(1.2, None, None), "yes, not for certain"),
        (Ratio(0.9, 0.8, 1.1), "**no**, not for certain"),
        (Ratio(0.9, 0.8, 0.95), "**no**"),
    ],
)
def test_verdicts(ratio: Ratio, verdict: str) -> None:
    assert ratio.verdict(1.0) == verdict


def test_the_page_says_who_wins() -> None:
    text = page(records(), list(RATIOS))
    assert "| our fastest is ahead of the others' fastest" in text
    assert "0.80" in text  # float32: ours 1 ms, llama.cpp 0.8 ms
    assert "| 0 of 2 |" in text
    assert "| ExecuTorch | none | pruned35 | 1 | 1.67 | 1.67 (1.67 to 1.67) | yes |" in text
    assert page([], list(RATIOS)).endswith("Nothing is measured yet.\n")


def test_memory_is_judged_by_the_rule() -> None:
    row = {**launch("executorch", "none", "dense", 1), "kind": "memory", "anon_bytes": 1}
    over = {**row, "quant": "8da4w", "peak_rss_bytes": 100_000_000}
    text = page([*records(), {**row, "peak_rss_bytes": 21_000_000}, over], list(RATIOS))
    assert "| none | dense | 1.0 | 0.0 | 21.0 | 0.0 | 21.3 | yes |" in text
    assert "| 100.0 | 0.0 | 21.3 | **no** |" in text


def test_a_round_is_done_when_every_artifact_ran_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Artifact, "fingerprint", "now")
    sizes = ("dense", "pruned35")
    group = export_speed.Group(tuple(Artifact(MODEL, s, "onnx", "none") for s in sizes), 1)
    assert [a.size for a in group.launches()] == ["dense", "pruned35", "pruned35", "dense"]
    lines = [launch("onnx", "none", artifact.size, 1) for artifact in group.launches()]
    assert export_speed.rounds_done(lines[:3], group) == 0
    assert export_speed.rounds_done(lines, group) == 1
    assert export_speed.rounds_done([{**line, "fingerprint": "old"} for line in lines], group) == 0


def test_filters() -> None:
    one = Artifact(MODEL, "dense", "onnx", "int4")
    assert export_speed.passes(one, ["runtime=onnx,torch", "size=dense"])
    assert not export_speed.passes(one, ["quant=none"])
    with pytest.raises(SystemExit):
        export_speed.passes(one, ["colour=red"])
