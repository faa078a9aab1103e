"""The only contract between host, Raspberry Pi and Android: plain dataclasses, JSON in and out.

Every file that crosses a machine boundary is one of the top-level classes here (Manifest,
Protocol, LaunchRecord, DeviceReport, CheckReport) and carries a `schema` string. Reading is
strict: an unknown key, a missing key or a value of the wrong type is a SchemaError that names the
place.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from runtime_py.errors import BadRequestError

MANIFEST_SCHEMA = "paredown.bundle/1"
PROTOCOL_SCHEMA = "paredown.protocol/1"
LAUNCH_SCHEMA = "paredown.launch/1"
REPORT_SCHEMA = "paredown.report/1"
CHECK_SCHEMA = "paredown.check/1"

MANIFEST_NAME = "manifest.json"

T = TypeVar("T")


class SchemaError(BadRequestError):
    """A JSON document that is not what its schema says; the message names the key."""


@dataclass(frozen=True)
class FileEntry:
    """One file of a bundle; `path` is relative to the bundle and uses '/'."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class LayerShape:
    """Shape of one decoder layer, in transformers' words."""

    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int


@dataclass(frozen=True)
class TokenLogit:
    """One vocabulary entry and its logit (before softmax)."""

    token_id: int
    logit: float


@dataclass(frozen=True)
class GoldenCase:
    """A self-test that needs neither tokenizer nor network.

    `continuation_ids` is the greedy continuation of `prompt_ids` by the exported model's torch
    original; `top_logits` are the largest logits after the last prompt token, largest first;
    `min_margin` is the smallest gap between best and second-best logit along the continuation
    (a device may differ where the gap is below its tolerance); `tolerance` bounds |logit
    difference|.
    """

    name: str
    prompt_ids: list[int]
    continuation_ids: list[int]
    top_logits: list[TokenLogit]
    min_margin: float
    tolerance: float


@dataclass(frozen=True)
class MemoryPrediction:
    """Predicted peak memory of an engine's process, in bytes, before anything runs."""

    weights_bytes: int
    kv_cache_bytes: int
    activations_bytes: int

    @property
    def total_bytes(self) -> int:
        """Weights + KV cache + activations."""
        return self.weights_bytes + self.kv_cache_bytes + self.activations_bytes


@dataclass(frozen=True)
class ModelIdentity:
    """Which model this is: `weights_sha256` hashes the weight files, `config_sha256` the config."""

    name: str
    model_type: str
    weights_sha256: str
    config_sha256: str
    parameters: int


@dataclass(frozen=True)
class Provenance:
    """How the exported checkpoint came to be.

    `dense` is the model before pruning (equal to `checkpoint` when nothing was pruned);
    `pruning` is the checkpoint's own record (recipe, structure and calibration hashes), empty when
    nothing was pruned. `checkpoint_path` leads from the bundle to the exported checkpoint (a
    relative path, a hint only: the identity decides).
    """

    dense: ModelIdentity
    checkpoint: ModelIdentity
    checkpoint_path: str
    pruning: dict[str, Any]
    paredown_version: str


@dataclass(frozen=True)
class Manifest:
    """What a bundle is; the file `manifest.json`."""

    name: str
    backend: str
    """`executorch` or `onnx`."""
    backend_versions: dict[str, str]
    model_file: str
    files: list[FileEntry]
    vocab_size: int
    hidden_size: int
    layers: list[LayerShape]
    quantization: str
    context_length: int
    """Most tokens (prompt + continuation) the exported KV cache holds."""
    bos_token_id: int | None
    eos_token_ids: list[int]
    provenance: Provenance
    predicted_memory: MemoryPrediction
    golden_cases: list[GoldenCase]
    parameters: int
    schema: str = MANIFEST_SCHEMA

    def model_path(self, bundle: Path) -> Path:
        """Path of the model file inside `bundle`."""
        return bundle / self.model_file


@dataclass(frozen=True)
class Protocol:
    """How a bundle is measured. Two reports compare only when their fingerprints are equal."""

    prompt_tokens: int = 128
    generated_tokens: int = 64
    repetitions: int = 3
    launches: int = 3
    warmup: int = 1
    """Repetitions run and thrown away at the start of each launch."""
    threads: int = 1
    schema: str = PROTOCOL_SCHEMA

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON."""
        return sha256_of_json(to_json(self))[:16]


@dataclass(frozen=True)
class Sample:
    """One repetition, in nanoseconds of a monotonic clock.

    `prefill_ns` ends when the prompt's logits are there, `ttft_ns` when the first token is chosen;
    `token_ns[i]` is the time of decode step i (logits and choice of one more token).
    """

    prefill_ns: int
    ttft_ns: int
    token_ns: list[int]


@dataclass(frozen=True)
class Reading:
    """A sensor's value, or null and the reason why there is none. Never 0 for absent."""

    value: float | str | None
    reason: str = ""


