"""A checkpoint as a GGUF file, which llama.cpp runs.

Layers of one width are written as `llama`, layers of different widths as `deci`: the architecture
of llama.cpp whose head counts and MLP widths are lists. Both compute the same layer: RMS norm,
rotary attention, RMS norm, SiLU-gated MLP, each with optional biases. Tensors are read, turned and
written one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime_py.schema import LayerShape
from toolchain import __version__
from toolchain.errors import BadRequestError, did_you_mean, require_extra
from toolchain.exporting.gguf_vocabulary import Vocabulary, read_vocabulary, write_vocabulary
from toolchain.model import families
from toolchain.model.checkpoint import Checkpoint
from toolchain.progress import SILENT, Progress, track
from toolchain.store import atomic_file

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFWriter
    from torch import Tensor

    from toolchain.model.spec import ModelSpec

TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0", "q4_0": "MOSTLY_Q4_0"}
"""How matrices can be stored, and gguf's name for such a file; vectors are always float32."""

VERSION_KEY = "paredown.version"
"""Marks a file that we wrote."""
MAGIC = b"GGUF"
HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class GgufFile:
    """What was written."""

    path: str
    bytes: int
    architecture: str
    """`llama` or `deci`."""
    type: str
    tensors: int
    parameters: int


@dataclass(frozen=True)
class _Part:
    """One tensor of the file: rows of a stored tensor, turned for llama.cpp where they rotate."""

    name: str
    stored: str
    shape: tuple[int, ...]
    first_row: int = 0
    rotary_heads: int = 0
    """Heads in the rows whose halves are to be interleaved; 0: rows stay as they are."""


def check_request(source: Checkpoint, out: Path, kind: str) -> None:
    """Refuse what cannot end well, before any weight is read.

    Raises:
        BadRequestError: a type, model or output path that cannot serve.
        MissingError: extra `gguf` is not installed.
    """
    if kind not in TYPES:
        raise BadRequestError(f"no such type of GGUF file: '{kind}'", did_you_mean(kind, TYPES))
    require_extra("gguf", "writing a GGUF file")
    _check_output(out)
    _check_mathematics(source)
    from gguf import GGML_QUANT_SIZES

    block = GGML_QUANT_SIZES[_ggml_type(kind)][0]
    for part in _parts(source):
        if len(part.shape) == 2 and part.shape[1] % block:
            raise BadRequestError(
                f"{part.name} has rows of {part.shape[1]} weights, which {kind} stores in blocks "
                f"of {block}",
                "use --type f16, or prune with --round-to 32",
            )


def write_gguf(
    source: Checkpoint, out: Path, kind: str = "f32", progress: Progress = SILENT
) -> GgufFile:
    """Write `source` to the file `out`.

    Args:
        source: a dense or pruned checkpoint; widths may differ from layer to layer.
        out: the file; replaced if paredown wrote it.
        kind: a key of `TYPES`.
        progress: where the talk goes.

    Raises:
        BadRequestError, MissingError: as `check_request`.
    """
    check_request(source, out, kind)
    from gguf import GGUFWriter

    parts, vocabulary = list(_parts(source)), _vocabulary(source)
    architecture = "llama" if len(set(source.spec.layers)) == 1 else "deci"
    with atomic_file(out) as work:
        writer = GGUFWriter(work, architecture)
        try:
            _add_metadata(writer, source, kind)
            write_vocabulary(writer, vocabulary)
            count = _write_tensors(writer, source, parts, kind, progress)
        finally:
            writer.close()
    return GgufFile(
        path=str(out),
        bytes=out.stat().st_size,
        architecture=architecture,
        type=kind,
        tensors=count,
        parameters=source.spec.parameters,
    )


def _check_output(out: Path) -> None:
    """Refuse a path that is taken by something that paredown did not write."""
    if out.is_dir():
        raise BadRequestError(f"output {out} is a directory", "name a file, such as model.gguf")
    if out.exists():
        with out.open("rb") as stream:
            header = stream.read(HEADER_BYTES)
        if not (header.startswith(MAGIC) and VERSION_KEY.encode() in header):
            raise BadRequestError(
                f"output {out} exists and was not written by paredown", "choose another --out"
            )


