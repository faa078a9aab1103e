"""The package manager's refusals, and the ways a device may be measured."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from toolchain import __version__
from toolchain.cli import main
from toolchain.devices import apk, choose_way
from toolchain.devices.apk import find_apk
from toolchain.devices.package import COMPONENT, PACKAGE, InstalledApp, refusal, why_not
from toolchain.errors import BadRequestError, MissingError
from toolchain.progress import SILENT, Silent


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Failure [INSTALL_FAILED_NO_MATCHING_ABIS: res=-113]", "no code for its processor"),
        ("Failure [INSTALL_FAILED_INSUFFICIENT_STORAGE]", "too little space"),
        (
            "Failure [INSTALL_FAILED_UPDATE_INCOMPATIBLE: Existing package signatures differ]",
            f"another key (INSTALL_FAILED_UPDATE_INCOMPATIBLE); remove it first, with its data: "
            f"adb -s 12:34 uninstall {PACKAGE}",
        ),
        ("Failure [INSTALL_FAILED_VERSION_DOWNGRADE: ...]", "a newer one is there"),
        ("Failure [INSTALL_FAILED_OLDER_SDK: Requires newer sdk version]", "Android is too old"),
        ("Failure [INSTALL_FAILED_USER_RESTRICTED: Install canceled by user]", "Install via USB"),
        ("Failure [INSTALL_FAILED_VERIFICATION_FAILURE]", "Play Protect"),
        ("Failure [INSTALL_PARSE_FAILED_NO_CERTIFICATES: ...]", "is not signed"),
        ("Failure [INSTALL_PARSE_FAILED_NOT_APK: ...]", "no sound APK"),
        ("avc: denied\nException occurred\n", "Exception occurred"),
        ("cmd: Can't find service: package", "Can't find service: package"),
        ("", "it gave no reason"),
    ],
)
def test_refusals(said: str, expected: str) -> None:
    error = refusal("adb:12:34", said)
    assert isinstance(error, MissingError)
    assert expected in str(error)


def test_versions() -> None:
    app = InstalledApp(PACKAGE, __version__, "arm64-v8a", COMPONENT, "/data/app/base.apk")
    assert why_not(app) == ""
    assert "has version 9, this is paredown" in why_not(InstalledApp(PACKAGE, "9", "", "", ""))
    without = InstalledApp(PACKAGE, __version__, "", "", "")
    assert "has no instrumentation" in why_not(without)


def test_ways() -> None:
    assert choose_way("adb:1:2", "app") == "app:1:2"
    assert choose_way("app:1", "runner") == "adb:1"
    assert choose_way("app:1", None) == "app:1"
    assert choose_way("local", "runner") == "local"
    with pytest.raises(BadRequestError, match="no app measures on ssh:pi; --via app is for adb:"):
        choose_way("ssh:pi", "app")
    with pytest.raises(BadRequestError, match="unknown way 'usb'; known: runner, app"):
        choose_way("adb:1", "usb")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["android", "fly", "--device", "adb:1"], "unknown action 'fly'"),
        (["android", "bench", "--device", "adb:1"], "bench without a bundle"),
        (["android", "install", "--device", "ssh:pi"], "no app measures on ssh:pi"),
        (["android", "chat", "bundle", "--device", "adb:1", "-n", "0"], "-n is 0; use 1 or more"),
        (["profile", "bundle", "--device", "local", "--via", "app"], "no app measures on local"),
        (["validate", "bundle", "--reference", "m", "--via", "app"], "--via app without a device"),
    ],
)
def test_requests(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def _source_tree(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apk, "OFFLINE_APK", folder / "offline.apk")
    monkeypatch.setattr(apk, "GRADLE_OUTPUTS", folder / "outputs")
    monkeypatch.setattr(apk, "BUILD_SCRIPT", folder / "build.sh")


def test_the_newest_apk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _source_tree(tmp_path, monkeypatch)
    with pytest.raises(MissingError, match="the app's sources are not here; build it with Gradle"):
        find_apk(SILENT)
    debug, release = (tmp_path / "outputs" / kind / "app.apk" for kind in ("debug", "release"))
    for path, seconds in ((debug, 200), (release, 100)):
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (seconds, seconds))
    assert find_apk(SILENT) == debug
    os.utime(release, (300, 300))
    assert find_apk(SILENT) == release


def test_it_is_built_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _source_tree(tmp_path, monkeypatch)
    script = tmp_path / "build.sh"
    script.write_text("#!/bin/sh\necho no aapt2 here >&2\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(MissingError, match="cannot be built here: no aapt2 here; build it with"):
        find_apk(SILENT)
    script.write_text(f"#!/bin/sh\n: >{tmp_path}/offline.apk\n")
    said: list[str] = []
    assert find_apk(_Notes(said)) == tmp_path / "offline.apk"
    assert "it has no engine" in said[0]


def test_the_app_has_the_version_of_paredown() -> None:
    catalogue = (apk.DEMO / "gradle" / "libs.versions.toml").read_text(encoding="utf-8")
    assert tomllib.loads(catalogue)["versions"]["app"] == __version__


class _Notes(Silent):
    def __init__(self, said: list[str]) -> None:
        self._said = said

    def note(self, message: str) -> None:
        self._said.append(message)
