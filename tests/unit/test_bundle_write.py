"""What an exported bundle holds, and that it appears whole or not at all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ExportEmbedded, MakeBundle, MakeCheckpoint
from tiny_models import CONTEXT, save_tiny_checkpoint, tiny_tokenizer

from runtime_py.bundle import open_bundle
from runtime_py.schema import MANIFEST_NAME, Manifest, to_json
from toolchain.cli import main
from toolchain.describe import describe
from toolchain.errors import ParedownError
from toolchain.exporting import onnx
from toolchain.exporting.bundle import export_checkpoint
from toolchain.exporting.memory import engine_name, predict_bundle
from toolchain.exporting.wrapper import Decoder
from toolchain.exporting.written import Written
from toolchain.model.checkpoint import open_checkpoint
from toolchain.recipe import ExportSettings
from toolchain.store import CHECKPOINT_RECORD, is_ours, sha256_file

ONNX = ExportSettings(backend="onnx", context=CONTEXT)


@pytest.fixture
def bundle(tiny_bundle: MakeBundle) -> Path:
    return tiny_bundle("llama", "onnx", per_layer=True)


@pytest.fixture
def manifest(bundle: Path) -> Manifest:
    return open_bundle(bundle)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_tiny_checkpoint(tmp_path / "model", "llama")


def test_the_manifest_says_what_is_there(bundle: Path, manifest: Manifest) -> None:
    entries = {entry.path: entry for entry in manifest.files}
    files = {path.name for path in bundle.iterdir()}
    assert files == {*entries, MANIFEST_NAME}
    assert {"model.onnx", "model.onnx.data", "tokenizer.json", "generation_config.json"} <= files
    for name, entry in entries.items():
        assert entry.bytes == (bundle / name).stat().st_size
        assert entry.sha256 == sha256_file(bundle / name)
    assert is_ours(bundle)


def test_the_manifest_says_what_was_exported(
    manifest: Manifest, tiny_checkpoint: MakeCheckpoint
) -> None:
    source = open_checkpoint(tiny_checkpoint("llama", per_layer=True))
    assert manifest.layers == list(source.spec.layers)
    assert len(set(manifest.layers)) == 2
    assert (manifest.vocab_size, manifest.hidden_size) == (128, 32)
    assert manifest.context_length == CONTEXT
    assert (manifest.bos_token_id, manifest.eos_token_ids) == (0, [1])
    assert manifest.parameters == source.spec.parameters
    assert int(manifest.backend_versions["opset"]) >= 20
    assert manifest.backend_versions["onnxruntime"]


def test_a_dense_checkpoint_is_its_own_origin(
    bundle: Path, manifest: Manifest, tiny_checkpoint: MakeCheckpoint
) -> None:
    path = tiny_checkpoint("llama", per_layer=True)
    assert manifest.provenance.checkpoint == open_checkpoint(path).identity
    assert manifest.provenance.dense == manifest.provenance.checkpoint
    assert manifest.provenance.pruning == {}
    assert (bundle / manifest.provenance.checkpoint_path).resolve() == path.resolve()


def test_a_pruned_checkpoint_names_its_dense_origin(
    checkpoint: Path, tmp_path: Path, tiny_checkpoint: MakeCheckpoint
) -> None:
    dense = open_checkpoint(tiny_checkpoint("qwen2")).identity
    record = {"schema": "paredown.checkpoint/1", "dense": to_json(dense), "ratio": 0.2}
    (checkpoint / CHECKPOINT_RECORD).write_text(json.dumps(record))
    provenance = export_checkpoint(open_checkpoint(checkpoint), ONNX, tmp_path / "b").provenance
    assert provenance.dense == dense
    assert provenance.checkpoint != dense
    assert provenance.pruning == record


def test_golden_cases_span_the_context(manifest: Manifest) -> None:
    lengths = [len(case.prompt_ids) for case in manifest.golden_cases]
    assert len(lengths) >= 8
    assert lengths[0] == 1
    assert lengths == sorted(lengths)
    assert all(len(case.continuation_ids) >= 16 for case in manifest.golden_cases)
    longest = manifest.golden_cases[-1]
    assert len(longest.prompt_ids) + len(longest.continuation_ids) == CONTEXT


def test_golden_cases_are_the_torch_models(
    manifest: Manifest, tiny_checkpoint: MakeCheckpoint
) -> None:
    model = open_checkpoint(tiny_checkpoint("llama", per_layer=True)).load()
    for case in manifest.golden_cases:
        ids = torch.tensor([case.prompt_ids + case.continuation_ids])
        with torch.no_grad():
            rows = model(input_ids=ids).logits[0, len(case.prompt_ids) - 1 : -1]
        assert rows.argmax(-1).tolist() == case.continuation_ids
        two = rows.topk(2).values
        assert case.min_margin == pytest.approx(float((two[:, 0] - two[:, 1]).min()), abs=1e-4)
        logits = [top.logit for top in case.top_logits]
        assert logits == pytest.approx(rows[0].topk(8).values.tolist(), abs=1e-4)
        assert [top.token_id for top in case.top_logits] == rows[0].topk(8).indices.tolist()


@pytest.mark.parametrize("context", [2, 3])
def test_the_smallest_contexts(checkpoint: Path, tmp_path: Path, context: int) -> None:
    settings = ExportSettings(backend="onnx", context=context)
    manifest = export_checkpoint(open_checkpoint(checkpoint), settings, tmp_path / "bundle")
    assert all(
        len(case.prompt_ids) + len(case.continuation_ids) <= context
        for case in manifest.golden_cases
    )


def test_chat_template_and_tokenizer_travel(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "chat_template.jinja").write_text("{{ messages[0].content }}")
    out = tmp_path / "bundle"
    export_checkpoint(open_checkpoint(checkpoint), ONNX, out)
    for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (checkpoint / name).read_bytes()


def test_a_tokenizer_of_older_files_becomes_tokenizer_json(
    checkpoint: Path, tmp_path: Path
) -> None:
    tiny_tokenizer().backend_tokenizer.model.save(str(checkpoint))  # vocab.json, merges.txt
    (checkpoint / "tokenizer.json").unlink()
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    config = {"tokenizer_class": "GPT2Tokenizer", **names}
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(config))
    source = open_checkpoint(checkpoint)
    out = tmp_path / "bundle"
    export_checkpoint(source, ONNX, out)
    from tokenizers import Tokenizer

    text = "the dog"
    carried = Tokenizer.from_file(str(out / "tokenizer.json")).encode(text).ids
    assert carried == source.tokenizer()(text)["input_ids"]


@pytest.mark.parametrize("backend", ["onnx", pytest.param("executorch", marks=pytest.mark.slow)])
def test_memory_predicted_from_shapes_is_that_of_the_bundle(
    embedded_bundle: ExportEmbedded, backend: str
) -> None:
    manifest = open_bundle(embedded_bundle(backend))
    context = manifest.context_length
    engine = engine_name(manifest, "native", remote=False)
    exact = predict_bundle(manifest, engine, context, context)
    from_shapes = manifest.predicted_memory.total_bytes
    assert from_shapes == pytest.approx(exact.total_bytes - exact.runtime_bytes, rel=0.15)


def test_an_older_bundle_is_replaced(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    source = open_checkpoint(checkpoint)
    export_checkpoint(source, ONNX, out)
    shorter = ExportSettings(backend="onnx", context=16)
    assert export_checkpoint(source, shorter, out) == open_bundle(out)
    assert open_bundle(out).context_length == 16
    assert {path.name for path in tmp_path.iterdir()} == {"model", "bundle"}


def test_an_artifact_that_differs_is_written_and_not_called_good(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "bundle"
    write = onnx.write

    def write_damaged(decoder: Decoder, *rest: Any) -> Written:
        decoder.get_parameter("norm.weight")[0] += 0.05
        return write(decoder, *rest)

    monkeypatch.setattr(onnx, "write", write_damaged)
    command = ["export", str(checkpoint), "--out", str(out), "--context", str(CONTEXT)]
    assert main([*command, "--backend", "onnx"]) == 1
    talk = capsys.readouterr()
    assert talk.out == ""
    line = talk.err.splitlines()[-1]
    assert f"{out} is written, and its model does not compute what torch does" in line
    assert "on the prompt of 1 tokens, 0, logits differ by" in line
    (record,) = open_bundle(out).parity
    assert record.passed is False
    assert record.max_abs > 1e-3
    assert "FAILED" in describe(out)[1]
    assert {path.name for path in tmp_path.iterdir()} == {"model", "bundle"}


def test_the_manifest_says_how_faithful_the_artifact_is(manifest: Manifest) -> None:
    (record,) = manifest.parity
    assert (record.reference, record.candidate, record.output) == ("float", "artifact", "logits")
    assert record.passed is True
    assert 0 < record.max_abs < 1e-3
    assert record.top1 == 1.0
    assert (record.kl_nats or 0) < 1e-6
    assert record.positions > 2 * CONTEXT
    assert (manifest.kind, manifest.target, manifest.group_size) == ("decoder", "desktop", 0)
    assert manifest.kv_cache in ("shared", "functional")


def test_an_artifact_that_cannot_run_is_never_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bundle"
    good = export_checkpoint(open_checkpoint(checkpoint), ONNX, out)
    write = onnx.write

    def write_nothing(decoder: Decoder, folder: Path, *rest: Any) -> Written:
        written = write(decoder, folder, *rest)
        (folder / written.model_file).write_bytes(b"")
        return written

    monkeypatch.setattr(onnx, "write", write_nothing)
    with pytest.raises(ParedownError, match="cannot load"):
        export_checkpoint(open_checkpoint(checkpoint), ONNX, out)
    assert open_bundle(out) == good
    assert {path.name for path in tmp_path.iterdir()} == {"model", "bundle"}


EXPORT = """\
import sys
from pathlib import Path
from toolchain.exporting.bundle import export_checkpoint
from toolchain.model.checkpoint import open_checkpoint
from toolchain.recipe import ExportSettings
export_checkpoint(open_checkpoint(sys.argv[1]), ExportSettings(context=16), Path(sys.argv[2]))
"""


def start_export(checkpoint: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", EXPORT, str(checkpoint), str(out)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_exports_leave_no_bundle_and_the_next_succeeds(
    checkpoint: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "bundle"
    work = tmp_path / ".bundle.partial"
    process = start_export(checkpoint, out)
    while not (work / "tokenizer.json").exists():  # the work has begun
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate()
    assert process.returncode != 0
    assert not out.exists()
    assert work.exists() == (number == signal.SIGKILL)
    again = start_export(checkpoint, out)
    talk, _ = again.communicate()
    assert again.returncode == 0
    assert talk == b""  # standard output belongs to the command's result
    assert open_bundle(out).context_length == 16
    assert not work.exists()
