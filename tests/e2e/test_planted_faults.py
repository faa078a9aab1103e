"""Faults planted into the bytes that ship or into the engine that runs them, one test each.

Every fault is held by the gate that should hold it; the table in docs/gates.md names these tests.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from runtime_py.engines import Engine, open_engine
from runtime_py.schema import MANIFEST_NAME, Manifest, dumps, loads
from toolchain.calibrate.sources import encode, read_documents
from toolchain.embedded import MODEL_DIR
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.store import sha256_file
from toolchain.validation import parity
from toolchain.validation.integrity import integrity_gate
from toolchain.validation.text import parity_sequences
from toolchain.validation.verdict import PASS, GateResult

Array = NDArray[Any]
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


@pytest.fixture(scope="module")
def reference() -> Checkpoint:
    return open_checkpoint(MODEL_DIR)


@pytest.fixture(scope="module")
def sequences(reference: Checkpoint) -> list[list[int]]:
    """Two stories and one that fills a context of 128."""
    documents = encode(reference.tokenizer(), read_documents("builtin", "evaluation")[:4])
    return parity_sequences(documents, 128, 2)


@pytest.fixture
def bundle(embedded_bundle: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the embedded bundle to change."""
    return Path(shutil.copytree(embedded_bundle("onnx"), tmp_path / "bundle"))


def manifest_of(bundle: Path) -> Manifest:
    return loads(Manifest, (bundle / MANIFEST_NAME).read_text(encoding="utf-8"))


def reseal(bundle: Path, **changes: object) -> Manifest:
    """Make the manifest agree with the files again, so that no hash gives the fault away."""
    manifest = manifest_of(bundle)
    entries = [
        dataclasses.replace(
            entry,
            bytes=(bundle / entry.path).stat().st_size,
            sha256=sha256_file(bundle / entry.path),
        )
        for entry in manifest.files
    ]
    changed = dataclasses.replace(manifest, files=entries, **changes)  # type: ignore[arg-type]
    (bundle / MANIFEST_NAME).write_text(dumps(changed), encoding="utf-8")
    return changed


def edit_weights(bundle: Path, edit: Callable[[dict[str, Array]], dict[str, Array]]) -> None:
    """Rewrite initializers of model.onnx; `edit` gets all and returns those that change."""
    path = bundle / "model.onnx"
    model = onnx.load(path)  # with its external data
    tensors = {t.name: t for t in model.graph.initializer}
    arrays = {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items()}
    changed = edit(arrays)
    assert changed
    for name, array in changed.items():
        assert not np.array_equal(array, arrays[name])
        tensors[name].CopyFrom(numpy_helper.from_array(array.astype(arrays[name].dtype), name))
    for extra in bundle.glob("model.onnx.*"):
        extra.unlink()
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=1024,
    )
    reseal(bundle)


def integrity(bundle: Path, reference: Checkpoint) -> GateResult:
    return integrity_gate(bundle, manifest_of(bundle), reference)


def faithfulness(
    bundle: Path,
    reference: Checkpoint,
    sequences: list[list[int]],
    wrap: Callable[[Engine], Engine] = lambda engine: engine,
) -> GateResult:
    manifest = manifest_of(bundle)
    engine = wrap(open_engine(bundle, manifest))
    return parity.judge(engine, manifest, reference, sequences)


def failed(gate: GateResult) -> set[str]:
    return {finding.name for finding in gate.findings if not finding.passed}


def test_without_a_fault_both_gates_pass(
    bundle: Path, reference: Checkpoint, sequences: list[list[int]]
) -> None:
    edit_weights(bundle, lambda arrays: {"decoder.cos_": np.nextafter(arrays["decoder.cos_"], 9)})
    assert integrity(bundle, reference).outcome == PASS
    assert faithfulness(bundle, reference, sequences).outcome == PASS