def _check_mathematics(source: Checkpoint) -> None:
    """Refuse a model that llama.cpp's `llama` and `deci` do not compute."""
    families.require_causal(source.family, "a GGUF file")
    config, family = source.config, source.family
    activation = config.get("hidden_act") or config.get("hidden_activation") or "silu"
    for refused, what in (
        (family.gate is None or family.rotary is None, "no gated MLP or no rotary embedding"),
        (family.query_key_norm, "norms on queries and keys"),
        (
            family.norm_bias
            or family.norm_offset
            or family.layer_norms != (family.attention_norm, family.mlp_norm),
            "other norms",
        ),
        (not all(families.rotary_layers(config)), "layers without a rotary embedding"),
        (activation != "silu", f"the activation '{activation}'"),
        (any(min(_widths(layer)) == 0 for layer in source.spec.layers), "an empty layer"),
    ):
        if refused:
            raise BadRequestError(
                f"{source.name} ({family.model_type}) has {what}, which llama.cpp's llama and "
                "deci architectures have not",
                "llama, mistral, qwen2 and phi3 can be written; llama.cpp's own converter knows "
                "more families, at one width for all layers",
            )
    _rotary_factors(source)


def _widths(layer: LayerShape) -> tuple[int, int, int]:
    return layer.num_attention_heads, layer.num_key_value_heads, layer.intermediate_size


def _parts(source: Checkpoint) -> Iterator[_Part]:
    """Every tensor that is stored, in the file's order."""
    family, spec = source.family, source.spec
    stored = set(source.tensor_names())
    outer = [("token_embd", family.embedding), ("output_norm", family.final_norm)]
    if not spec.tie_word_embeddings:
        outer.append(("output", family.head))
    for name, outer_module in outer:
        tensor = f"{outer_module}.weight"
        yield _Part(f"{name}.weight", tensor, tuple(source.tensor_shape(tensor)))
    for index, layer in enumerate(spec.layers):
        heads, keys, neurons = _widths(layer)
        rows: dict[str, int] = {}
        for name, module, height, rotary_heads in (
            ("attn_norm", family.attention_norm, spec.hidden_size, 0),
            ("attn_q", family.query, heads * layer.head_dim, heads),
            ("attn_k", family.key, keys * layer.head_dim, keys),
            ("attn_v", family.value, keys * layer.head_dim, 0),
            ("attn_output", family.output, spec.hidden_size, 0),
            ("ffn_norm", family.mlp_norm, spec.hidden_size, 0),
            ("ffn_gate", family.gate, neurons, 0),
            ("ffn_up", family.up, neurons, 0),
            ("ffn_down", family.down, spec.hidden_size, 0),
        ):
            prefix = f"{family.layer_prefix(index)}{module}"
            for end in ("weight", "bias"):
                tensor = f"{prefix}.{end}"
                if tensor in stored:
                    shape = (height, *source.tensor_shape(tensor)[1:])
                    first = rows.get(prefix, 0)
                    yield _Part(f"blk.{index}.{name}.{end}", tensor, shape, first, rotary_heads)
            rows[prefix] = rows.get(prefix, 0) + height  # the next part of a fused tensor


def _add_metadata(writer: GGUFWriter, source: Checkpoint, kind: str) -> None:
    import gguf

    spec: ModelSpec = source.spec
    config: Any = source.skeleton.config
    heads, keys, neurons = (list(widths) for widths in zip(*map(_widths, spec.layers), strict=True))
    window = families.attention_window(source.config)
    head_dim = spec.layers[0].head_dim
    writer.add_string(VERSION_KEY, __version__)
    writer.add_string("paredown.weights_sha256", source.identity.weights_sha256)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(source.title)
    writer.add_file_type(gguf.LlamaFileType[TYPES[kind]])
    if kind.startswith("q"):
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(spec.vocab_size)
    # No layer of these architectures has a sliding window: within it both compute the same.
    writer.add_context_length(min(spec.max_position_embeddings, window or 1 << 31))
    writer.add_embedding_length(spec.hidden_size)
    writer.add_block_count(len(spec.layers))
    writer.add_head_count(_one_or_all(heads))
    writer.add_head_count_kv(_one_or_all(keys))
    writer.add_feed_forward_length(_one_or_all(neurons))
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(_rope_theta(source))
    writer.add_layer_norm_rms_eps(float(config.rms_norm_eps))


