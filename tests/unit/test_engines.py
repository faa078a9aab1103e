"""Engines: the same numbers however a text is split, and refusals that name the way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeBundle
from handmade_bundle import (
    KV_HEADS,
    VOCAB_SIZE,
    file_entries,
    reference_logits,
    write_bundle,
    write_manifest,
)

from runtime_py.bundle import open_bundle
from runtime_py.engines import Engine, open_engine
from runtime_py.engines.fake import FakeEngine
from runtime_py.errors import BadRequestError, BrokenBundleError
from runtime_py.schema import CheckReport, LayerShape, loads

ROOT = Path(__file__).parents[2]
IDS = [256, 4, 200, 31, 8, 8, 90, 17, 255, 0, 63]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("engines") / "bundle"
    write_bundle(path)
    return path


@pytest.fixture
def engine(bundle: Path) -> Engine:
    return open_engine(bundle, open_bundle(bundle))


def test_facts(engine: Engine) -> None:
    assert engine.name == "onnxruntime"
    assert set(engine.versions) == {"onnxruntime", "numpy"}
    assert (engine.vocab_size, engine.context_length) == (VOCAB_SIZE, 48)
    assert engine.load_ns > 0


@pytest.mark.parametrize("split", range(len(IDS)))
def test_prefill_then_steps_give_every_row_of_the_reference(engine: Engine, split: int) -> None:
    rows = [*engine.prefill(IDS[:split])] if split else []
    rows += [engine.step(token) for token in IDS[split:]]
    assert engine.position == len(IDS)
    assert all(row.dtype == np.float32 and row.shape == (VOCAB_SIZE,) for row in rows)
    np.testing.assert_allclose(np.stack(rows), reference_logits(IDS), atol=2e-5)


def test_prefill_in_two_parts(engine: Engine) -> None:
    rows = np.concatenate([engine.prefill(IDS[:4]), engine.prefill(IDS[4:])])
    np.testing.assert_allclose(rows, reference_logits(IDS), atol=2e-5)


def test_reset_forgets(engine: Engine) -> None:
    first = engine.prefill(IDS).copy()
    engine.reset()
    assert engine.position == 0
    np.testing.assert_array_equal(engine.prefill(IDS), first)


def test_the_context_fills_to_the_last_token_and_no_further(engine: Engine) -> None:
    engine.prefill([1] * 47)
    engine.step(2)
    with pytest.raises(BadRequestError, match="49 tokens do not fit the context of 48"):
        engine.step(3)
    assert engine.position == 48
    engine.reset()
    with pytest.raises(BadRequestError, match="--context"):
        engine.prefill([1] * 49)
    assert engine.prefill([1] * 48).shape == (48, VOCAB_SIZE)


@pytest.mark.parametrize("token_ids", [[-1], [VOCAB_SIZE], [3, 10**9, 3]])
def test_tokens_outside_of_the_vocabulary(engine: Engine, token_ids: list[int]) -> None:
    with pytest.raises(BadRequestError, match="not in the vocabulary of 258"):
        engine.prefill(token_ids)


def test_no_tokens(engine: Engine) -> None:
    with pytest.raises(BadRequestError, match="no tokens"):
        engine.prefill([])


def test_unknown_backend_and_impossible_threads(tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path / "b", backend="tflite")
    with pytest.raises(BadRequestError, match=r"tflite.*executorch, onnx"):
        open_engine(tmp_path / "b", manifest)
    with pytest.raises(BadRequestError, match="threads is 0"):
        open_engine(tmp_path / "b", manifest, threads=0)


def test_a_model_that_onnxruntime_cannot_load(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes()[:200])
    manifest = write_manifest(tmp_path, files=file_entries(tmp_path))
    with pytest.raises(BrokenBundleError, match=r"onnxruntime cannot load .*model\.onnx") as caught:
        open_engine(tmp_path, manifest)
    assert "\n" not in str(caught.value)


def test_a_model_with_other_inputs(bundle: Path) -> None:
    layers = [LayerShape(1, 1, 4, 8)] * (len(KV_HEADS) + 1)
    manifest = write_manifest(bundle, layers=layers)
    try:
        with pytest.raises(BrokenBundleError, match=r"past_key_values\.2\.key"):
            open_engine(bundle, manifest)
    finally:
        write_manifest(bundle)


def test_a_model_with_other_kv_shapes(bundle: Path) -> None:
    manifest = write_manifest(bundle, layers=[LayerShape(4, 4, 4, 8)] * len(KV_HEADS))
    try:
        with pytest.raises(BrokenBundleError, match="onnxruntime cannot run") as caught:
            open_engine(bundle, manifest).prefill([1, 2])
        assert "\n" not in str(caught.value)
    finally:
        write_manifest(bundle)


@pytest.fixture(scope="module")
def two_engines(tiny_bundle: MakeBundle) -> tuple[Engine, Engine]:
    """ExecuTorch and ONNX Runtime over the same checkpoint, widths differing by layer."""
    paths = [tiny_bundle("llama", backend, per_layer=True) for backend in ("executorch", "onnx")]
    executorch, onnx = (open_engine(path, open_bundle(path)) for path in paths)
    return executorch, onnx


def _random_tokens(engine: Engine, count: int) -> list[int]:
    return [(7 * i * i + 3 * i) % engine.vocab_size for i in range(count)]


@pytest.mark.slow
def test_executorch_agrees_with_onnxruntime(two_engines: tuple[Engine, Engine]) -> None:
    executorch, onnx = two_engines
    assert executorch.name == "executorch"
    assert set(executorch.versions) == {"executorch", "torch"}
    # The whole context at once: one token more than a single call of the method takes.
    ids = _random_tokens(executorch, executorch.context_length)
    for engine in two_engines:
        engine.reset()
    expected = onnx.prefill(ids)
    rows = executorch.prefill(ids)
    assert rows.dtype == np.float32
    assert rows.shape == (len(ids), executorch.vocab_size)
    np.testing.assert_allclose(rows, expected, atol=1e-3)
    with pytest.raises(BadRequestError, match="do not fit the context"):
        executorch.step(1)


@pytest.mark.slow
def test_executorch_steps_after_a_reset(two_engines: tuple[Engine, Engine]) -> None:
    executorch, _ = two_engines
    ids = _random_tokens(executorch, 12)
    executorch.reset()
    whole = executorch.prefill(ids).copy()
    executorch.reset()
    rows = [*executorch.prefill(ids[:5]), *(executorch.step(token) for token in ids[5:])]
    assert executorch.position == 12
    np.testing.assert_allclose(np.stack(rows), whole, atol=1e-4)


@pytest.mark.slow
def test_executorch_says_nothing_on_its_own(tiny_bundle: MakeBundle) -> None:
    path = tiny_bundle("llama", "executorch", per_layer=True)
    for threads in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "runtime_py", "check", str(path), "--threads", threads],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        assert loads(CheckReport, done.stdout).passed
        assert done.stderr == ""


@pytest.mark.slow
def test_a_model_that_executorch_cannot_load(tiny_bundle: MakeBundle, tmp_path: Path) -> None:
    path = tiny_bundle("llama", "executorch", per_layer=True)
    manifest = open_bundle(path)
    data = manifest.model_path(path).read_bytes()
    (tmp_path / manifest.model_file).write_bytes(data[: len(data) // 2])
    with pytest.raises(BrokenBundleError, match=r"executorch cannot load .*model\.pte") as caught:
        open_engine(tmp_path, manifest)
    assert "\n" not in str(caught.value)


def _run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout


@pytest.mark.parametrize(
    ("backend", "module", "extra"),
    [
        ("onnx", "numpy", "pi-onnx"),
        ("onnx", "onnxruntime", "pi-onnx"),
        ("executorch", "torch", "executorch"),
        ("executorch", "executorch", "executorch"),
    ],
)
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    tmp_path: Path, backend: str, module: str, extra: str
) -> None:
    write_bundle(tmp_path / "b", backend=backend)
    code = f"""