def test_a_swapped_tokenizer(bundle: Path, reference: Checkpoint) -> None:
    path = bundle / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["t"], vocabulary["s"] = vocabulary["s"], vocabulary["t"]
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    reseal(bundle)
    assert failed(integrity(bundle, reference)) == {"tokenizer", "golden encodings"}


def test_a_wrong_rope_theta(
    bundle: Path, reference: Checkpoint, sequences: list[list[int]]
) -> None:
    def half(arrays: dict[str, Array]) -> dict[str, Array]:
        """The tables of half the theta."""
        cosine = arrays["decoder.cos_"]
        pairs = cosine.shape[1]
        angles = np.arccos(np.clip(cosine[1].astype(float), -1, 1))  # theta^(-i/pairs)
        exponents = np.arange(pairs) / pairs
        frequencies = angles * 2**exponents
        table = np.outer(np.arange(len(cosine)), frequencies)
        return {"decoder.cos_": np.cos(table), "decoder.sin_": np.sin(table)}

    edit_weights(bundle, half)
    assert integrity(bundle, reference).outcome == PASS
    assert {"prefill = torch", "decode = torch"} <= failed(
        faithfulness(bundle, reference, sequences)
    )


def test_a_dropped_layer(bundle: Path, reference: Checkpoint, sequences: list[list[int]]) -> None:
    """Both branches of a layer add nothing: the weights that lead back are zero."""

    def silence(arrays: dict[str, Array]) -> dict[str, Array]:
        shape = reference.spec.layers[0]
        back = {(shape.num_attention_heads * shape.head_dim, 160), (shape.intermediate_size, 160)}
        names = [name for name, array in arrays.items() if array.shape in back]
        down = next(n for n in names if arrays[n].shape[0] == shape.intermediate_size)
        output = [n for n in names if arrays[n].shape == (160, 160)][1]  # the first is q
        return {name: np.zeros_like(arrays[name]) for name in (down, output)}

    edit_weights(bundle, silence)
    assert integrity(bundle, reference).outcome == PASS
    assert {"prefill = torch", "prefill top-1"} <= failed(
        faithfulness(bundle, reference, sequences)
    )


def test_a_layer_missing_from_the_manifest(bundle: Path, reference: Checkpoint) -> None:
    reseal(bundle, layers=manifest_of(bundle).layers[1:])
    assert failed(integrity(bundle, reference)) == {"shapes"}


def test_one_corrupted_weight_block(
    bundle: Path, reference: Checkpoint, sequences: list[list[int]]
) -> None:
    """Sixteen by sixteen weights of one matrix of the model change their sign."""

    def corrupt(arrays: dict[str, Array]) -> dict[str, Array]:
        shape = (160, reference.spec.layers[0].intermediate_size)
        name = [name for name, array in arrays.items() if array.shape == shape][4]
        changed = arrays[name].copy()
        changed[32:48, 64:80] *= -1
        return {name: changed}

    edit_weights(bundle, corrupt)
    assert integrity(bundle, reference).outcome == PASS
    assert "prefill = torch" in failed(faithfulness(bundle, reference, sequences))


