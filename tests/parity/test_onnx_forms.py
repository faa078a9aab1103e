"""The ONNX forms on their own engine: shared and growing cache, and every quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeCheckpoint
from handmade_bundle import write_manifest
from tiny_models import CONTEXT, VOCAB_SIZE, save_tiny_checkpoint
from torch import Tensor

from runtime_py.engines.onnx import OnnxEngine
from toolchain.exporting import onnx
from toolchain.exporting.wrapper import Decoder
from toolchain.exporting.written import Written
from toolchain.model.checkpoint import open_checkpoint
from toolchain.model.families import FAMILIES
from toolchain.recipe import ExportSettings

CHUNK = 7
"""Less than the tests' prompts, so that they are fed in chunks."""

TOLERANCE = 1e-4


@dataclass
class Exported:
    """A written model on its engine, and what torch says of the same tokens."""

    engine: OnnxEngine
    written: Written
    folder: Path
    ids: list[int]
    expected: Tensor
    original: Tensor
    """Of the checkpoint as it is."""


@torch.no_grad()
def export(checkpoint: Path, folder: Path, chunk: int = CHUNK, **settings: Any) -> Exported:
    wanted = ExportSettings(context=CONTEXT, **settings)
    source = open_checkpoint(checkpoint)
    onnx.check(source.spec, wanted)
    model = source.load()
    tokens = torch.randint(VOCAB_SIZE, (1, CONTEXT), generator=torch.Generator().manual_seed(3))
    original = model(input_ids=tokens).logits[0]
    onnx.prepare_(model, source.spec, wanted)
    expected = model(input_ids=tokens).logits[0]
    folder.mkdir(exist_ok=True)
    written = onnx.write(
        Decoder(model, source.spec, CONTEXT), folder, wanted, *source.special_ids()
    )
    manifest = write_manifest(
        folder,
        vocab_size=VOCAB_SIZE,
        layers=list(source.spec.layers),
        kv_cache=written.kv_cache,
        max_prefill_tokens=chunk,
        context_length=CONTEXT,
    )
    engine = OnnxEngine(folder, manifest, 1)
    return Exported(engine, written, folder, tokens[0].tolist(), expected, original)


def fed(engine: OnnxEngine, ids: Sequence[int], first: int, steps: int) -> Tensor:
    """Logits of a prefill, single steps, and a second prefill of the rest."""
    rows = [engine.prefill(ids[:first])]
    rows += [engine.step(token)[None] for token in ids[first : first + steps]]
    rows.append(engine.prefill(ids[first + steps :]))
    assert engine.position == len(ids)
    return torch.from_numpy(np.concatenate(rows))


def assert_equal(case: Exported) -> None:
    """However the tokens are fed, on a used cache too, logits are torch's."""
    assert case.expected.std() > 0.3  # else any two models agree
    for first, steps in ((20, 10), (1, 4), (CONTEXT - 1, 0)):
        case.engine.reset()
        assert (fed(case.engine, case.ids, first, steps) - case.expected).abs().max() <= TOLERANCE
    case.engine.reset()
    last = torch.from_numpy(case.engine.prefill_last(case.ids[:-5]))
    assert (last - case.expected[-6]).abs().max() <= TOLERANCE


@pytest.mark.parametrize("family", sorted(n for n, f in FAMILIES.items() if f.causal))
def test_shared_cache_of_every_family(
    tiny_checkpoint: MakeCheckpoint, tmp_path: Path, family: str
) -> None:
    case = export(tiny_checkpoint(family, per_layer=True), tmp_path / "model")
    assert case.written.kv_cache == "shared"
    assert_equal(case)


@pytest.mark.parametrize("changes", [{}, {"head_dim": 16}], ids=["outside", "inside"])
def test_rotation_inside_of_the_attention_operator_and_outside(
    tmp_path: Path, changes: dict[str, int]
) -> None:
    checkpoint = save_tiny_checkpoint(tmp_path / "model", "llama", **changes)
    case = export(checkpoint, tmp_path / "out")
    assert operators(case.folder).count("RotaryEmbedding") == (0 if changes else 4)
    assert_equal(case)


def test_head_widths_that_the_attention_operator_refuses_get_the_plain_form(
    tmp_path: Path,
) -> None:
    case = export(save_tiny_checkpoint(tmp_path / "model", "mistral", head_dim=12), tmp_path / "o")
    assert case.written.kv_cache == "functional"
    assert "GroupQueryAttention" not in operators(case.folder)
    assert not (case.folder / "genai_config.json").exists()
    assert_equal(case)


@pytest.mark.parametrize("quant", ["none", "fp16", "int8"])
def test_target_any_uses_standard_operators_alone(
    tiny_checkpoint: MakeCheckpoint, tmp_path: Path, quant: str
) -> None:
    checkpoint = tiny_checkpoint("llama", per_layer=True)
    case = export(checkpoint, tmp_path / "m", chunk=CONTEXT, target="any", quant=quant)
    assert case.written.kv_cache == "functional"
    assert {opset.domain for opset in model_proto(case.folder).opset_import} <= {"", "ai.onnx.ml"}
    if quant == "int8":  # where a sum's last bit decides, a code is another one
        rows = torch.from_numpy(case.engine.prefill(case.ids))
        assert sqnr_db(rows, case.expected) > 30
    else:
        assert_equal(case)


