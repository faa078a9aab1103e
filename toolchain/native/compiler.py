"""The C++ compiler: which one, with which flags, and what it says when it fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import runtime_py
from toolchain.errors import MissingError, ParedownError
from toolchain.progress import Progress

SOURCES = Path(runtime_py.__file__).parent / "runner"
KERNEL = "attention_kernel.cpp"
"""Compiled once for each instruction set of `_KERNELS`."""

_FLAGS = (
    "-std=c++17",
    "-O3",
    "-DNDEBUG",
    # As the wheel was built: its headers have other classes otherwise.
    "-DC10_USING_CUSTOM_GENERATED_MACROS",
    "-DET_EVENT_TRACER_ENABLED",
    "-ffp-contract=fast",
    "-fno-plt",
    "-pthread",
)

_KERNELS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {
        "portable": (),
        "avx2": ("-mavx2", "-mfma"),
        "avx512": ("-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mfma"),
    },
    "aarch64": {"portable": ()},
}
"""Instruction sets of the attention kernel by machine, and their flags; the runner picks one when
it starts. NEON is part of every aarch64."""

LIBRARIES = (
    "libexecutorch.so",
    "libexecutorch_kernels_optimized.so",
    "libexecutorch_kernels_quantized.so",
    "libexecutorch_backend_xnnpack.so",
    "libexecutorch_threadpool.so",
)
"""What the runner links of the wheel. Kernels and backend register themselves when loaded."""

C_LIBRARIES = (
    "ld-linux-aarch64.so.1",
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "libstdc++.so.6",
    "libgcc_s.so.1",
)
"""What a cross-built runner brings along, because the device may have an older one or, as a phone,
none."""


@dataclass(frozen=True)
class Compiler:
    """A g++ for one machine."""

    machine: str
    """As `uname -m` says it."""
    command: str
    strip: str
    version: str
    """First line of `--version`."""
    cross: bool


def find_compiler(machine: str, cross: bool) -> Compiler:
    """The g++ that makes programs for `machine`.

    Raises:
        MissingError: it is not installed; the hint is the line that installs it.
    """
    prefix = f"{machine}-linux-gnu-" if cross else ""
    package = f"g++-{machine.replace('_', '-')}-linux-gnu" if cross else "g++"
    command, strip = shutil.which(f"{prefix}g++"), shutil.which(f"{prefix}strip")
    if command is None or strip is None:
        raise MissingError(
            f"building the runner for {machine} needs {prefix}g++, which is not installed",
            f"sudo apt-get install {package}",
        )
    version = _run([command, "--version"]).splitlines()[0]
    return Compiler(machine, command, strip, version, cross)


def kernel_flags(machine: str) -> dict[str, tuple[str, ...]]:
    """Flags of the attention kernel by instruction set."""
    return _KERNELS[machine]


def flags(wheel: Path) -> list[str]:
    """Flags of every file, for the headers in the wheel's folder."""
    include = wheel / "include"
    headers = [include, include / "executorch/runtime/core/portable_type/c10"]
    return [*_FLAGS, *(f"-isystem{path}" for path in headers)]


def fingerprint(compiler: Compiler) -> str:
    """Everything that determines the program beside its sources and the wheel."""
    return repr(
        (
            compiler.version,
            compiler.machine,
            compiler.cross,
            _FLAGS,
            kernel_flags(compiler.machine),
            LIBRARIES,
            C_LIBRARIES,
        )
    )


def compile_program(
    compiler: Compiler, wheel: Path, facts: dict[str, str], out: Path, progress: Progress
) -> None:
    """Compile and link the runner as `out`, which looks for its libraries in `lib` beside it.

    Args:
        compiler: of the target machine.
        wheel: the wheel's folder `executorch` for that machine, with `include` and `lib`.
        facts: macros that the runner reports as its version: name -> text.
        out: the program.
        progress: gets one step per compiled file.

    Raises:
        ParedownError: the compiler's first error.
    """
    objects = out.parent / "objects"
    objects.mkdir()
    units = _units(compiler.machine)
    defines = [f'-D{name}="{value}"' for name, value in facts.items()]
    common = [*flags(wheel), *defines]

    def compile_unit(unit: tuple[str, Path, Sequence[str]]) -> str:
        name, source, further = unit
        made = str(objects / f"{name}.o")
        _run([compiler.command, *common, *further, "-c", str(source), "-o", made])
        return made

    title = f"compile the runner for {compiler.machine}"
    with progress.task(title, len(units) + 1) as task, ThreadPoolExecutor(os.cpu_count()) as pool:
        made = []
        for path in pool.map(compile_unit, units):
            made.append(path)
            task.advance()
        _run([compiler.command, *made, "-o", str(out), *_link_flags(compiler, wheel)])
        task.advance()
    shutil.rmtree(objects)


def copy_libraries(compiler: Compiler, wheel: Path, out: Path) -> None:
    """Copy what the program needs at run time into `out`, without debugging symbols."""
    paths = [wheel / "lib" / name for name in LIBRARIES]
    if compiler.cross:
        paths += [_library(compiler, name) for name in C_LIBRARIES]
    out.mkdir()
    for path in paths:
        shutil.copyfile(path, out / path.name)
        (out / path.name).chmod(0o755)
        if path.name in LIBRARIES:
            _run([compiler.strip, "--strip-unneeded", str(out / path.name)])


def _library(compiler: Compiler, name: str) -> Path:
    """Where the compiler has a library of the target machine."""
    path = Path(_run([compiler.command, f"-print-file-name={name}"]).strip())
    if not path.is_absolute():
        raise MissingError(
            f"{compiler.command} has no {name}", "install the C library of the target machine"
        )
    return path


def _units(machine: str) -> list[tuple[str, Path, Sequence[str]]]:
    """(name, source, further flags) of every file to compile; the slowest come first."""
    plain = [path for path in sorted(SOURCES.glob("*.cpp")) if path.name != KERNEL]
    kernels = [
        (f"kernel_{isa}", SOURCES / KERNEL, [f"-DRUNNER_ISA={isa}", *flags])
        for isa, flags in kernel_flags(machine).items()
    ]
    return [*((path.stem, path, ()) for path in plain), *kernels]


def _link_flags(compiler: Compiler, wheel: Path) -> list[str]:
    names = [f"-l{name.removeprefix('lib').removesuffix('.so')}" for name in LIBRARIES]
    # A cross-built program is started by the loader that it brings, which is told where to look.
    search = [] if compiler.cross else ["-Wl,-rpath,$ORIGIN/lib"]
    return ["-s", "-pthread", f"-L{wheel / 'lib'}", "-Wl,--no-as-needed", *names, *search]


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        lines = done.stderr.splitlines()
        errors = [line for line in lines if "error" in line or "undefined" in line] or lines
        raise ParedownError(
            f"{Path(command[0]).name} failed: {errors[0] if errors else done.returncode}",
            "the runner needs g++ 10 or newer and executorch of this version",
        )
    return done.stdout