class _Wrapped:
    """An engine with something wrong between it and its caller."""

    def __init__(self, engine: Engine) -> None:
        self.inner = engine
        self.name, self.versions, self.load_ns = engine.name, engine.versions, engine.load_ns
        self.vocab_size, self.context_length = engine.vocab_size, engine.context_length

    @property
    def position(self) -> int:
        return self.inner.position

    def prefill(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        return self.inner.prefill(token_ids)

    def prefill_last(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        return self.inner.prefill_last(token_ids)

    def step(self, token_id: int) -> NDArray[np.float32]:
        return self.inner.step(token_id)

    def rewind(self, position: int) -> None:
        self.inner.rewind(position)

    def reset(self) -> None:
        self.inner.reset()


class _OffByOne(_Wrapped):
    """The first step after a prefill is written to the position before the one it belongs to."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._behind = False

    @property
    def position(self) -> int:
        return self.inner.position + self._behind

    def prefill(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        rows = self.inner.prefill(token_ids)
        if len(token_ids) > 1:
            self.inner.rewind(self.inner.position - 1)
            self._behind = True
        return rows

    def reset(self) -> None:
        self._behind = False
        super().reset()


class _Stale(_Wrapped):
    """`reset` leaves one token of the last sequence in the cache."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._left = 0

    @property
    def position(self) -> int:
        return self.inner.position - self._left

    def reset(self) -> None:
        self._left = min(self.inner.position, 1)
        self.inner.rewind(self._left)


def test_an_off_by_one_position_after_prefill(
    bundle: Path, reference: Checkpoint, sequences: list[list[int]]
) -> None:
    gate = faithfulness(bundle, reference, sequences, _OffByOne)
    assert "decode after prefill = torch" in failed(gate)
    assert not {"prefill = torch", "decode = torch"} & failed(gate)


def test_a_stale_kv_cache(bundle: Path, reference: Checkpoint, sequences: list[list[int]]) -> None:
    fitting = [ids[:100] for ids in sequences]
    gate = faithfulness(bundle, reference, fitting, _Stale)
    assert {"decode = torch", "prefill = decode"} <= failed(gate)


def test_int4_with_a_wrong_zero_point(
    embedded_bundle: Callable[[str, str], Path],
    reference: Checkpoint,
    sequences: list[list[int]],
    tmp_path: Path,
) -> None:
    int4_bundle = embedded_bundle("onnx", "int4")
    assert faithfulness(int4_bundle, reference, sequences).outcome == PASS
    bundle = Path(shutil.copytree(int4_bundle, tmp_path / "bundle"))

    def shift(arrays: dict[str, Array]) -> dict[str, Array]:
        """Every group's zero point is one code off."""
        names = [name for name in arrays if name.endswith(".zero_points")]
        return {name: arrays[name] ^ 0x11 for name in names}

    edit_weights(bundle, shift)
    assert integrity(bundle, reference).outcome == PASS
    assert "prefill = torch" in failed(faithfulness(bundle, reference, sequences))


def test_a_missing_end_of_text(bundle: Path, reference: Checkpoint) -> None:
    reseal(bundle, eos_token_ids=[])
    assert {"special ids", "end of text"} == failed(integrity(bundle, reference))


def test_a_missing_end_of_text_is_no_better_where_the_reference_lacks_it_too(
    bundle: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(MODEL_DIR, tmp_path / "model"))
    for name in ("config.json", "generation_config.json"):
        values = json.loads((model / name).read_text(encoding="utf-8"))
        values["eos_token_id"] = None
        (model / name).write_text(json.dumps(values), encoding="utf-8")
    found = open_checkpoint(model)
    provenance = manifest_of(bundle).provenance
    reseal(
        bundle,
        eos_token_ids=[],
        provenance=dataclasses.replace(provenance, dense=found.identity),
    )
    assert failed(integrity(bundle, found)) == {"end of text"}


def test_a_chat_template_altered_by_one_space(tmp_path: Path, bundle: Path) -> None:
    model = Path(shutil.copytree(MODEL_DIR, tmp_path / "model"))
    (model / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    reference = open_checkpoint(model)
    (bundle / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    same = integrity(bundle, reference)
    assert same.outcome == PASS
    assert "chat turns" in {finding.name for finding in same.findings}
    altered = TEMPLATE.replace(": {{", ":  {{")
    (bundle / "chat_template.jinja").write_text(altered, encoding="utf-8")
    assert failed(integrity(bundle, reference)) == {"chat template", "chat turns"}


def test_every_row_of_the_table_has_a_test_here() -> None:
    page = Path(__file__).parents[2] / "docs" / "gates.md"
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if "`test_" in line]
    named = {line.rpartition("`test_")[2].partition("`")[0] for line in rows}
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert len(rows) >= 10
    assert named <= tests
