"""Budgets as a person writes them, and what they come to."""

from __future__ import annotations

import pytest

from runtime_py.schema import LayerShape
from toolchain.errors import BadRequestError
from toolchain.exporting.formats import artifact_bytes, parse_format, weight_format
from toolchain.model.spec import ModelSpec, spec_from_config
from toolchain.pruning.allocate import uniform_shape, with_layers
from toolchain.pruning.budget import Budget, parse_count, parse_size
from toolchain.recipe import ExportSettings

INT4 = ExportSettings(backend="onnx", quant="int4")

CONFIG = {
    "model_type": "mistral",
    "architectures": ["MistralForCausalLM"],
    "hidden_size": 64,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "vocab_size": 100,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}


def spec_of(**changes: object) -> ModelSpec:
    return spec_from_config({**CONFIG, **changes}, "tiny")


def pruned(spec: ModelSpec, budget: Budget, round_to: int, parts: str) -> ModelSpec:
    shape = uniform_shape(spec, budget, round_to, parts)
    return with_layers(spec, (shape,) * len(spec.layers), "none")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("2.5e9", 2_500_000_000),
        ("2.5B", 2_500_000_000),
        ("300M", 300_000_000),
        ("300m", 300_000_000),
        ("0.3 B", 300_000_000),
        ("41000", 41_000),
        ("1.1k", 1_100),
        (".5M", 500_000),
    ],
)
def test_counts(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("900MB", 900_000_000),
        ("1.2GB", 1_200_000_000),
        ("512MiB", 512 * 2**20),
        ("512 mib", 512 * 2**20),
        ("1.5KiB", 1536),
        ("12345", 12345),
        ("7B", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "big", "-3M", "3X", "1e", "1,5B", "nan", "inf", "2e99999", "0"]
)
def test_what_is_no_number_is_one_line(text: str) -> None:
    for parse in (parse_count, parse_size):
        with pytest.raises(BadRequestError) as caught:
            parse(text)
        assert "\n" not in str(caught.value)
        assert "such as" in str(caught.value)


def test_a_count_is_no_size() -> None:
    with pytest.raises(BadRequestError, match="'900MB' is not a number of parameters"):
        parse_count("900MB")
    with pytest.raises(BadRequestError, match="'3M' is not a size"):
        parse_size("3M")


def test_bytes_of_each_scheme_by_hand() -> None:
    spec = spec_of(num_hidden_layers=1)
    # q [256, 64], k and v [128, 64], o [64, 256], gate and up [256, 64], down [64, 256]; a head
    # [100, 64] of its own; three norms of 64; cos and sin of 8 positions x 16.
    linear = 64 * (256 + 128 + 128 + 256 + 3 * 256)
    rows = 256 + 128 + 128 + 64 + 256 + 256 + 64 + 100
    head, table, others = 6400, 6400, 3 * 64 + 2 * 8 * 16

    def size(text: str) -> int:
        return artifact_bytes(spec, parse_format(text).model_copy(update={"context": 8}))

    assert size("onnx:none") == 4 * (linear + head + table + others)
    assert size("onnx:fp16") == 2 * (linear + head + table) + 4 * others
    assert size("onnx:int8") == linear + head + 4 * rows + table + 4 * 100 + 4 * others
    blocks = (linear + head) // 32  # each with a float32 scale and a zero point of 4 bits
    assert size("onnx:int4") == blocks * (16 + 4.5) + table // 32 * (32 + 5) + 4 * others
    assert size("executorch:none") == size("onnx:none")
    assert size("executorch:8da8w") == linear + head + 4 * rows + table + 4 * 100 + 4 * others
    assert size("executorch:8da4w") == (linear + head) * 18 // 32 + table + 4 * 100 + 4 * others


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onnx:int44", "did you mean 'int4'"),
        ("onnx:8da4w", "onnx has no quantisation '8da4w'"),
        ("onxx:int4", "did you mean 'onnx'"),
        ("onnx", "'onnx' is not BACKEND:QUANTISATION"),
    ],
)
def test_a_format_that_is_none(text: str, message: str) -> None:
    with pytest.raises(BadRequestError, match=message) as caught:
        parse_format(text)
    assert "\n" not in str(caught.value)


def test_a_tied_table_is_stored_once_in_float() -> None:
    tied, untied = spec_of(tie_word_embeddings=True), spec_of()
    for backend in ("onnx", "executorch"):
        export = parse_format(f"{backend}:none")
        assert artifact_bytes(untied, export) - artifact_bytes(tied, export) == 4 * 6400
    # A rounded head is not the rounded table, unless the operators can share it.
    assert artifact_bytes(untied, INT4) - artifact_bytes(tied, INT4) == 6400 // 32 * 20.5
    export = parse_format("executorch:8da4w")
    assert artifact_bytes(untied, export) == artifact_bytes(tied, export)


def test_a_short_group_is_padded() -> None:
    spec = spec_of(num_hidden_layers=1)
    narrow = spec_of(num_hidden_layers=1, intermediate_size=225)
    lost = 2 * 31 * 64 // 32 * 20.5  # gate and up; down still has 8 groups in each row
    assert artifact_bytes(spec, INT4) - artifact_bytes(narrow, INT4) == lost


@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("bits", [4, 8, 32])
def test_groups_and_tables_count(group: int, bits: int) -> None:
    settings = ExportSettings(
        backend="executorch", quant="8da4w", group_size=group, embedding_bits=bits
    )
    weights = weight_format(settings)
    assert weights.row_bits(256) == 256 * 4 + 256 // group * 16
    table = {4: 256 * 4 + 256 // group * 32, 8: 256 * 8 + 32, 32: 256 * 32}
    assert weights.table_row_bits(256) == table[bits]


@pytest.mark.parametrize("parts", ["all", "mlp", "attention"])
def test_the_least_that_a_refusal_names_can_be_had(parts: str) -> None:
    spec = spec_of()
    for asked, read in (
        (Budget.from_ratio(spec, 0.999, parts), lambda n: Budget.from_ratio(spec, float(n), parts)),
        (Budget.from_parameters(spec, 10), lambda n: Budget.from_parameters(spec, int(n))),
        (
            Budget.from_bytes(spec, 10, INT4, 32),
            lambda n: Budget.from_bytes(spec, int(n), INT4, 32),
        ),
    ):
        with pytest.raises(BadRequestError, match="tiny cannot be pruned") as caught:
            pruned(spec, asked, 32, parts)
        assert "\n" not in str(caught.value)
        value = caught.value.hint.split()[2]
        least = pruned(spec, read(value), 32, parts)
        assert least.layers[0] == LayerShape(
            8 if parts == "mlp" else 1,
            4 if parts == "mlp" else 1,
            32,
            256 if parts == "attention" else 32,
        )


def test_a_budget_above_the_model_says_so() -> None:
    spec = spec_of()
    with pytest.raises(BadRequestError, match=r"nothing has to go .* has 308,160 parameters"):
        pruned(spec, Budget.from_parameters(spec, 10**9), 32, "all")


def test_layers_that_are_gone_pay_for_the_others() -> None:
    dense = spec_of()
    short = spec_of(num_hidden_layers=2)
    budget = Budget.from_ratio(dense, 0.4, "all")
    after = pruned(short, budget, 1, "all")
    assert after.block_parameters <= 0.6 * dense.block_parameters
    assert after.block_parameters > 0.59 * dense.block_parameters
    assert len(after.layers) == 2
    # A third of the blocks is gone: a tenth of the rest is no whole KV group.
    assert after.layers[0].num_key_value_heads == 4
