"""The scripts of the offline build: API stubs from signatures, and fetching that trusts nobody."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from offline_build import OFFLINE, UNAVAILABLE

pytest_plugins = ("android_fixtures",)

STUBS = Path(__file__).parent / "stubs"


def javac(
    classpath: Path, out: Path, source: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    command = ["javac", "--release", "11", "-proc:none", *options, "-cp", str(classpath)]
    return subprocess.run(
        [*command, "-d", str(out), str(source)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """The jar of stubs/current.txt."""
    if shutil.which("javac") is None:
        pytest.skip("no javac")
    jar = tmp_path / "stubs.jar"
    command = [sys.executable, OFFLINE / "api_stubs.py", STUBS / "current.txt", jar]
    subprocess.run(command, check=True)
    return jar


def test_programs_compile_against_stubs_and_the_jvm_takes_them(stubs: Path, tmp_path: Path) -> None:
    source = STUBS / "Program.java"
    done = javac(stubs, tmp_path, source, "-Xlint:all,-options", "-Werror", "-encoding", "UTF-8")
    assert done.returncode == 0, done.stderr
    path = f"{stubs}:{tmp_path}"
    ran = subprocess.run(
        ["java", "-Dfile.encoding=UTF-8", "-Xverify:all", "-cp", path, "Program"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ran.stdout.splitlines() == [
        'a "b"; é€4294967296true',
        "true",
        "public abstract T demo.api.Shelf.take()",
        "public final <K,V extends T> java.util.Map<K, V[]> "
        "demo.api.Shelf.index(java.util.List<? extends K>,long)",
        "[]",
    ], ran.stderr


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("Shelf.old(1)", "[deprecation] old(double) in Shelf has been deprecated"),
        ("((Shelf<String>) null).close()", "unreported exception"),
        ("new Shelf.Place().y", "cannot find symbol"),
        ("((Shelf<Object>) null).take()", "type argument Object is not within bounds"),
    ],
)
def test_what_the_api_forbids_does_not_compile(
    stubs: Path, tmp_path: Path, expression: str, complaint: str
) -> None:
    source = tmp_path / "Wrong.java"
    source.write_text(
        f"import demo.api.*; class Wrong {{ Object o() {{ return {expression}; }} }}"
        if "close" not in expression
        else f"import demo.api.*; class Wrong {{ void o() {{ {expression}; }} }}",
        encoding="utf-8",
    )
    done = javac(stubs, tmp_path, source, "-Xlint:all,-options", "-Werror")
    assert done.returncode != 0
    assert complaint in done.stderr


def fetch(tools: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run fetch_tools.sh with a folder before the others on PATH."""
    environment = {**os.environ, "PAREDOWN_ANDROID_TOOLS": str(tools), "PYTHON": sys.executable}
    if path is not None:
        environment["PATH"] = f"{path}:{os.environ['PATH']}"
    return subprocess.run(
        [str(OFFLINE / "fetch_tools.sh")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture
def without_executorch(android_tools: Path, tmp_path: Path) -> Path:
    """Tools of which one part is missing."""
    tools = tmp_path / "tools"
    for part in ("dx", "api", "onnxruntime"):
        (tools / part).mkdir(parents=True)
        shutil.copy(android_tools / part / ".recipe", tools / part)
    return tools


def fake_npm(folder: Path, body: str) -> Path:
    """A folder with a program `npm`."""
    folder.mkdir()
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    npm.chmod(0o755)
    return folder


def test_another_file_than_the_known_one_is_refused(
    without_executorch: Path, tmp_path: Path
) -> None:
    path = fake_npm(tmp_path / "bin", "echo hello >react-native-executorch-0.9.3.tgz")
    done = fetch(without_executorch, path)
    assert done.returncode == 4, done.stderr
    assert "another checksum" in done.stderr
    left = sorted(entry.name for entry in without_executorch.iterdir())
    assert left == [".lock", "api", "dx", "onnxruntime"]


def test_what_cannot_be_had_is_said_with_its_own_status(
    without_executorch: Path, tmp_path: Path
) -> None:
    done = fetch(without_executorch, fake_npm(tmp_path / "bin", "exit 1"))
    assert done.returncode == UNAVAILABLE
    assert done.stderr.strip() == "npm has no react-native-executorch@0.9.3"
    assert not (without_executorch / "executorch").exists()


def test_what_is_there_is_not_fetched_again(android_tools: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in android_tools.glob("*/.recipe")}
    assert len(before) == 4
    path = fake_npm(tmp_path / "bin", "exit 1")
    done = fetch(android_tools, path)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