INT4_TABLE = {"quant": "int4", "group_size": 64, "embedding_bits": 4}


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {"quant": "fp16"}),
        ("llama", {"quant": "int8"}),
        ("llama", {"quant": "int8", "embedding_bits": 8}),
        ("llama", {"quant": "int4"}),
        ("llama", INT4_TABLE),
        ("gpt2", {"quant": "fp16"}),
        ("gpt2", {"quant": "int4"}),
    ],
    ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values())),
)
def test_quantised_artifacts_compute_what_the_prepared_model_does(
    tiny_checkpoint: MakeCheckpoint, tmp_path: Path, family: str, settings: dict[str, Any]
) -> None:
    """Widths 40 and 24 fill no group. Where a sum's last bit decides, a code is another one."""
    checkpoint = tiny_checkpoint(family, per_layer=True)
    case = export(checkpoint, tmp_path / "m", chunk=CONTEXT, **settings)
    rows = torch.from_numpy(case.engine.prefill(case.ids))
    damage = sqnr_db(case.expected, case.original)
    assert sqnr_db(rows, case.expected) > max(30, damage + 6)
    assert damage > (50 if settings["quant"] == "fp16" else 3)
    case.engine.reset()
    steps = torch.from_numpy(np.stack([case.engine.step(token) for token in case.ids]))
    assert sqnr_db(steps, case.expected) > max(30, damage + 6)


@pytest.mark.parametrize(
    "settings", [{}, {"quant": "int4"}, {"quant": "int8", "embedding_bits": 8}]
)
def test_a_tied_table_is_stored_once(tmp_path: Path, settings: dict[str, Any]) -> None:
    wide = {"vocab_size": 512, "hidden_size": 64}
    sizes = []
    for tied in (True, False):
        name = f"model-{tied}"
        path = save_tiny_checkpoint(tmp_path / name, "llama", tie_word_embeddings=tied, **wide)
        source = open_checkpoint(path)
        wanted = ExportSettings(context=CONTEXT, **settings)
        model = source.load()
        onnx.prepare_(model, source.spec, wanted)
        out = tmp_path / f"out-{tied}"
        out.mkdir()
        onnx.write(Decoder(model, source.spec, CONTEXT), out, wanted, *source.special_ids())
        sizes.append((out / "model.onnx.data").stat().st_size)
    bits = {"int4": 4, "int8": 8}.get(settings.get("quant", "none"), 32)
    assert sizes[1] - sizes[0] >= 512 * 64 * bits // 8 * 0.9


def test_the_graph_names_no_file_of_this_machine(
    tiny_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    case = export(tiny_checkpoint("llama"), tmp_path / "m")
    assert b".py" not in (case.folder / "model.onnx").read_bytes()


def test_large_weights_start_at_a_page_of_the_external_data(
    tiny_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    case = export(tiny_checkpoint("llama"), tmp_path / "m")
    offsets = [
        int(next(e.value for e in tensor.external_data if e.key == "offset"))
        for tensor in model_proto(case.folder).graph.initializer
        if next((int(e.value) for e in tensor.external_data if e.key == "length"), 0) > 4096
    ]
    assert offsets
    assert all(offset % 4096 == 0 for offset in offsets)


def test_onnxruntime_genai_runs_the_bundle(tiny_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    genai = pytest.importorskip("onnxruntime_genai")
    path = tiny_checkpoint("llama")
    case = export(path, tmp_path / "m")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (case.folder / name).write_bytes((path / name).read_bytes())
    model = genai.Model(str(case.folder))
    params = genai.GeneratorParams(model)
    params.set_search_options(max_length=CONTEXT)
    generator = genai.Generator(model, params)
    prompt = case.ids[:9]
    generator.append_tokens(prompt)
    while not generator.is_done():
        generator.generate_next_token()
    found = [int(token) for token in generator.get_sequence(0)]
    expected, row = list(prompt), case.engine.prefill_last(prompt)
    while len(expected) < len(found):
        expected.append(int(row.argmax()))
        row = case.engine.step(expected[-1]) if len(expected) < CONTEXT else row
    assert len(found) > len(prompt)
    assert found == expected


def model_proto(folder: Path) -> Any:
    import onnx as onnx_package

    return onnx_package.load(folder / "model.onnx", load_external_data=False)


def operators(folder: Path) -> list[str]:
    return [node.op_type for node in model_proto(folder).graph.node]


def sqnr_db(found: Tensor, expected: Tensor) -> float:
    noise = (found - expected).square().sum()
    return float(10 * torch.log10(expected.square().sum() / noise.clamp(min=1e-12)))
