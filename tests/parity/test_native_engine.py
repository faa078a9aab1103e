"""The native runner against the Python bindings, on the same .pte files."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import ExportEmbedded, MakeBundle

from runtime_py import native
from runtime_py.bundle import open_bundle
from runtime_py.check import check
from runtime_py.engines import Engine, open_engine
from runtime_py.engines.executorch import ExecutorchEngine
from runtime_py.engines.native import NativeEngine
from runtime_py.errors import BadRequestError, BrokenBundleError, ParedownError
from runtime_py.generate import generate
from runtime_py.schema import Manifest, Protocol, dumps

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
MEASURE = ["measure", "--model", "MODEL", "--prompt-ids", "IDS"]
IDS = [5, 17, 3, 64, 90, 7, 7, 100, 2, 31]


@pytest.fixture(scope="module")
def bundle(tiny_bundle: MakeBundle) -> Path:
    """Two layers, widths and key/value heads differing between them."""
    return tiny_bundle("llama", "executorch", per_layer=True)


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> Manifest:
    return open_bundle(bundle)


@pytest.fixture(scope="module")
def engine(bundle: Path, manifest: Manifest, native_runner: Path) -> NativeEngine:
    return NativeEngine(bundle, manifest, 1, str(native_runner / "paredown-runner"))


@pytest.fixture(scope="module")
def bindings(bundle: Path, manifest: Manifest) -> ExecutorchEngine:
    return ExecutorchEngine(bundle, manifest, 1)


@pytest.fixture(autouse=True)
def _empty(engine: Engine) -> None:
    if not _is_closed(engine):
        engine.reset()


def _is_closed(engine: Engine) -> bool:
    return isinstance(engine, NativeEngine) and engine._child.poll() is not None


def test_facts(engine: NativeEngine, bindings: ExecutorchEngine) -> None:
    assert engine.name == "executorch-native"
    assert engine.versions["executorch"] == bindings.versions["executorch"]
    assert engine.load_ns > 0


def test_logits_equal_the_bindings(engine: NativeEngine, bindings: ExecutorchEngine) -> None:
    bindings.reset()
    whole = engine.prefill(IDS)
    assert whole.shape == (len(IDS), engine.vocab_size)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, bindings.prefill(IDS), atol=TOLERANCE)
    for token in (9, 11, 100):
        np.testing.assert_allclose(engine.step(token), bindings.step(token), atol=TOLERANCE)
    assert engine.position == bindings.position == len(IDS) + 3


def test_last_row_alone(engine: NativeEngine) -> None:
    whole = engine.prefill(IDS)
    engine.reset()
    np.testing.assert_array_equal(engine.prefill_last(IDS), whole[-1])


def test_the_whole_context_however_it_is_split(engine: NativeEngine, manifest: Manifest) -> None:
    ids = [(7 * i * i + 3 * i) % engine.vocab_size for i in range(manifest.context_length)]
    whole = engine.prefill(ids)
    engine.reset()
    split = [engine.prefill(ids[:13]), engine.prefill(ids[13:40]), engine.prefill(ids[40:])]
    np.testing.assert_allclose(np.concatenate(split), whole, atol=TOLERANCE)
    with pytest.raises(BadRequestError, match="do not fit the context"):
        engine.step(1)


@pytest.mark.parametrize("most", [1, 3, 7])
def test_long_prompts_run_in_chunks(
    bundle: Path, manifest: Manifest, engine: NativeEngine, most: int
) -> None:
    narrow = dataclasses.replace(manifest, max_prefill_tokens=most)
    chunked = NativeEngine(bundle, narrow, 2, engine._runner)
    np.testing.assert_allclose(chunked.prefill(IDS), engine.prefill(IDS), atol=TOLERANCE)
    chunked.close()


def test_reset_forgets(engine: NativeEngine) -> None:
    first = engine.prefill(IDS)
    engine.reset()
    assert engine.position == 0
    np.testing.assert_array_equal(engine.prefill(IDS), first)


def test_rewinding_keeps_the_start(engine: NativeEngine) -> None:
    first = engine.prefill(IDS)
    engine.rewind(2)
    assert engine.position == 2
    np.testing.assert_allclose(engine.prefill(IDS[2:]), first[2:], atol=1e-4)
    with pytest.raises(ParedownError, match="not within"):
        engine.rewind(len(IDS) + 1)
    assert engine.position == len(IDS)


def test_refusals_leave_the_engine_usable(engine: NativeEngine) -> None:
    first = engine.prefill(IDS)
    for tokens, words in (([], "no tokens"), ([-1], "vocabulary"), ([10**6], "vocabulary")):
        with pytest.raises(BadRequestError, match=words):
            engine.prefill(tokens)
    engine.reset()
    np.testing.assert_array_equal(engine.prefill(IDS), first)


def test_an_unknown_request_is_answered(engine: NativeEngine) -> None:
    for line, words in (("turn", "unknown request 'turn'"), ("append 1 x", "list of integers")):
        engine._send(line)
        with pytest.raises(ParedownError, match=words):
            engine._answer()
    engine._send("append 999999")  # past Python's own check
    with pytest.raises(ParedownError, match="vocabulary"):
        engine._answer()
    assert engine.prefill([1]).shape == (1, engine.vocab_size)


def test_golden_cases_pass_in_both_languages(
    bundle: Path, manifest: Manifest, engine: NativeEngine
) -> None:
    ours = check(engine, manifest)
    done = _run(native.check_command(engine._runner, str(bundle)))
    theirs = native.check_report(done.stdout)
    assert done.returncode == 0
    assert theirs.passed and ours.passed
    assert dumps(theirs) == dumps(ours)


def test_the_embedded_model_says_the_same(
    embedded_bundle: ExportEmbedded, native_runner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = embedded_bundle("executorch")
    manifest = open_bundle(path)
    prompt = manifest.golden_cases[4].prompt_ids
    monkeypatch.setenv("PAREDOWN_RUNNER", str(native_runner))
    runner, bindings = open_engine(path, manifest), open_engine(path, manifest, runtime="python")
    assert (runner.name, bindings.name) == ("executorch-native", "executorch")
    assert list(generate(runner, prompt, 30)) == list(generate(bindings, prompt, 30))


def test_a_golden_case_that_does_not_hold(
    bundle: Path, manifest: Manifest, engine: NativeEngine, tmp_path: Path
) -> None:
    case = manifest.golden_cases[2]
    wrong = [(token + 1) % manifest.vocab_size for token in case.continuation_ids]
    broken = dataclasses.replace(case, continuation_ids=wrong)
    copied = _copy(bundle, tmp_path / "b")
    (copied / "manifest.json").write_text(
        dumps(dataclasses.replace(manifest, golden_cases=[case, broken]))
    )
    done = _run(native.check_command(engine._runner, str(copied)))
    assert done.returncode == 1
    assert [result.passed for result in native.check_report(done.stdout).cases] == [True, False]


def test_a_damaged_bundle_is_named(bundle: Path, engine: NativeEngine, tmp_path: Path) -> None:
    copied = _copy(bundle, tmp_path / "b")
    content = bytearray((copied / "model.pte").read_bytes())
    content[len(content) // 2] ^= 1
    (copied / "model.pte").write_bytes(content)
    command = native.check_command(engine._runner, str(copied))
    done = _run(command)
    assert done.returncode == 2
    assert "model.pte was edited or damaged" in done.stderr
    (copied / "model.pte").write_bytes(content[:-7])
    done = _run(command)
    assert done.returncode == 2
    assert "bytes, the manifest says" in done.stderr


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9])
def test_a_truncated_model(
    bundle: Path, manifest: Manifest, engine: NativeEngine, tmp_path: Path, share: float
) -> None:
    content = (bundle / "model.pte").read_bytes()
    (tmp_path / "model.pte").write_bytes(content[: int(share * len(content))])
    with pytest.raises(BrokenBundleError, match=r"model\.pte") as caught:
        NativeEngine(tmp_path, manifest, 1, engine._runner)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_not_there(
    manifest: Manifest, engine: NativeEngine, tmp_path: Path
) -> None:
    with pytest.raises(BrokenBundleError, match="no such model file"):
        NativeEngine(tmp_path, manifest, 1, engine._runner)


def test_a_manifest_of_another_model(
    bundle: Path, manifest: Manifest, engine: NativeEngine
) -> None:
    other = dataclasses.replace(manifest, context_length=99)
    with pytest.raises(BrokenBundleError, match="context_length of 48, the manifest says 99"):
        NativeEngine(bundle, other, 1, engine._runner)


def test_a_killed_child_is_explained(
    bundle: Path, manifest: Manifest, engine: NativeEngine
) -> None:
    victim = NativeEngine(bundle, manifest, 1, engine._runner)
    os.kill(victim._child.pid, signal.SIGKILL)
    with pytest.raises(ParedownError, match=r"ended by SIGKILL.*out of memory"):
        victim.prefill(IDS)
    with pytest.raises(ParedownError, match="closed"):
        victim.prefill(IDS)


def test_closing_ends_the_child(bundle: Path, manifest: Manifest, engine: NativeEngine) -> None:
    closed = NativeEngine(bundle, manifest, 1, engine._runner)
    closed.close()
    assert closed._child.poll() is not None


def test_measure_keeps_its_contract(bundle: Path, engine: NativeEngine, tmp_path: Path) -> None:
    protocol = Protocol(prompt_tokens=8, generated_tokens=5, depth=4, repetitions=3, warmup=2)
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(" ".join(map(str, [*IDS[:8], 1, 2, 3, 4])))
    command = native.measure_command(
        engine._runner, str(bundle / "model.pte"), protocol, str(prompt), cores=[0]
    )
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    events = [json.loads(line) for line in out.splitlines()]
    tokens = [event for event in events if event["event"] == "token"]
    assert [(t["repetition"], t["index"]) for t in tokens] == [
        (i, k) for i in range(3) for k in range(6)
    ]
    engine.prefill([1, 2, 3, 4])
    row = engine.prefill_last(IDS[:8])
    for token in tokens[:6]:
        assert token["id"] == row.argmax()
        row = engine.step(token["id"])
    record = native.launch_record(out, {})
    assert len(record.samples) == 3
    for sample in record.samples:
        assert len(sample.token_ns) == 5
        assert 0 < sample.prefill_ns <= sample.ttft_ns
    steps = itertools.pairwise(t["ns"] for t in tokens[:6])
    assert record.samples[0].token_ns == [after - before for before, after in steps]
    starts = [sample.start_ns for sample in record.samples]
    assert starts[0] == 0 < starts[1] < starts[2]
    assert record.peak_rss_bytes and record.load_ns > 0
    assert record.pss_bytes is None
    assert record.device["cpu_affinity"].value == "0"
    assert record.engine_versions["executorch"] == engine.versions["executorch"]


@pytest.mark.parametrize(("phase", "samples"), [("cold", 0), ("memory", 1), ("sustained", None)])
def test_the_other_phases(
    bundle: Path, engine: NativeEngine, tmp_path: Path, phase: str, samples: int | None
) -> None:
    protocol = Protocol(prompt_tokens=8, generated_tokens=5, sustained_s=0.2, phase=phase)
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(" ".join(map(str, IDS[:8])))
    model = str(bundle / "model.pte")
    command = native.measure_command(engine._runner, model, protocol, str(prompt))
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    record = native.launch_record(out, {}, phase)
    assert record.phase == phase
    if samples is None:
        last = record.samples[-1]
        assert last.start_ns + last.prefill_ns + sum(last.token_ns) >= 0.15e9  # writing counts too
    else:
        assert len(record.samples) == samples
    assert ("page_cache_resident" in record.device) == (phase == "cold")
    memory = (record.pss_bytes, record.anon_bytes, record.file_bytes, record.base_rss_bytes)
    assert all(memory) if phase == "memory" else not any(memory)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["play"], "unknown command 'play'"),
        (["info", "--model"], "--model needs a value"),
        (["info", "--color", "red"], "unknown option '--color'"),
        (["check"], "--bundle is needed"),
        (["check", "--bundle", "/nowhere"], "cannot read /nowhere/manifest.json"),
        (["serve", "--model", "/nowhere.pte"], "no such model file: /nowhere.pte"),
        (["serve", "--model", "/"], "is not a file"),
        (["serve", "--model", "MODEL", "--threads", "0"], "at least 1"),
        (["serve", "--model", "MODEL", "--threads", "many"], "--threads is 'many'"),
        (["measure", "--model", "MODEL", "--generate", "2"], "--prompt-ids is needed"),
        (["measure", "--model", "MODEL", "--prompt-ids", "/nowhere"], "cannot read /nowhere"),
        (["measure", "--prompt-ids", "/dev/null", "--generate", "2"], "--model is needed"),
        (["measure", "--model", "MODEL", "--prompt-ids", "/dev/null"], "no prompt"),
        (["measure", "--model", "MODEL", "--prompt-ids", "WORDS"], "not a list of token ids"),
        (MEASURE, "--generate is needed"),
        (
            [*MEASURE, "--generate", "46"],
            "exceed the context of 48",
        ),
        (
            [*MEASURE, "--generate", "1", "--depth", "3"],
            "leaves no prompt",
        ),
        (
            [*MEASURE, "--generate", "1", "--cores", "5000"],
            "there is no core 5000",
        ),
    ],
)
def test_bad_requests_are_one_line(
    bundle: Path, engine: NativeEngine, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "ids").write_text("1 2 3")
    (tmp_path / "words").write_text("once upon")
    names = {"MODEL": bundle / "model.pte", "IDS": tmp_path / "ids", "WORDS": tmp_path / "words"}
    command = [engine._runner, *(str(names.get(word, word)) for word in arguments)]
    done = _run(command)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("paredown-runner: ")


def test_a_reader_that_goes_away_is_no_failure(engine: NativeEngine) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([engine._runner, "info"], stdout=writer, check=False)
    os.close(writer)
    assert done.returncode == 0


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _copy(bundle: Path, to: Path) -> Path:
    to.mkdir()
    for path in bundle.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to
