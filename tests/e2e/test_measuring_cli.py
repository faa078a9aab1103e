"""The verbs that measure, as a user calls them, on a real bundle."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from handmade_bundle import write_bundle
from made_reports import made_report

from runtime_py.schema import DeviceReport, ReportSet, loads
from toolchain.profiling.output import file_text

SHORT = ["-p", "6", "-n", "4", "-r", "2", "--launches", "2"]
STEADY = [1_000_000, 1_001_000, 999_000, 1_000_500, 999_500]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("measuring") / "bundle"
    write_bundle(path)
    return path


def _paredown(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from toolchain.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_grid_in_every_format(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports.json"
    grid = ["-d", "0,16", "--no-cold", "--no-memory", "--output", "csv", "--out", out]
    done = _paredown("profile", bundle, *SHORT, *grid)
    assert done.returncode in (0, 5), done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["depth"] for row in rows] == ["0", "16"]
    assert all(float(row["decode_tok_s"]) > 0 for row in rows)
    assert all(row["peak_rss_bytes"] == "" for row in rows), "absent is empty, not 0"
    reports = loads(ReportSet, out.read_text()).reports
    assert [report.protocol.depth for report in reports] == [0, 16]


def test_a_single_report_and_its_table(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    done = _paredown("profile", bundle, *SHORT, "--sustained", "1s", "--out", out)
    assert done.returncode in (0, 5), done.stderr
    report = loads(DeviceReport, out.read_text())
    for words in ("| pp6 |", "| peak PSS |", "| last minute / first |", "Predicted peak:"):
        assert words in done.stdout
    assert "%" in done.stdout.split("Predicted peak:")[1].splitlines()[0]
    phases = [launch.phase for launch in report.extra_launches]
    assert phases == ["cold", "cold", "memory", "sustained"]


def test_turns(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "comparison.json"
    done = _paredown("compare", bundle, bundle, "--interleave", *SHORT, "--out", out, "--json")
    assert done.returncode in (0, 5), done.stderr
    if done.returncode == 5:
        assert "is invalid" in done.stderr
        return
    found = json.loads(done.stdout)
    assert found == json.loads(out.read_text())
    assert found["interleaved"]
    assert found["outcome"] == "shown"
    assert len(found["reports"]) == 2
    decode = next(row for row in found["rows"] if row["key"] == "decode_tok_s")
    assert decode["low"] < decode["ratio"] < decode["high"]


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (1.5, 1), (1.05, 4)])
def test_the_gate_of_two_files(tmp_path: Path, factor: float, code: int) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    a.write_text(file_text([made_report(STEADY)]))
    b.write_text(file_text([made_report([ns * factor for ns in STEADY])]))
    done = _paredown("compare", a, b, "--fail-on", "regress", "--margin", "5%")
    assert done.returncode == code, done.stderr
    assert "| decode_tok_s |" in done.stdout
    assert _paredown("compare", a, b).returncode == 0


def test_what_cannot_be_compared_is_one_line(bundle: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    a.write_text(file_text([made_report(STEADY)]))
    b.write_text(file_text([made_report(STEADY[:3])]))
    done = _paredown("compare", a, b)
    assert done.returncode == 2
    assert "protocols differ: launches is 5 and 3" in done.stderr
    invalid = made_report(STEADY, validity="invalid", validity_reasons=["throttled"])
    b.write_text(file_text([invalid]))
    done = _paredown("compare", a, b)
    assert done.returncode == 5
    assert done.stderr.count("\n") == 1
    assert _paredown("compare", a, bundle).returncode == 2


def test_fit(bundle: Path) -> None:
    done = _paredown("fit", bundle)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("FITS: tiny on local")
    fit = json.loads(_paredown("fit", bundle, "--json").stdout)
    assert fit["verdict"] == "FITS"
    assert fit["predicted"]["runtime_bytes"] > 1e7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "abc"], "--prompt-tokens is 'abc'"),
        (["-t", "0"], "threads is 0"),
        (["--output", "yaml"], "unknown output 'yaml'"),
        (["--sustained", "soon"], "'soon' is no duration"),
        (["-d", "47"], "exceed the context of 48"),
        (["--device", "local", "--device", "local"], "named twice"),
        (["--engine", "native"], "the native runner runs no onnx bundles"),
    ],
)
def test_bad_requests_are_one_line(bundle: Path, arguments: list[str], words: str) -> None:
    done = _paredown("profile", bundle, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
