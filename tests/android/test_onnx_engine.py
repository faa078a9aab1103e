"""The real ONNX Runtime Java API on a JVM: real bundles, to their golden continuations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from handmade_bundle import write_bundle, write_manifest
from jvm import Jvm, check_spec, measure_spec
from onnx import TensorProto, helper

from runtime_py.bundle import open_bundle
from runtime_py.check import check_bundle
from runtime_py.schema import CheckReport, LaunchRecord, Protocol, from_json

pytest_plugins = ("android_fixtures",)

LAST_BITS = 1e-4
"""Both languages call the same library, but not with the same number of rows of logits."""

MakeEmbedded = Callable[..., Path]


@pytest.fixture(scope="module")
def pruned_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model with fewer layers and narrower ones, exported with plain operators."""
    from toolchain.embedded import MODEL_DIR
    from toolchain.exporting.bundle import export_checkpoint
    from toolchain.model.checkpoint import open_checkpoint
    from toolchain.pruning.run import prune_checkpoint
    from toolchain.recipe import ExportSettings, PruneSettings

    folder = tmp_path_factory.mktemp("pruned")
    text = folder / "text.txt"
    text.write_text("Once upon a time there was a small fox.\n\n" * 200)
    settings = PruneSettings(
        ratio=0.3,
        layers=1,
        layout="uniform",
        allocation="uniform",
        importance="magnitude",
        recovery="none",
        joint_masks=False,
        drafts=1,
        samples=4,
        seq_len=16,
        calibration=str(text),
        device="cpu",
    )
    prune_checkpoint(open_checkpoint(MODEL_DIR), settings, folder / "model")
    export = ExportSettings(backend="onnx", quant="none", context=128, target="any")
    export_checkpoint(open_checkpoint(folder / "model"), export, folder / "bundle")
    return folder / "bundle"


def checked(jvm: Jvm, bundle: Path, folder: Path) -> CheckReport:
    """Golden cases through Java, held against the same ones through Python."""
    code, answer, _ = jvm.headless(check_spec(bundle), folder)
    report = from_json(CheckReport, answer)
    reference = check_bundle(bundle, open_bundle(bundle), threads=1)
    assert code == (0 if reference.passed else 1)
    assert report.engine == f"{reference.engine}-java"
    for ours, theirs in zip(report.cases, reference.cases, strict=True):
        apart = abs(ours.max_abs_logit_difference - theirs.max_abs_logit_difference)
        assert apart < LAST_BITS, ours.name
        assert (ours.name, ours.passed) == (theirs.name, theirs.passed)
        assert ours.matching_tokens == theirs.matching_tokens
    return report


def all_tokens(report: CheckReport) -> bool:
    """Whether every case reached the end of its golden continuation."""
    return all(case.matching_tokens == case.expected_tokens > 0 for case in report.cases)


def with_calls_of(bundle: Path, tokens: int, out: Path) -> Path:
    """A copy of a bundle whose prompts run in calls of so many tokens."""
    shutil.copytree(bundle, out)
    content = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(content | {"max_prefill_tokens": tokens}))
    return out


def test_the_dense_model_with_a_shared_cache(
    jvm: Jvm, embedded_bundle: MakeEmbedded, tmp_path: Path
) -> None:
    bundle = embedded_bundle("onnx")
    assert open_bundle(bundle).kv_cache == "shared"
    report = checked(jvm, bundle, tmp_path)
    assert report.passed
    assert all_tokens(report)


def test_the_pruned_model_with_a_functional_cache(
    jvm: Jvm, pruned_bundle: Path, tmp_path: Path
) -> None:
    manifest = open_bundle(pruned_bundle)
    assert manifest.kv_cache == "functional"
    assert manifest.parameters < manifest.provenance.dense.parameters
    report = checked(jvm, pruned_bundle, tmp_path)
    assert report.passed
    assert all_tokens(report)