def _one_or_all(widths: list[int]) -> int | list[int]:
    return widths[0] if len(set(widths)) == 1 else widths


def _rope_theta(source: Checkpoint) -> float:
    config: Any = source.skeleton.config
    return float(config.rope_parameters["rope_theta"])


def _rotary_factors(source: Checkpoint) -> np.ndarray[Any, Any] | None:
    """What llama.cpp divides the plain frequencies by, float32 [head_dim / 2]; None: all are 1.

    This one form holds every scaling that neither depends on the length nor scales the attention.

    Raises:
        BadRequestError: a rotary embedding of another kind.
    """
    import torch

    from toolchain.exporting.rope import check_rope

    check_rope(source.config, source.name)
    rotary: Any = families.rotary_embedding(source.skeleton)
    head_dim = source.spec.layers[0].head_dim
    if float(rotary.attention_scaling) != 1.0 or 2 * len(rotary.inv_freq) != head_dim:
        raise BadRequestError(
            f"{source.name} turns a part of each head or scales its attention by the length",
            "llama.cpp's own converter knows more rotary embeddings, at one width for all layers",
        )
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim
    factors = _rope_theta(source) ** -exponents / rotary.inv_freq.double()
    if torch.allclose(factors, torch.ones_like(factors), rtol=1e-5):
        return None
    values: np.ndarray[Any, Any] = factors.float().numpy()
    return values


def _vocabulary(source: Checkpoint) -> Vocabulary:
    tokenizer, file = source.tokenizer(), source.path / "tokenizer.json"
    return read_vocabulary(
        file.read_text(encoding="utf-8")
        if file.is_file()
        else tokenizer.backend_tokenizer.to_str(),
        size=source.spec.vocab_size,
        name=source.name,
        special_ids=source.special_ids(),
        letter_ids=tokenizer("a").input_ids,
        chat_template=tokenizer.chat_template,
    )


def _write_tensors(
    writer: GGUFWriter, source: Checkpoint, parts: list[_Part], kind: str, progress: Progress
) -> int:
    """Describe all tensors, then write them one by one; returns how many there are."""
    import numpy as np
    from gguf import GGMLQuantizationType, quant_shape_to_byte_shape

    factors = _rotary_factors(source)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for part in parts:
        ggml_type = _ggml_type(kind) if len(part.shape) == 2 else GGMLQuantizationType.F32
        size = int(np.prod(quant_shape_to_byte_shape(part.shape, ggml_type)))
        writer.add_tensor_info(part.name, part.shape, np.dtype(np.float32), size, ggml_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors)
    for part in track(parts, progress, "writing tensors", len(parts)):
        ggml_type = _ggml_type(kind) if len(part.shape) == 2 else GGMLQuantizationType.F32
        writer.write_tensor_data(_stored(source, part, ggml_type))
    return len(parts) + (factors is not None)


def _stored(
    source: Checkpoint, part: _Part, ggml_type: GGMLQuantizationType
) -> np.ndarray[Any, Any]:
    """The bytes of one tensor."""
    import numpy as np
    from gguf import quants

    rows = source.tensor(part.stored)[part.first_row : part.first_row + part.shape[0]].float()
    if part.rotary_heads:
        rows = interleaved(rows, part.rotary_heads)
    with np.errstate(over="ignore"):
        data: np.ndarray[Any, Any] = quants.quantize(rows.contiguous().numpy(), ggml_type)
    if data.dtype == np.float16 and not np.isfinite(data).all():
        raise BadRequestError(f"{part.stored} does not fit float16", "use --type f32 or q8_0")
    return data


def interleaved(rows: Tensor, heads: int) -> Tensor:
    """Rows of queries or keys with each head's two halves interleaved, [heads * head_dim, ...].

    transformers rotates row i of a head together with row i + head_dim / 2, llama.cpp's `llama` and
    `deci` rotate rows 2 i and 2 i + 1.
    """
    halves = rows.reshape(heads, 2, -1, *rows.shape[1:])
    return halves.transpose(1, 2).reshape(rows.shape)


def _ggml_type(kind: str) -> GGMLQuantizationType:
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType[kind.upper()]
