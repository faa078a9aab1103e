"""The only contract between host, Raspberry Pi and Android: plain dataclasses, JSON in and out.

Every file that crosses a machine boundary is one of the top-level classes here (Manifest,
Protocol, LaunchRecord, DeviceReport, CheckReport) and carries a `schema` string. Reading is
strict: an unknown key, a missing key or a value of the wrong type is a SchemaError that names the
place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime_py.wire import SchemaError, dumps, from_json, loads, sha256_of_json, to_json

__all__ = ["SchemaError", "dumps", "from_json", "loads", "sha256_of_json", "to_json"]
"""Of `runtime_py.wire`, so that whoever needs a class gets its reader and writer here too."""

MANIFEST_SCHEMA = "paredown.bundle/1"
PROTOCOL_SCHEMA = "paredown.protocol/2"
LAUNCH_SCHEMA = "paredown.launch/2"
REPORT_SCHEMA = "paredown.report/2"
REPORTS_SCHEMA = "paredown.reports/1"
CHECK_SCHEMA = "paredown.check/1"

MANIFEST_NAME = "manifest.json"

PHASES = ("time", "cold", "memory", "sustained")
"""What one launch does; see `Protocol.phase`."""


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
    """Pages of the model file, mapped or read, that stay resident."""
    kv_cache_bytes: int
    activations_bytes: int
    packed_weights_bytes: int = 0
    """Copies of weights that the engine repacks at load."""
    runtime_bytes: int = 0
    """The process with the engine and no model; 0 in a manifest, which does not know the engine."""

    @property
    def total_bytes(self) -> int:
        """All parts together."""
        parts = (self.weights_bytes, self.kv_cache_bytes, self.activations_bytes)
        return sum(parts) + self.packed_weights_bytes + self.runtime_bytes


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
class GoldenEmbedding:
    """A self-test of an encoder: the sentence embedding of `input_ids` by its torch original.

    `embedding` is the mean of the last hidden states over all tokens, or the first of them where
    the checkpoint pools so, of Euclidean length 1; an engine passes when the cosine with its own
    is at least `min_cosine`.
    """

    name: str
    input_ids: list[int]
    embedding: list[float]
    min_cosine: float


@dataclass(frozen=True)
class ParityRecord:
    """How far the exported artifact was from a torch model on real text, at export.

    Differences are candidate - reference over all positions and entries of `output`.
    """

    reference: str
    """`float`: the checkpoint in float32; `quantised`: the same with the artifact's weights and
    activations rounded in torch."""
    output: str
    """`logits` or `embedding`."""
    positions: int
    max_abs: float
    mean_abs: float
    sqnr_db: float | None
    """10·log10(Σ reference² / Σ difference²); null for equal outputs."""
    top1: float | None
    """Share of positions with the same most likely token; null for embeddings."""
    kl_nats: float | None
    """Mean KL(reference || artifact); null for embeddings."""
    cosine: float | None
    """Smallest cosine of an embedding; null for logits."""
    passed: bool | None
    """Against the rule for this reference; null where the record only reports."""
    rule: str
    candidate: str = "artifact"
    """What was compared with the reference: the `artifact`, or the `quantised` torch model, whose
    distance from `float` is what the scheme itself costs."""


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
    kind: str = "decoder"
    """`decoder` (logits, KV cache) or `encoder` (hidden states)."""
    target: str = "desktop"
    """What it was exported for: `desktop`, `android`, `pi`, or `any` (core operators only)."""
    group_size: int = 0
    """Weights that share a scale in the linear layers; 0: a whole row, or nothing is quantised."""
    embedding_bits: int = 32
    max_prefill_tokens: int = 0
    """Most tokens of one call of the model; engines feed longer prompts in chunks. 0: no limit."""
    kv_cache: str = "functional"
    """`internal`: in the loaded method; `functional`: past in, longer present out; `shared`: one
    buffer of `context_length` positions is both past and present; `none`: an encoder."""
    planned_arena_bytes: int | None = None
    """What the runtime plans for activations and KV cache together; null where it does not say."""
    packed_weights_bytes: int | None = None
    """Anonymous memory of weights that the backend repacks at load; null where unknown."""
    parity: list[ParityRecord] = field(default_factory=list)
    golden_embeddings: list[GoldenEmbedding] = field(default_factory=list)
    """Of an encoder, whose `golden_cases` are empty."""
    schema: str = MANIFEST_SCHEMA

    @property
    def faithful(self) -> bool:
        """Whether the export found no rule broken."""
        return all(record.passed is not False for record in self.parity)

    def model_path(self, bundle: Path) -> Path:
        """Path of the model file inside `bundle`."""
        return bundle / self.model_file


@dataclass(frozen=True)
class Protocol:
    """How a bundle is measured. Two reports compare only when their fingerprints are equal."""

    prompt_tokens: int = 128
    generated_tokens: int = 64
    depth: int = 0
    """Tokens that are in the KV cache already when the measured prompt comes."""
    repetitions: int = 5
    launches: int = 5
    warmup: int = 1
    """Repetitions run and thrown away at the start of each launch."""
    threads: int = 1
    affinity: str = "big"
    """`big`: only the fastest kind of cores, where there are as many as threads; `all`."""
    engine: str = "auto"
    """`auto`: the backend's own in Python where there is a Python; `native`: the C++ runner."""
    cold: bool = True
    """Also a launch per launch that loads the model with its files dropped from the page cache."""
    memory: bool = True
    """Also a launch of its own for memory, which costs time to read."""
    cooldown_celsius: float | None = None
    """Before each launch the machine cools down to this, for at most `cooldown_limit_s`."""
    cooldown_limit_s: float = 300.0
    sustained_s: float = 0.0
    """Also a launch that generates without a pause for this long; 0: none."""
    phase: str = "time"
    """What one launch does: `time` measures repetitions, `cold` only loads (from a cold page
    cache), `memory` runs one repetition and reads the memory, `sustained` repeats for
    `sustained_s`. A report's own protocol says `time`."""
    schema: str = PROTOCOL_SCHEMA

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON."""
        return sha256_of_json(to_json(self))[:16]

    @property
    def label(self) -> str:
        """The workload as llama-bench writes it, such as `pp128+tg64 @ d1024`."""
        depth = f" @ d{self.depth}" if self.depth else ""
        return f"pp{self.prompt_tokens}+tg{self.generated_tokens}{depth}"


@dataclass(frozen=True)
class Sample:
    """One repetition, in nanoseconds of a monotonic clock.

    `prefill_ns` ends when the prompt's logits are there, `ttft_ns` when the first token is chosen;
    `token_ns[i]` is the time of decode step i (logits and choice of one more token). `start_ns` is
    when it began, counted from the start of the launch's first measured repetition.
    """

    prefill_ns: int
    ttft_ns: int
    token_ns: list[int]
    start_ns: int = 0

    @property
    def end_ns(self) -> int:
        """When its last token was chosen, counted as `start_ns`."""
        return self.start_ns + self.ttft_ns + sum(self.token_ns)


@dataclass(frozen=True)
class Reading:
    """A sensor's value, or null and the reason why there is none. Never 0 for absent."""

    value: float | str | None
    reason: str = ""


