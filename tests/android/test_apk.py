"""The APK of the offline build: it builds, verifies, and is what the manifest says."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tomllib
import xml.etree.ElementTree as ET
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from jvm import JUNIT
from offline_build import run_offline

from toolchain import __version__
from toolchain.devices.package import COMPONENT, PACKAGE

pytest_plugins = ("android_fixtures",)

DEMO = Path(__file__).parents[2] / "android_demo"
SOURCES = DEMO / "app" / "src" / "main"
ANDROID = "{http://schemas.android.com/apk/res/android}"
PAGE = 16384
ABIS = ["arm64-v8a", "x86_64"]


@pytest.fixture(scope="session")
def apk(android_tools: Path) -> Path:
    return Path(run_offline(android_tools, "build_apk.sh").strip())


@pytest.fixture(scope="session")
def badging(apk: Path) -> str:
    return run("aapt2", "dump", "badging", str(apk))


@pytest.fixture(scope="session")
def dex(apk: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("dex")
    with zipfile.ZipFile(apk) as archive:
        path = archive.extract("classes.dex", folder)
    if shutil.which("dexdump") is None:
        pytest.skip("no dexdump")
    return run("dexdump", path)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, check=False, timeout=300)
    said = done.stdout.decode("utf-8", "replace")  # dexdump writes Java's UTF-8
    assert done.returncode == 0, said + done.stderr.decode("utf-8", "replace")
    return said


def test_signature_verifies_and_an_edit_is_noticed(apk: Path, tmp_path: Path) -> None:
    said = run("apksigner", "verify", "--verbose", "--min-sdk-version", "26", str(apk))
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in said
    data = bytearray(apk.read_bytes())
    data[len(data) // 2] ^= 1
    edited = tmp_path / "edited.apk"
    edited.write_bytes(data)
    refused = subprocess.run(
        ["apksigner", "verify", str(edited)], capture_output=True, check=False, timeout=300
    )
    assert refused.returncode != 0


def test_badging_is_what_manifest_and_catalog_say(badging: str) -> None:
    path = DEMO / "gradle" / "libs.versions.toml"
    versions = tomllib.loads(path.read_text(encoding="utf-8"))["versions"]
    package = re.search(
        r"^package: name='(.*?)' versionCode='(.*?)' versionName='(.*?)'", badging, re.M
    )
    assert package is not None
    assert package.groups() == (PACKAGE, versions["appCode"], __version__)
    assert f"sdkVersion:'{versions['minSdk']}'" in badging
    assert f"targetSdkVersion:'{versions['targetSdk']}'" in badging
    assert f"launchable-activity: name='{PACKAGE}.ChatActivity'" in badging
    assert "application-label:'paredown'" in badging
    assert f"native-code: '{ABIS[0]}' '{ABIS[1]}'" in badging
    assert "application-debuggable" in badging  # run-as reads a report that the shell may not
    assert "uses-permission" not in badging


def test_built_manifest_has_the_components_of_the_source(apk: Path) -> None:
    tree = run("aapt2", "dump", "xmltree", "--file", "AndroidManifest.xml", str(apk))
    names = re.findall(r':name\(0x01010003\)="([^"]+)"', tree)
    source = ET.parse(SOURCES / "AndroidManifest.xml").getroot()  # noqa: S314 - our own file
    for element in source.iter():
        name = element.get(f"{ANDROID}name")
        assert name is None or name in names
    assert COMPONENT.partition("/")[2] in names
    assert "${" not in tree  # every placeholder is filled in
    exported = dict(re.findall(r"exported\(0x01010010\)=(\w+)()", tree))
    assert set(exported) == {"true", "false"}
    assert tree.count("exported(0x01010010)=true") == 1  # the launcher's activity alone
    assert "extractNativeLibs(0x010104ea)=false" in tree


def test_whatever_is_stored_begins_at_a_page_of_16_kib(apk: Path) -> None:
    run("zipalign", "-c", str(PAGE), str(apk))
    libraries = []
    with zipfile.ZipFile(apk) as archive, apk.open("rb") as file:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                continue
            file.seek(entry.header_offset + 26)
            name_bytes, extra_bytes = struct.unpack("<HH", file.read(4))
            assert (entry.header_offset + 30 + name_bytes + extra_bytes) % PAGE == 0, entry
            if entry.filename.startswith("lib/"):
                libraries.append(entry.filename)
    assert libraries == [f"lib/{abi}/libexecutorch.so" for abi in ABIS]


def test_native_libraries_load_where_pages_have_16_kib(apk: Path, tmp_path: Path) -> None:
    machines = {"arm64-v8a": 183, "x86_64": 62}
    with zipfile.ZipFile(apk) as archive:
        for abi in ABIS:
            data = Path(archive.extract(f"lib/{abi}/libexecutorch.so", tmp_path)).read_bytes()
            assert struct.unpack_from("<H", data, 18)[0] == machines[abi]
            alignments = load_alignments(data)
            assert alignments
            assert min(alignments) >= PAGE


def load_alignments(elf: bytes) -> list[int]:
    """p_align of every PT_LOAD of a 64-bit little-endian ELF file."""
    (offset,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    alignments = []
    for at in range(offset, offset + size * count, size):
        if struct.unpack_from("<I", elf, at)[0] == 1:
            alignments.append(struct.unpack_from("<Q", elf, at + 48)[0])
    return alignments


@dataclass(frozen=True)
class DexClass:
    """A class of the DEX file with what it extends."""

    name: str
    parent: str


def classes_of(dump: str) -> dict[str, DexClass]:
    found = re.findall(
        r"Class descriptor  : 'L(.*?);'.*?Superclass        : 'L(.*?);'", dump, re.DOTALL
    )
    return {name: DexClass(name, parent) for name, parent in found}


def test_code_has_the_instrumentation_and_both_engines(dex: str) -> None:
    classes = classes_of(dex)
    demo = PACKAGE.replace(".", "/")
    assert classes[f"{demo}/BenchInstrumentation"].parent == "android/app/Instrumentation"
    assert classes[f"{demo}/ChatActivity"].parent == "android/app/Activity"
    for name in (
        "dev/paredown/executorch/ExecutorchEngine",
        "dev/paredown/onnx/OnnxEngine",
        "dev/paredown/core/Headless",
        "org/pytorch/executorch/Module",
        "ai/onnxruntime/OrtSession",
    ):
        assert name in classes
    assert not [name for name in classes if name.startswith("androidx/")]
    names = {path.stem for path in (SOURCES / "java").rglob("*.java")}
    assert {f"{demo}/{name}" for name in names} <= classes.keys()


def test_engine_calls_executorchs_own_methods(android_tools: Path, apk: Path, dex: str) -> None:
    """What our engine calls is in the library's classes; nothing is looked up by name."""
    assert "dev/paredown/executorch/ExecutorchEngine" in classes_of(dex)
    code = run("dexdump", "-d", str(apk))
    engine = code.partition("'Ldev/paredown/executorch/ExecutorchEngine;'")[2]
    engine = engine.partition("Class descriptor")[0]
    calls = set(re.findall(r"Lorg/pytorch/executorch/(\w+);\.(\w+):", engine))
    assert {("Module", "load"), ("Module", "forward"), ("Tensor", "copyDataInto")} <= calls
    jar = android_tools / "executorch" / "classes.jar"
    kinds = sorted({f"org.pytorch.executorch.{kind}" for kind, _ in calls})
    public = run("javap", "-cp", str(jar), *kinds)
    for kind, name in calls:
        assert re.search(rf"\b{name}\b", public), f"{kind}.{name}"
    assert "Ljava/lang/reflect/" not in engine


