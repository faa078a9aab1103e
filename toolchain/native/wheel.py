"""ExecuTorch's headers and libraries: of the installed package, or of another machine's wheel."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from toolchain.errors import MissingError, ParedownError, install_line
from toolchain.progress import Progress

EXECUTORCH = "1.5.1"
"""The version whose headers the runner is written against."""

_MARKER = Path("include", "executorch", "runtime", "executor", "program.h")
_PARTS = ("executorch/include/", "executorch/lib/")


def installed_wheel() -> Path:
    """Folder of the installed package, with `include` and `lib`.

    Raises:
        MissingError: it is not installed, or another version.
    """
    spec = importlib.util.find_spec("executorch")
    if spec is None or not spec.submodule_search_locations:
        raise MissingError(
            "building the runner needs executorch, which is not installed",
            f"{install_line('executorch')}, or where the runner is all that is wanted: "
            f"pip install --no-deps executorch=={EXECUTORCH}",
        )
    version = importlib.metadata.version("executorch")
    folder = Path(next(iter(spec.submodule_search_locations)))
    if version != EXECUTORCH or not (folder / _MARKER).is_file():
        raise MissingError(
            f"building the runner needs executorch {EXECUTORCH}, {version} is installed",
            f"pip install executorch=={EXECUTORCH}",
        )
    return folder


def downloaded_wheel(machine: str, cache: Path, progress: Progress) -> Path:
    """Folder of the wheel for `machine`, downloaded once.

    Args:
        machine: such as `aarch64`.
        cache: where downloads are kept.
        progress: gets a bar while pip downloads.

    Raises:
        MissingError: pip is not here or finds no such wheel.
        ParedownError: the wheel is not what was expected.
    """
    folder = cache / f"executorch-{EXECUTORCH}-{machine}"
    if (folder / "executorch" / _MARKER).is_file():
        return folder / "executorch"
    work = cache / f".{folder.name}.partial"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        with progress.task(f"download executorch for {machine}", None):
            _extract(_download(machine, work), work)
        if not (work / "executorch" / _MARKER).is_file():
            raise ParedownError(f"the executorch wheel for {machine} has no headers")
        shutil.rmtree(folder, ignore_errors=True)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder / "executorch"


def _download(machine: str, work: Path) -> Path:
    options = ["--no-deps", "--only-binary=:all:", "--platform", f"manylinux_2_28_{machine}"]
    python = ["--python-version", f"{sys.version_info[0]}.{sys.version_info[1]}"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *options, *python]
    command += ["--implementation", "cp", "--dest", str(work), f"executorch=={EXECUTORCH}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    wheels = sorted(work.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        errors = done.stderr.splitlines() or ["no wheel"]
        raise MissingError(
            f"pip cannot download executorch {EXECUTORCH} for {machine}: {errors[-1]}",
            "connect to the network, or build on the device itself with --arch host",
        )
    return wheels[0]


def _extract(wheel: Path, work: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(work, [n for n in archive.namelist() if n.startswith(_PARTS)])
    wheel.unlink()