@dataclass(frozen=True)
class Snapshot:
    """What moves while a launch runs (temperature, clocks, throttling), `at_ns` as in `Sample`.

    Sensors that are absent are left out here; `LaunchRecord.device` says why.
    """

    at_ns: int
    readings: dict[str, float | str]


@dataclass(frozen=True)
class LaunchRecord:
    """What one fresh engine process measured."""

    load_ns: int
    """From opening the model file to a runnable engine. Phase `cold`: the files were dropped from
    the page cache first (`device["page_cache_resident"]` says how much of them was left); else
    they were warm."""
    samples: list[Sample]
    peak_rss_bytes: int | None
    """VmHWM of the engine's process at the end; null where the kernel does not say."""
    engine: str
    engine_versions: dict[str, str]
    device: dict[str, Reading]
    """Machine facts at the end of the launch: cpu, cores, memory, kernel, governor, temperature."""
    phase: str = "time"
    pss_bytes: int | None = None
    """Phase `memory`: resident pages, shared ones divided among their users (smaps_rollup)."""
    anon_bytes: int | None = None
    """Phase `memory`: resident pages that belong to no file (RssAnon)."""
    file_bytes: int | None = None
    """Phase `memory`: resident pages of files, such as mapped weights and libraries (RssFile)."""
    base_rss_bytes: int | None = None
    """Phase `memory`: resident before the model was opened, the engine's packages imported."""
    trace: list[Snapshot] = field(default_factory=list)
    """Before the first repetition, after each one; in phase `sustained` also now and then."""
    drift_ns: list[int] = field(default_factory=list)
    """A fixed computation without the engine, timed before and after: the machine's own drift."""
    clock_jump_ns: int | None = None
    """Wall clock minus monotonic clock over the launch: set clock, suspended machine."""
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
    """One row of `paredown profile`: one bundle, one device, one protocol."""

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
    """Of phase `time`."""
    extra_launches: list[LaunchRecord]
    """Of the other phases."""
    summary: dict[str, Estimate]
    """Keys: load_warm_ms, load_cold_ms, ttft_ms, prefill_tok_s, decode_tok_s, itl_ms_p50,
    itl_ms_p90, itl_ms_p99, peak_rss_bytes, peak_pss_bytes, anonymous_bytes, file_mapped_bytes,
    energy_mj_per_token, sustained_decode_tok_s, sustained_ratio. What was not measured is absent,
    and `absent` says why."""
    absent: dict[str, str]
    predicted_memory: MemoryPrediction
    """For this protocol and engine, the engine's own cost included."""
    memory_error: float | None
    """Predicted over measured peak, minus 1; null where the peak was not measured."""
    validity: str
    """`valid`, `suspect` or `invalid`."""
    validity_reasons: list[str]
    emulated: bool
    created_at: str
    """UTC, ISO 8601."""
    paredown_version: str
    schema: str = REPORT_SCHEMA


@dataclass(frozen=True)
class ReportSet:
    """The file of `paredown profile --out` where there is more than one row."""

    reports: list[DeviceReport]
    schema: str = REPORTS_SCHEMA


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
    cosine: float | None = None
    """Of a golden embedding with this engine's, where the bundle is an encoder: the numbers above
    are then 0."""


@dataclass(frozen=True)
class CheckReport:
    """The result of `paredown-agent check`: every golden case, run here."""

    bundle_name: str
    engine: str
    cases: list[CaseResult]
    passed: bool
    schema: str = CHECK_SCHEMA
