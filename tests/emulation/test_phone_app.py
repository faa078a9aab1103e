"""The app against a real adbd: the same core on this machine's Java, and its faults."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from app_phone import APP_FOLDER, AppPhone
from emulated_device import PHONE_SERIAL
from handmade_bundle import write_bundle
from running import PAREDOWN, ROOT, profile, wait_until, when_it_runs

from runtime_py.bundle import open_bundle
from runtime_py.engines import open_engine
from runtime_py.schema import DeviceReport, Protocol, from_json
from toolchain.devices import open_device
from toolchain.devices.app import AppDevice
from toolchain.devices.checkup import examine
from toolchain.devices.package import PACKAGE
from toolchain.embedded import MODEL_DIR
from toolchain.errors import BadRequestError, InvalidMeasurementError, MissingError
from toolchain.exporting.bundle import export_checkpoint
from toolchain.model.checkpoint import open_checkpoint
from toolchain.profiling.compare import compare
from toolchain.profiling.output import load_reports
from toolchain.recipe import ExportSettings
from toolchain.validation.device_parity import device_gate
from toolchain.validation.verdict import PASS

pytest_plugins = ("device_fixtures", "android_fixtures", "app_fixtures")

FEW = ("-p", "8", "-n", "3", "-r", "2", "--launches", "2")
ENDLESS = Protocol(prompt_tokens=8, generated_tokens=30, repetitions=1_000_000, launches=1)
APP_URI = f"app:{PHONE_SERIAL}"


@pytest.fixture(scope="module")
def android_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model as `paredown export --target android` makes it for ONNX Runtime."""
    out = tmp_path_factory.mktemp("android") / "bundle"
    settings = ExportSettings(backend="onnx", quant="int4", context=128, target="android")
    export_checkpoint(open_checkpoint(MODEL_DIR), settings, out)
    return out