@dataclass(frozen=True)
class LaunchRecord:
    """What one fresh engine process measured."""

    load_ns: int
    """From opening the model file to a runnable engine (page cache as it was found)."""
    samples: list[Sample]
    peak_rss_bytes: int | None
    """VmHWM of the engine's process at the end; null where the kernel does not say."""
    engine: str
    engine_versions: dict[str, str]
    device: dict[str, Reading]
    """Machine facts at the end of the launch: cpu, cores, memory, kernel, governor, temperature."""
    schema: str = LAUNCH_SCHEMA


@dataclass(frozen=True)
class Estimate:
    """Median over all samples and a 95% interval from the (log) means of the launches.

    `low` and `high` are null where there are fewer than two launches.
    """

    median: float
    low: float | None
    high: float | None
    launches: int


@dataclass(frozen=True)
class DeviceReport:
    """The result of `paredown profile`."""

    bundle_name: str
    bundle_sha256: str
    """SHA-256 of the bundle's manifest.json, which in turn hashes every file."""
    backend: str
    quantization: str
    model_file_bytes: int
    """Bytes of the model file and its external data."""
    device_uri: str
    protocol: Protocol
    protocol_fingerprint: str
    launches: list[LaunchRecord]
    summary: dict[str, Estimate]
    """Keys: load_warm_ms, ttft_ms, prefill_tok_s, decode_tok_s, itl_ms_p50, itl_ms_p90, itl_ms_p99,
    peak_rss_bytes."""
    predicted_memory: MemoryPrediction
    validity: str
    """`valid`, `suspect` or `invalid`."""
    validity_reasons: list[str]
    emulated: bool
    created_at: str
    """UTC, ISO 8601."""
    paredown_version: str
    schema: str = REPORT_SCHEMA


@dataclass(frozen=True)
class CaseResult:
    """Outcome of one golden case on this machine."""

    name: str
    passed: bool
    max_abs_logit_difference: float
    matching_tokens: int
    """Length of the common greedy prefix."""
    expected_tokens: int
    near_tie: bool
    """The first divergence, if any, was at a gap smaller than the tolerance."""


@dataclass(frozen=True)
class CheckReport:
    """The result of `paredown-agent check`: every golden case, run here."""

    bundle_name: str
    engine: str
    cases: list[CaseResult]
    passed: bool
    schema: str = CHECK_SCHEMA


def to_json(value: Any) -> Any:
    """Dataclasses to plain JSON values, recursively."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    return value


def dumps(value: Any) -> str:
    """Readable JSON text of a dataclass, with a final newline. NaN and Infinity are refused."""
    return json.dumps(to_json(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sha256_of_json(value: Any) -> str:
    """SHA-256 of the canonical (sorted, compact) JSON of a plain value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def from_json(cls: type[T], value: Any, where: str = "") -> T:
    """Build dataclass `cls` from parsed JSON.

    Raises:
        SchemaError: naming the key, for anything unknown, missing or of the wrong type.
    """
    where = where or cls.__name__
    if not isinstance(value, dict):
        raise SchemaError(f"{where} is {type(value).__name__}, not an object")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if "schema" in fields and value.get("schema") != fields["schema"].default:
        raise SchemaError(
            f"{where} has schema {value.get('schema')!r}, not {fields['schema'].default!r}",
            "it was written by another version of paredown; make it again with this one",
        )
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise SchemaError(f"{where} has an unknown key {unknown[0]!r}")
    built = {}
    for name, spec in fields.items():
        if name in value:
            built[name] = _convert(hints[name], value[name], f"{where}.{name}")
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise SchemaError(f"{where} lacks the key {name!r}")
    return cls(**built)


def loads(cls: type[T], text: str, where: str = "") -> T:
    """Parse JSON text into dataclass `cls`; SchemaError where it is not JSON at all."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise SchemaError(f"{where or cls.__name__} is not JSON: {error}") from error
    return from_json(cls, value, where)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast("type[Any]", hint), value, where)
    origin = typing.get_origin(hint)
    if origin is not None:
        return _convert_generic(origin, typing.get_args(hint), value, where)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(value, where)
    if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise SchemaError(f"{where} is {value!r}, not {hint.__name__}")


def _finite(value: float, where: str) -> float:
    """Python reads NaN, 1e999 and integers of any size; `dumps` and other readers do not."""
    if not -sys.float_info.max <= value <= sys.float_info.max:
        raise SchemaError(f"{where} is {value!r}, not a finite number")
    return float(value)


def _convert_generic(origin: Any, arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if origin is types.UnionType:
        return _convert_union(arguments, value, where)
    if origin is list and isinstance(value, list):
        return [_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {k: _convert(arguments[1], item, f"{where}.{k}") for k, item in value.items()}
    raise SchemaError(f"{where} is {value!r}, not a {origin.__name__}")


def _convert_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    for argument in arguments:
        if argument is type(None) and value is None:
            return None
    for argument in arguments:
        if argument is type(None):
            continue
        try:
            return _convert(argument, value, where)
        except SchemaError:
            continue
    raise SchemaError(f"{where} is {value!r}, which none of its types accepts")