def test_rounded_weights(jvm: Jvm, embedded_bundle: MakeEmbedded, tmp_path: Path) -> None:
    report = checked(jvm, embedded_bundle("onnx", "int4"), tmp_path)
    assert report.passed


@pytest.mark.parametrize("form", ["shared", "functional"])
def test_prompts_in_several_calls(
    jvm: Jvm, embedded_bundle: MakeEmbedded, pruned_bundle: Path, tmp_path: Path, form: str
) -> None:
    bundle = embedded_bundle("onnx") if form == "shared" else pruned_bundle
    split = with_calls_of(bundle, 7, tmp_path / "bundle")
    assert max(len(case.prompt_ids) for case in open_bundle(split).golden_cases) > 14
    report = checked(jvm, split, tmp_path)
    assert report.passed
    assert all_tokens(report)


def test_layers_of_different_heads_and_no_choice_of_logits(jvm: Jvm, tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    assert all_tokens(checked(jvm, tmp_path / "bundle", tmp_path))
    split = with_calls_of(tmp_path / "bundle", 2, tmp_path / "split")
    assert all_tokens(checked(jvm, split, tmp_path / "again"))


def test_logits_of_the_last_token_alone_are_computed(jvm: Jvm, tmp_path: Path) -> None:
    """A model whose logits are multiplied by the number of positions that are asked for."""
    path = tmp_path / "bundle"
    write_bundle(path)
    model = onnx.load(path / "model.onnx")
    graph = model.graph
    graph.node[-1].output[0] = "all_logits"
    graph.node.append(helper.make_node("Cast", ["logits_to_keep"], ["k"], to=TensorProto.FLOAT))
    graph.node.append(helper.make_node("Mul", ["all_logits", "k"], ["logits"]))
    graph.initializer.append(helper.make_tensor("logits_to_keep", TensorProto.INT64, [1], [0]))
    graph.input.append(helper.make_tensor_value_info("logits_to_keep", TensorProto.INT64, [1]))
    onnx.save(model, path / "model.onnx")
    write_manifest(path)
    code, answer, _ = jvm.headless(check_spec(path), tmp_path)
    assert code == 0
    assert all_tokens(from_json(CheckReport, answer))


def test_a_manifest_of_another_model_is_refused(jvm: Jvm, tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    manifest = write_bundle(path)
    content = json.loads((path / "manifest.json").read_text())
    content["layers"].append(content["layers"][0])
    (path / "manifest.json").write_text(json.dumps(content))
    code, answer, _ = jvm.headless(check_spec(path), tmp_path)
    assert manifest.layers
    assert code == 2
    missing = f"past_key_values.{len(manifest.layers)}.key"
    assert answer["what"] == f"{path / 'model.onnx'} has no input or output '{missing}'"


def test_a_launch_of_the_dense_model(
    jvm: Jvm, embedded_bundle: MakeEmbedded, tmp_path: Path
) -> None:
    protocol = Protocol(prompt_tokens=64, generated_tokens=16, depth=32, repetitions=2)
    _, answer, _ = jvm.headless(measure_spec(embedded_bundle("onnx"), protocol), tmp_path)
    record = from_json(LaunchRecord, answer)
    assert [len(sample.token_ns) for sample in record.samples] == [16, 16]


def test_without_libraries_for_this_processor_it_says_so(jvm: Jvm, tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    (tmp_path / "tools" / "onnxruntime").mkdir(parents=True)
    jar = Path("onnxruntime", "onnxruntime.jar")
    (tmp_path / "tools" / jar).symlink_to(jvm.tools / jar)
    bare = Jvm(jvm.classes, tmp_path / "tools")
    code, answer, _ = bare.headless(check_spec(tmp_path / "bundle"), tmp_path)
    assert (code, answer["exit_code"]) == (3, 3)
    assert answer["what"].startswith("ONNX Runtime's libraries are not in this build")