import sys
sys.modules[{module!r}] = None
from pathlib import Path
from runtime_py.bundle import open_bundle
from runtime_py.engines import open_engine
from runtime_py.errors import MissingError
path = Path({str(tmp_path / "b")!r})
try:
    open_engine(path, open_bundle(path))
except MissingError as error:
    print(error.exit_code, error)
"""
    output = _run(code)
    assert output.startswith("3 ")
    assert f"needs {module}" in output
    assert f"pip install 'paredown[{extra}]'" in output


def test_runtime_py_imports_without_any_package() -> None:
    code = """
import importlib, pkgutil, sys
before = set(sys.stdlib_module_names)
class Blocked:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in before and top not in ("runtime_py",):
            raise ModuleNotFoundError(f"blocked {name}", name=name)
sys.meta_path.insert(0, Blocked())
import runtime_py
names = [m.name for m in pkgutil.walk_packages(runtime_py.__path__, "runtime_py.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
        print(name)
"""
    imported = _run(code).split()
    expected = {"agent", "bundle", "chat", "check", "engines.executorch", "engines.onnx", "measure"}
    assert {f"runtime_py.{name}" for name in expected} <= set(imported)


def test_the_fake_engine_keeps_the_rules_of_an_engine() -> None:
    engine = FakeEngine(vocab_size=10, context_length=3, seed=4)
    rows = engine.prefill([1, 2])
    assert [row.argmax() for row in rows] == [(4 + 31) % 10, (4 + 62 + 7) % 10]
    assert engine.step(0).argmax() == (4 + 14) % 10
    assert sorted(rows[0], reverse=True)[:2] == [0.0, -1.0]
    with pytest.raises(BadRequestError, match="4 tokens do not fit"):
        engine.step(0)
    engine.reset()
    assert engine.prefill([1, 2]) == rows
