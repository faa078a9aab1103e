"""The runner's attention kernels against the formula, for every instruction set of this machine."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from toolchain.errors import MissingError
from toolchain.native import compiler, wheel

Floats = NDArray[np.float32]
Attend = Callable[..., Floats]

HARNESS = Path(__file__).parents[1] / "attention_harness.cpp"
TOLERANCE = 2e-5
"""Scores are up to about 30 and sums run over up to 600 keys in float32."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The runner's own files behind one C function."""
    import platform

    try:
        tools, package = compiler.find_compiler(platform.machine(), False), wheel.installed_wheel()
    except MissingError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("attention")
    flags = [*compiler.flags(package), "-fPIC", f"-I{compiler.SOURCES}"]
    objects = []
    names = [(path, []) for path in (compiler.SOURCES / "attention.cpp", HARNESS)]
    names.append((compiler.SOURCES / "threads.cpp", []))
    for isa, extra in compiler.kernel_flags(tools.machine).items():
        names.append((compiler.SOURCES / compiler.KERNEL, [f"-DRUNNER_ISA={isa}", *extra]))
    for number, (path, extra) in enumerate(names):
        objects.append(str(folder / f"{number}.o"))
        command = [tools.command, *flags, *extra, "-c", str(path), "-o", objects[-1]]
        subprocess.run(command, check=True)
    made, libraries = folder / "attention.so", package / "lib"
    links = [f"-L{libraries}", "-lexecutorch", "-lexecutorch_threadpool"]
    subprocess.run(
        [tools.command, "-shared", *objects, "-o", str(made), *links, f"-Wl,-rpath,{libraries}"],
        check=True,
    )
    return ctypes.CDLL(str(made))


@pytest.fixture(scope="module")
def attend(library: ctypes.CDLL) -> Attend:
    library.attend.argtypes = [
        ctypes.c_char_p,
        ctypes.c_int,
        *[ctypes.c_void_p] * 4,
        *[ctypes.c_int64] * 5,
        ctypes.c_float,
    ]

    def call(
        isa: str, threads: int, query: Floats, keys: Floats, values: Floats, start: int
    ) -> Floats:
        length, heads, head_dim = query.shape
        out = np.full_like(query, np.nan)
        pointers = [array.ctypes.data for array in (query, keys, values, out)]
        shape = [length, heads, keys.shape[1], head_dim, start]
        if library.attend(isa.encode(), threads, *pointers, *shape, head_dim**-0.5):
            pytest.skip(f"this processor has no {isa}")
        return out

    return call


def _kernels() -> list[str]:
    import platform

    machine = platform.machine()
    return list(compiler.kernel_flags(machine)) if machine in ("x86_64", "aarch64") else []


def _random(seed: int, length: int, kv_heads: int, group: int, head_dim: int, start: int) -> tuple:
    """Queries, keys and values; the cache has three rows that nobody may see, filled with NaN."""
    draw = np.random.default_rng(seed)
    query = draw.standard_normal((length, kv_heads * group, head_dim), np.float32)
    cache = draw.standard_normal((2, start + length + 3, kv_heads, head_dim), np.float32) * 2
    cache[:, start + length :] = np.nan
    return query, cache[0], cache[1]


def _formula(query: Floats, keys: Floats, values: Floats, start: int) -> Floats:
    """softmax(q·k/√d)·v over the visible positions, in float64."""
    length, heads, head_dim = query.shape
    out = np.empty_like(query)
    for s in range(length):
        for head in range(heads):
            own = head // (heads // keys.shape[1])
            seen = slice(0, start + s + 1)
            scores = keys[seen, own].astype(float) @ query[s, head].astype(float) * head_dim**-0.5
            weights = np.exp(scores - scores.max())
            out[s, head] = weights / weights.sum() @ values[seen, own].astype(float)
    return out


@pytest.mark.parametrize("isa", _kernels())
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(1, 70),
    kv_heads=st.integers(1, 4),
    group=st.integers(1, 5),
    head_dim=st.integers(1, 80),
    start=st.integers(0, 200),
    threads=st.integers(1, 3),
)
def test_any_shape_gives_the_formula(
    attend: Attend,
    isa: str,
    seed: int,
    length: int,
    kv_heads: int,
    group: int,
    head_dim: int,
    start: int,
    threads: int,
) -> None:
    inputs = _random(seed, length, kv_heads, group, head_dim, start)
    made = attend(isa, threads, *inputs, start)
    np.testing.assert_allclose(made, _formula(*inputs, start), atol=TOLERANCE)


@pytest.mark.parametrize("isa", _kernels())
@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize(
    ("length", "kv_heads", "group", "head_dim", "start"),
    [(1, 1, 1, 64, 600), (1, 2, 3, 32, 511), (1, 1, 12, 128, 300), (130, 2, 4, 64, 0)],
)
def test_long_caches_split_among_threads(
    attend: Attend,
    isa: str,
    threads: int,
    length: int,
    kv_heads: int,
    group: int,
    head_dim: int,
    start: int,
) -> None:
    inputs = _random(7, length, kv_heads, group, head_dim, start)
    made = attend(isa, threads, *inputs, start)
    np.testing.assert_allclose(made, _formula(*inputs, start), atol=TOLERANCE)


@pytest.mark.parametrize("isa", _kernels())
@pytest.mark.parametrize("length", [1, 40])
def test_scores_that_overflow_an_exponential(attend: Attend, isa: str, length: int) -> None:
    query, keys, values = _random(3, length, 2, 2, 16, 90)
    query *= 200
    made = attend(isa, 1, query, keys, values, 90)
    # One key takes nearly all of the weight; its score carries a float32 rounding of about 1e-4.
    np.testing.assert_allclose(made, _formula(query, keys, values, 90), atol=3e-3)


@pytest.mark.parametrize("isa", _kernels())
def test_one_call_or_many_give_the_same(attend: Attend, isa: str) -> None:
    """Prefill and token by token, which take different ways through the code."""
    query, keys, values = _random(11, 50, 2, 2, 48, 20)
    whole = attend(isa, 2, query, keys, values, 20)
    steps = [attend(isa, 2, query[i : i + 1], keys, values, 20 + i) for i in range(50)]
    np.testing.assert_allclose(np.concatenate(steps), whole, atol=TOLERANCE)
