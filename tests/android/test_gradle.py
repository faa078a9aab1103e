"""The Gradle project without Gradle: versions pinned, consistent with the exporter and the APK."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from toolchain import __version__
from toolchain.devices.package import COMPONENT, PACKAGE

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "android_demo"
MODULES = ("core", "engine-executorch", "engine-onnx", "host", "app")


@pytest.fixture(scope="module")
def catalog() -> dict[str, Any]:
    """gradle/libs.versions.toml."""
    return tomllib.loads((DEMO / "gradle" / "libs.versions.toml").read_text(encoding="utf-8"))


def build_file(module: str) -> str:
    return (DEMO / module / "build.gradle").read_text(encoding="utf-8")


def exporter_pin(extra: str, name: str) -> Version:
    """What pyproject.toml pins a package of an extra to."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for line in project["project"]["optional-dependencies"][extra]:
        requirement = Requirement(line)
        if requirement.name == name:
            (pin,) = requirement.specifier
            assert pin.operator == "=="
            return Version(pin.version)
    raise AssertionError(f"{extra} has no {name}")


def test_every_version_is_an_exact_one(catalog: dict[str, Any]) -> None:
    for name, version in catalog["versions"].items():
        assert re.fullmatch(r"\d+(\.\d+)*", version), (name, version)
    for name, entry in (catalog["libraries"] | catalog["plugins"]).items():
        assert entry["version"]["ref"] in catalog["versions"], name
    assert catalog["versions"].keys() >= {"agp", "executorch", "onnxruntime", "junit"}


def test_no_version_outside_of_the_catalog() -> None:
    for path in (DEMO / "build.gradle", *(DEMO / m / "build.gradle" for m in MODULES)):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"['\"][\w.-]+:[\w.-]+:[^'\"]+['\"]", text), f"{path}: a coordinate"
        assert not re.search(r"\bversion\b\s*['\"(]", text), f"{path}: a plugin's version"
        assert not re.search(r"(Sdk|versionCode)\s*=\s*\d", text), f"{path}: an SDK level"


def test_catalog_names_that_are_used_exist_and_all_are_used(catalog: dict[str, Any]) -> None:
    files = [DEMO / "build.gradle", *(DEMO / module / "build.gradle" for module in MODULES)]
    code = "".join(re.sub("//.*", "", path.read_text(encoding="utf-8")) for path in files)
    used = {name.removesuffix(".get") for name in re.findall(r"\blibs\.([A-Za-z.]+)", code)}
    known = {f"versions.{name}" for name in catalog["versions"]}
    known |= {name.replace("-", ".") for name in catalog["libraries"]}
    known |= {f"plugins.{name.replace('-', '.')}" for name in catalog["plugins"]}
    assert used <= known
    references = {f"versions.{e['version']['ref']}" for e in catalog["libraries"].values()}
    references |= {f"versions.{e['version']['ref']}" for e in catalog["plugins"].values()}
    assert known - used <= references


def test_runtimes_are_those_of_the_exporter(catalog: dict[str, Any]) -> None:
    versions = catalog["versions"]
    assert Version(versions["executorch"]) == exporter_pin("executorch", "executorch")
    exported, packed = exporter_pin("onnx", "onnxruntime"), Version(versions["onnxruntime"])
    assert packed.release[:2] == exported.release[:2]  # not every patch is released for phones
    assert packed <= exported


def test_the_app_is_of_paredowns_version_and_name(catalog: dict[str, Any]) -> None:
    assert catalog["versions"]["app"] == __version__
    text = build_file("app")
    assert f"namespace = '{PACKAGE}'" in text
    assert f"applicationId = '{PACKAGE}'" in text
    manifest = (DEMO / "app/src/main/AndroidManifest.xml").read_text(encoding="utf-8")
    assert f'android:name="{COMPONENT.partition("/")[2]}"' in manifest
    assert f'android:targetPackage="{PACKAGE}"' in manifest
    assert "package=" not in manifest  # Gradle takes it from the namespace and refuses it here


def test_android_levels(catalog: dict[str, Any]) -> None:
    versions = catalog["versions"]
    assert [versions[n] for n in ("minSdk", "targetSdk", "compileSdk")] == ["26", "36", "36"]
    for module in ("app", "engine-executorch"):
        assert "minSdk = libs.versions.minSdk" in build_file(module)
    assert "useLegacyPackaging = false" in build_file("app")
    assert "abiFilters.addAll(['arm64-v8a', 'x86_64'])" in build_file("app")


def test_settings_name_every_module() -> None:
    text = (DEMO / "settings.gradle").read_text(encoding="utf-8")
    assert set(re.findall(r"':([\w-]+)'", text)) == set(MODULES)
    folders = {path.parent.name for path in DEMO.glob("*/build.gradle")}
    assert folders == set(MODULES)
    for module in MODULES:
        assert any((DEMO / module / "src/main/java").rglob("*.java")), module


def test_wrapper_is_pinned_by_checksum_and_ships_no_binary() -> None:
    text = (DEMO / "gradle/wrapper/gradle-wrapper.properties").read_text(encoding="utf-8")
    assert re.search(r"^distributionUrl=https\\://\S+/gradle-\d+\.\d+\.\d+-bin\.zip$", text, re.M)
    assert re.search(r"^distributionSha256Sum=[0-9a-f]{64}$", text, re.M)
    tracked = [path for path in DEMO.rglob("*") if "build" not in path.parts and path.is_file()]
    binaries = [p for p in tracked if p.suffix in (".jar", ".aar", ".so", ".apk", ".dex", ".class")]
    assert not binaries


def test_core_has_no_android() -> None:
    for module in ("core", "engine-onnx", "host"):
        for path in (DEMO / module).rglob("*.java"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"^import (android|androidx|dalvik|kotlin)\.", text, re.M), path


def test_no_reflection() -> None:
    """Engines are called through their real classes, which the compiler checks."""
    for path in DEMO.rglob("src/main/**/*.java"):
        text = path.read_text(encoding="utf-8")
        assert "java.lang.reflect" not in text, path
        assert "Class.forName" not in text, path