def test_screens_can_be_read_aloud() -> None:
    """Every control has words, fields have a label, and what changes is announced."""
    strings = {
        element.get("name")
        for element in ET.parse(SOURCES / "res/values/strings.xml").getroot()  # noqa: S314
    }
    for name in ("chat", "benchmark"):
        root = ET.parse(SOURCES / f"res/layout/{name}.xml").getroot()  # noqa: S314
        labelled = {e.get(f"{ANDROID}labelFor", "").removeprefix("@id/") for e in root.iter()}
        for element in root.iter():
            words = [
                element.get(f"{ANDROID}{key}", "") for key in ("text", "hint", "contentDescription")
            ]
            for word in filter(None, words):
                assert word.startswith("@string/"), f"{name}: {word} cannot be translated"
                assert word.removeprefix("@string/") in strings
            if element.tag == "Button":
                assert words[0], f"{name}: a button without words"
                assert element.get(f"{ANDROID}minHeight") == "48dp"
            if element.tag in ("EditText", "Spinner"):
                own = element.get(f"{ANDROID}id", "").removeprefix("@+id/")
                assert own in labelled, f"{name}: {own} has no label"
        live = [e for e in root.iter() if e.get(f"{ANDROID}accessibilityLiveRegion") == "polite"]
        assert [e.get(f"{ANDROID}id") for e in live] == ["@+id/status"]


def test_day_and_night_have_the_same_styles_and_enough_contrast() -> None:
    def values(folder: str, file: str) -> dict[str | None, str | None]:
        root = ET.parse(SOURCES / "res" / folder / file).getroot()  # noqa: S314
        return {element.get("name"): element.text for element in root}

    assert values("values", "themes.xml").keys() == values("values-night", "themes.xml").keys()
    for folder, ground in (("values", "#FAFAFA"), ("values-night", "#303030")):
        colors = values(folder, "colors.xml")
        for name in ("accent",):
            assert contrast(colors[name] or "", ground) >= 4.5, (folder, name)
        assert contrast(colors["primary"] or "", "#FFFFFF") >= 4.5, folder  # the bar's title


def contrast(one: str, other: str) -> float:
    """Of two colours `#RRGGBB` (WCAG 2, relative luminance)."""

    def luminance(color: str) -> float:
        channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_what_the_screens_show_is_computed_right(java_classes: Path) -> None:
    """The app's own unit tests, on a JVM."""
    folder = java_classes / "app-test"
    names = [
        path.relative_to(folder).with_suffix("").as_posix().replace("/", ".")
        for path in sorted(folder.rglob("*Test.class"))
    ]
    assert len(names) == 2
    paths = [str(folder), str(java_classes / "core"), *JUNIT]
    said = run("java", "-cp", ":".join(paths), "org.junit.runner.JUnitCore", *names)
    assert re.search(r"^OK \(\d+ tests\)", said, re.M)
