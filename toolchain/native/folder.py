"""A folder that runs wherever it is copied: the program, its libraries, its record."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from toolchain import __version__
from toolchain.errors import BadRequestError, did_you_mean
from toolchain.native.compiler import (
    SOURCES,
    Compiler,
    compile_program,
    copy_libraries,
    find_compiler,
    fingerprint,
)
from toolchain.native.wheel import EXECUTORCH, downloaded_wheel, installed_wheel
from toolchain.progress import SILENT, Progress
from toolchain.store import atomic_directory, sha256_files, write_json

PROGRAM = "paredown-runner"
RECORD = "runner.json"
RECORD_SCHEMA = "paredown.runner/1"

ARCHITECTURES = ("host", "x86_64", "aarch64")

LAUNCHER = """\
#!/bin/sh
# Starts the runner with the C library beside it: the device's own may be older, or of another kind.
here=${0%/*}
exec "$here/lib/ld-linux-aarch64.so.1" --library-path "$here/lib" "$here/paredown-runner.elf" "$@"
"""


@dataclass(frozen=True)
class BuiltRunner:
    """Where a build is and what it weighs."""

    folder: Path
    machine: str
    """As `uname -m` says it."""
    program_bytes: int
    """Of the stripped program alone."""
    folder_bytes: int
    """With its libraries: what is pushed to a device."""


def build(arch: str, progress: Progress = SILENT) -> Path:
    """Folder of the runner for `arch`, built now or taken from the cache. As `build_runner`."""
    return build_runner(arch, progress=progress).folder


def build_runner(arch: str, out: Path | None = None, progress: Progress = SILENT) -> BuiltRunner:
    """Build the runner, unless the cache has it.

    The cache is `~/.cache/paredown/runner`, or `runner` in the folder that PAREDOWN_CACHE names;
    its key is a hash of the sources, the flags, the compiler's and ExecuTorch's versions.

    Args:
        arch: `host`, or a machine as `uname -m` says it: built natively on such a machine, with
            Debian's cross compiler elsewhere.
        out: also copy the folder here.
        progress: gets a bar per download and compilation.

    Raises:
        BadRequestError: an unknown `arch`, a cache that cannot be written, or an `out` that exists
            and is not ours.
        MissingError: no compiler, executorch or network; the hint is the way out.
        ParedownError: the compiler's first error.
    """
    if arch not in ARCHITECTURES:
        raise BadRequestError(f"unknown architecture '{arch}'", did_you_mean(arch, ARCHITECTURES))
    machine = platform.machine() if arch == "host" else arch
    if machine not in ARCHITECTURES:
        raise BadRequestError(f"the runner is not made for {machine}", "use x86_64 or aarch64")
    compiler = find_compiler(machine, cross=machine != platform.machine())
    folder = cache_root() / f"{machine}-{_key(compiler)}"
    if not (folder / RECORD).is_file():
        _build(compiler, folder, progress)
    if out is not None:
        with atomic_directory(out) as work:
            shutil.copytree(folder, work, dirs_exist_ok=True)
        folder = out
    files = [path for path in folder.rglob("*") if path.is_file()]
    elf = folder / (f"{PROGRAM}.elf" if compiler.cross else PROGRAM)
    sizes = elf.stat().st_size, sum(path.stat().st_size for path in files)
    return BuiltRunner(folder, machine, *sizes)


def cache_root() -> Path:
    """Where built runners and downloaded wheels are kept."""
    root = os.environ.get("PAREDOWN_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "paredown") / "runner"


def _key(compiler: Compiler) -> str:
    sources = sorted([*SOURCES.glob("*.cpp"), *SOURCES.glob("*.h")])
    parts = (sha256_files(sources), fingerprint(compiler), EXECUTORCH, LAUNCHER)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _build(compiler: Compiler, folder: Path, progress: Progress) -> None:
    cache = folder.parent
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadRequestError(
            f"cannot write {cache}: {error.strerror}", "set PAREDOWN_CACHE to a folder of yours"
        ) from error
    wheel = (
        downloaded_wheel(compiler.machine, cache, progress) if compiler.cross else installed_wheel()
    )
    key = folder.name.rpartition("-")[2]
    facts = {"RUNNER_BUILD": f"{__version__}+{key}", "RUNNER_EXECUTORCH": EXECUTORCH}
    with tempfile.TemporaryDirectory(dir=cache, prefix=".build-") as work:
        made = Path(work, "folder")
        made.mkdir()
        program = made / (f"{PROGRAM}.elf" if compiler.cross else PROGRAM)
        compile_program(compiler, wheel, facts, program, progress)
        copy_libraries(compiler, wheel, made / "lib")
        if compiler.cross:
            (made / PROGRAM).write_text(LAUNCHER)
            (made / PROGRAM).chmod(0o755)
        record = {
            "schema": RECORD_SCHEMA,
            "machine": compiler.machine,
            "executorch": EXECUTORCH,
            "compiler": compiler.version,
            "paredown": __version__,
        }
        write_json(made / RECORD, record)
        try:
            made.rename(folder)
        except OSError:
            if not (folder / RECORD).is_file():  # else another process was faster: the same bits
                raise