def _paredown(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*PAREDOWN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_from_nothing_to_a_report(
    app_phone: AppPhone, android_bundle: Path, tmp_path: Path
) -> None:
    apk = app_phone.make_apk(tmp_path)
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    bench = ("bench", str(android_bundle), "--device", app_phone.uri, "--apk", str(apk))
    done = _paredown("android", *bench, *FEW, "--out", str(first))
    assert done.returncode in (0, 5), done.stderr
    assert "onnxruntime-java" in done.stdout
    assert "Emulated: its times and sizes" in done.stdout
    profile(
        str(android_bundle), "--device", app_phone.uri, "--via", "app", *FEW, "--out", str(second)
    )
    report = from_json(DeviceReport, json.loads(first.read_text()))
    assert report.emulated
    assert report.device_uri == APP_URI
    assert [launch.engine for launch in report.launches] == ["onnxruntime-java"] * 2
    assert [len(s.token_ns) for launch in report.launches for s in launch.samples] == [3] * 4
    assert [launch.phase for launch in report.extra_launches] == ["cold", "cold", "memory"]
    device = report.launches[0].device
    assert device["emulated"].value == "yes"
    assert device["battery_percent"].value == 81, "of the shell, which may ask"
    assert "load_cold_ms" in report.absent
    assert report.summary["peak_rss_bytes"].median > 1e7
    compared = _paredown("compare", str(first), str(second))
    assert (compared.returncode, "is emulated: its times say" in compared.stderr) == (2, True)
    on_a_phone = [
        dataclasses.replace(loaded, emulated=False, validity="suspect")
        for path in (first, second)
        for loaded in load_reports(path)
    ]
    rows = {row.key for row in compare(*on_a_phone).rows}
    assert {"ttft_ms", "decode_tok_s", "peak_rss_bytes"} <= rows
    assert app_phone.left_behind() == []
    app_phone.uninstall()


def test_golden_cases_in_the_app(with_app: AppPhone, android_bundle: Path) -> None:
    manifest = open_bundle(android_bundle)
    engine = open_engine(android_bundle, manifest, threads=1)
    gate = device_gate(APP_URI, android_bundle, manifest, engine)
    assert (gate.gate, gate.outcome) == ("G3", PASS)
    assert (
        f"{len(manifest.golden_cases)} golden cases on {APP_URI} (onnxruntime-java)"
        in gate.sentence
    )
    assert with_app.left_behind() == []


def test_a_bundle_that_fails_its_golden_cases(with_app: AppPhone, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    write_bundle(wrong)
    manifest = json.loads((wrong / "manifest.json").read_text())
    for case in manifest["golden_cases"]:
        case["top_logits"][0]["logit"] += 1.0
    (wrong / "manifest.json").write_text(json.dumps(manifest))
    with open_device(APP_URI) as device:
        report = device.check(wrong)
    assert not report.passed
    assert report.cases[0].max_abs_logit_difference == pytest.approx(1.0, abs=1e-3)
    assert with_app.left_behind() == []


def test_it_is_examined(with_app: AppPhone) -> None:
    findings = {finding.what: finding for finding in examine(with_app.uri).findings}
    assert findings["run bundles in the app"].works
    assert PACKAGE in findings["run bundles in the app"].why
    with_app.uninstall()
    findings = {finding.what: finding for finding in examine(with_app.uri).findings}
    assert not findings["run bundles in the app"].works
    fix = findings["run bundles in the app"].fix
    assert fix == f"paredown android install --device {with_app.uri}"


def test_the_app_is_not_installed(app_phone: AppPhone, onnx_bundle: Path) -> None:
    arguments = (str(onnx_bundle), "--device", app_phone.uri, "--via", "app")
    done = _paredown("profile", *arguments, *FEW)
    assert done.returncode == 3
    assert f"has no app {PACKAGE}; install it: paredown android install" in done.stderr
    assert done.stderr.count("\n") == 1
    assert app_phone.left_behind() == []


def test_the_app_goes_away(with_app: AppPhone, onnx_bundle: Path) -> None:
    with open_device(APP_URI) as device:
        with_app.uninstall()
        with pytest.raises(MissingError, match=r"has no instrumentation .* any more; install"):
            device.check(onnx_bundle)
    assert with_app.left_behind() == []


def test_an_app_of_another_version(app_phone: AppPhone, tmp_path: Path) -> None:
    other = app_phone.make_apk(tmp_path, version="0.0.9")
    done = _paredown("android", "install", "--device", app_phone.uri, "--apk", str(other))
    assert done.returncode == 2
    assert "has version 0.0.9, this is paredown" in done.stderr
    with pytest.raises(MissingError, match=r"has version 0\.0\.9.*; install this one: paredown"):
        open_device(APP_URI)
    app_phone.uninstall()


def test_an_app_for_another_processor(app_phone: AppPhone, tmp_path: Path) -> None:
    other = app_phone.make_apk(tmp_path, abis=("armeabi-v7a",))
    done = _paredown("android", "install", "--device", app_phone.uri, "--apk", str(other))
    assert done.returncode == 3
    assert "no code for its processor (INSTALL_FAILED_NO_MATCHING_ABIS); build it" in done.stderr
    assert app_phone.left_behind() == []


def test_what_is_no_app(app_phone: AppPhone, tmp_path: Path) -> None:
    text = tmp_path / "text.apk"
    text.write_text("no APK")
    done = _paredown("android", "install", "--device", app_phone.uri, "--apk", str(text))
    assert (done.returncode, done.stderr.count("INSTALL_PARSE_FAILED_NOT_APK")) == (3, 1)
    done = _paredown("android", "install", "--device", app_phone.uri, "--apk", "nowhere.apk")
    assert (done.returncode, "there is no APK nowhere.apk" in done.stderr) == (2, True)
    assert app_phone.left_behind() == []


def test_no_space(with_app: AppPhone, android_bundle: Path) -> None:
    free = int(with_app.sh("df --output=avail -B1 data/local/tmp | tail -n 1"))
    with_app.sh(f"fallocate -l {free - (33 << 19)} data/fill")
    try:
        with open_device(APP_URI) as device, pytest.raises(MissingError, match="too little space"):
            device.prepare(android_bundle)
    finally:
        with_app.sh("rm data/fill")
    assert with_app.left_behind() == []


def test_killed_while_it_measures(with_app: AppPhone, onnx_bundle: Path) -> None:
    line = f"11-22 10:00:00.000 E lowmemorykiller: Kill '{PACKAGE}' (4711), uid 10123, oom_adj 0"

    def kill(pid: int) -> None:
        with_app.sh(f"echo {json.dumps(line)} >data/misc/log")
        os.kill(pid, signal.SIGKILL)

    with (
        open_device(APP_URI) as device,
        when_it_runs(with_app.app_process, kill),
        pytest.raises(
            InvalidMeasurementError, match=r"died: Process crashed.*lowmemorykiller: Kill"
        ),
    ):
        device.measure(onnx_bundle, ENDLESS)
    assert with_app.left_behind() == []


def test_it_hangs(with_app: AppPhone, onnx_bundle: Path) -> None:
    from toolchain.devices import open_shell

    with (
        AppDevice(open_shell(APP_URI), timeout_s=4) as device,
        pytest.raises(InvalidMeasurementError, match="did not answer within 4 s and was stopped"),
    ):
        device.measure(onnx_bundle, ENDLESS)
    wait_until(lambda: not with_app.app_process())
    assert with_app.left_behind() == []


def test_interrupted_while_it_measures(with_app: AppPhone, onnx_bundle: Path) -> None:
    endless = ("-p", "8", "-n", "30", "-r", "1000000", "--launches", "1")
    command = ["profile", str(onnx_bundle), "--device", APP_URI, *endless]
    process = subprocess.Popen([*PAREDOWN, *command], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    with when_it_runs(with_app.app_process, lambda _: process.send_signal(signal.SIGINT)):
        _, said = process.communicate(timeout=120)
    assert (process.returncode, "interrupted;" in said) == (130, True)
    wait_until(lambda: not with_app.app_process())
    wait_until(lambda: not with_app.left_behind())


def test_two_clients(with_app: AppPhone, onnx_bundle: Path) -> None:
    with open_device(APP_URI):
        for uri in (APP_URI, with_app.uri):
            with pytest.raises(MissingError, match=rf"is in use by .*\(process {os.getpid()}, "):
                open_device(uri)
        done = _paredown("android", "install", "--device", with_app.uri, "--apk", __file__)
        assert (done.returncode, "is in use by" in done.stderr) == (3, True)
    with open_device(APP_URI) as device:
        assert device.check(onnx_bundle).passed


def test_a_report_that_the_shell_cannot_read(with_app: AppPhone, onnx_bundle: Path) -> None:
    folder = f".{APP_FOLDER}/files"
    with_app.sh(f"mkdir -p {folder}/reports; chown -R 10123:10123 {folder}; chmod 700 {folder}")
    with open_device(APP_URI) as device:
        assert device.check(onnx_bundle).passed, "read as the app"
    assert with_app.left_behind() == []


def test_chat(with_app: AppPhone, android_bundle: Path) -> None:
    ask = ("android", "chat", str(android_bundle), "--device", with_app.uri, "-n", "12")
    prompt = ("--prompt", "Once upon a time")
    said = _paredown(*ask, *prompt)
    assert said.returncode == 0, said.stderr
    answer = json.loads(_paredown(*ask, *prompt, "--json").stdout)
    assert said.stdout == answer["text"] + "\n"
    assert answer["generated_tokens"] == 12
    assert len(answer["text"]) > 10
    assert with_app.left_behind() == []


@pytest.mark.usefixtures("with_app")
def test_requests_that_make_no_sense(onnx_bundle: Path) -> None:
    with open_device(APP_URI) as device:
        with pytest.raises(BadRequestError, match="the app has no native runner"):
            device.measure(onnx_bundle, Protocol(engine="native"))
        with pytest.raises(BadRequestError, match="context"):
            device.measure(onnx_bundle, Protocol(prompt_tokens=100_000))
    done = _paredown("profile", str(onnx_bundle), "--via", "app")
    assert (done.returncode, "no app measures on local" in done.stderr) == (2, True)
    done = _paredown("profile", str(onnx_bundle), "--via", "cable")
    assert (done.returncode, "known: runner, app" in done.stderr) == (2, True)


def test_unplugged_while_it_measures(  # the last one: adbd does not come back
    with_app: AppPhone, onnx_bundle: Path
) -> None:
    with (
        open_device(APP_URI) as device,
        when_it_runs(with_app.app_process, lambda _: with_app.device.unplug()),
        pytest.raises(MissingError, match=r"the connection to adb:\S+ broke") as caught,
    ):
        device.measure(onnx_bundle, ENDLESS)
    assert caught.value.exit_code == 3
    wait_until(lambda: not with_app.app_process())
    wait_until(lambda: not [n for n in with_app.left_behind() if "/runs/" in n or "lock" in n])
