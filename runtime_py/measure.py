"""One launch of a measurement, in this process."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from runtime_py import sensors
from runtime_py.bundle import model_files
from runtime_py.engines import Engine, open_engine
from runtime_py.errors import BadRequestError
from runtime_py.generate import AfterToken, Clock, require_context, timed_generation
from runtime_py.schema import (
    PHASES,
    LaunchRecord,
    Manifest,
    Protocol,
    Reading,
    Sample,
    Snapshot,
)
from runtime_py.sensors import power

PROMPT_SEED = 20240
"""Every launch of every bundle with the same vocabulary measures the same prompt."""

SAMPLING_NS = 2_000_000_000
"""A sustained launch reads the sensors this often; a reading costs some milliseconds."""

DRIFT_BYTES = 1 << 20
DRIFT_ROUNDS = 15

_ENGINE_PACKAGES = {
    "onnx": ("numpy", "onnxruntime"),
    "executorch": ("torch", "executorch.extension.pybindings._C"),
}
"""What an engine imports before it opens a model: its share of the base memory."""


def measure(
    bundle: Path,
    manifest: Manifest,
    protocol: Protocol,
    clock: Clock = time.perf_counter_ns,
) -> LaunchRecord:
    """One launch of the kind that `protocol.phase` says.

    Args:
        bundle: the bundle's directory, accepted by `open_bundle`.
        manifest: its manifest.
        protocol: `launches` is the caller's business; one call is one launch.
        clock: times everything but the engine's own loading.

    Raises:
        BadRequestError: the protocol is impossible or larger than the context.
        MissingError, BrokenBundleError: as `open_engine`.
    """
    check_protocol(protocol, manifest)
    work = workload(bundle, manifest, protocol)
    affinity = sensors.use_cores(protocol.affinity, protocol.threads)
    wall, monotonic = time.time_ns(), time.monotonic_ns()
    phases = {"time": _timed, "cold": _cold, "memory": _memory, "sustained": _sustained}
    record = phases[protocol.phase](_Launch(bundle, manifest, protocol, work, clock))
    jump = (time.time_ns() - wall) - (time.monotonic_ns() - monotonic)
    device = {**record.device, "cpu_affinity": affinity}
    return dataclasses.replace(record, device=device, clock_jump_ns=jump)


def check_protocol(protocol: Protocol, manifest: Manifest) -> None:
    """Refuse a protocol that nothing, or not this bundle, can run.

    Raises:
        BadRequestError: naming the value.
    """
    for name in ("prompt_tokens", "generated_tokens", "repetitions", "launches", "threads"):
        value = getattr(protocol, name)
        if value < 1:
            raise BadRequestError(f"protocol: {name} is {value}", "use 1 or more")
    for name in ("warmup", "depth", "sustained_s", "cooldown_limit_s"):
        value = getattr(protocol, name)
        if value < 0:
            raise BadRequestError(f"protocol: {name} is {value:g}", "use 0 or more")
    known = {"phase": PHASES, "affinity": ("big", "all"), "engine": ("auto", "native")}
    for name, names in known.items():
        value = getattr(protocol, name)
        if value not in names:
            raise BadRequestError(f"protocol: {name} is {value!r}", f"known: {', '.join(names)}")
    if protocol.engine == "native" and manifest.backend != "executorch":
        raise BadRequestError(
            f"the native runner runs no {manifest.backend} bundles", "leave out --engine native"
        )
    before = protocol.depth + protocol.prompt_tokens
    require_context(manifest.context_length, before, protocol.generated_tokens)


@dataclass(frozen=True)
class Workload:
    """What every repetition of a launch feeds."""

    depth_ids: list[int]
    """In the KV cache before the measured part: the prompt, as often as it takes."""
    prompt_ids: list[int]

    @property
    def tokens(self) -> list[int]:
        """As the native runner reads them: the prompt, then what precedes it in the cache."""
        return [*self.prompt_ids, *self.depth_ids]


def workload(bundle: Path, manifest: Manifest, protocol: Protocol) -> Workload:
    """The tokens of `protocol`, the same on every machine.

    Raises:
        BadRequestError: the vocabulary has only special tokens.
    """
    special = special_token_ids(bundle, manifest)
    prompt_ids = random_tokens(manifest, special, protocol.prompt_tokens)
    return Workload(list(islice(cycle(prompt_ids), protocol.depth)), prompt_ids)


def special_token_ids(bundle: Path, manifest: Manifest) -> set[int]:
    """BOS, EOS and the tokens that the bundle's tokenizer.json, if any, calls special."""
    ids = set(manifest.eos_token_ids)
    if manifest.bos_token_id is not None:
        ids.add(manifest.bos_token_id)
    path = bundle / "tokenizer.json"
    if path.is_file():
        tokenizer = json.loads(path.read_text(encoding="utf-8"))
        added = tokenizer.get("added_tokens") or []
        ids |= {token["id"] for token in added if token.get("special")}
    return ids


def random_tokens(manifest: Manifest, special: set[int], count: int) -> list[int]:
    """`count` pseudo-random ordinary token ids; more of them begin with the same ones.

    Raises:
        BadRequestError: the vocabulary has only special tokens.
    """
    ordinary = [i for i in range(manifest.vocab_size) if i not in special]
    if not ordinary:
        raise BadRequestError(f"all {manifest.vocab_size} tokens of the vocabulary are special")
    # random() is the one method whose sequence Python promises to keep.
    draw = random.Random(PROMPT_SEED).random  # noqa: S311 - not for secrets
    return [ordinary[int(draw() * len(ordinary))] for _ in range(count)]


def drift_probe(clock: Clock = time.perf_counter_ns) -> int:
    """Nanoseconds of a fixed computation without the engine: SHA-256 of a megabyte.

    The fastest of several, because an interruption only ever makes one slower: what is left is how
    fast the processor is now.
    """
    block = bytes(DRIFT_BYTES)
    times = []
    for _ in range(DRIFT_ROUNDS):
        start = clock()
        hashlib.sha256(block).digest()
        times.append(clock() - start)
    return min(times)


def timer_overhead_ns(clock: Clock = time.perf_counter_ns, calls: int = 2000) -> float:
    """What one reading of the clock costs: the part of every token time that is ours."""
    start = clock()
    for _ in range(calls):
        clock()
    return (clock() - start) / (calls + 1)


@dataclass(frozen=True)
class _Launch:
    """What one launch is to do."""

    bundle: Path
    manifest: Manifest
    protocol: Protocol
    work: Workload
    clock: Clock

    def open(self) -> Engine:
        return open_engine(self.bundle, self.manifest, self.protocol.threads)

    def repeat(
        self, engine: Engine, origin: int = 0, after_token: AfterToken | None = None
    ) -> Sample:
        return timed_generation(
            engine,
            self.work.prompt_ids,
            self.protocol.generated_tokens,
            depth_ids=self.work.depth_ids,
            origin_ns=origin,
            after_token=after_token,
            clock=self.clock,
        )


def _timed(launch: _Launch) -> LaunchRecord:
    """Warm up, then time the repetitions, with the sensors read around each of them."""
    before = drift_probe(launch.clock)
    engine = launch.open()
    for _ in range(launch.protocol.warmup):
        launch.repeat(engine)
    others = sensors.OtherWork()
    origin = launch.clock()
    trace = [sensors.snapshot(0)]
    samples = []
    for _ in range(launch.protocol.repetitions):
        samples.append(launch.repeat(engine, origin))
        trace.append(sensors.snapshot(launch.clock() - origin))
    extra = {"other_work_cores": others.cores()}
    drift = [before, drift_probe(launch.clock)]
    return _record(launch, engine, samples, trace, drift_ns=drift, extra=extra)


def _cold(launch: _Launch) -> LaunchRecord:
    """Load only, after the model's files have left the page cache."""
    _import_packages(launch.manifest)  # else they would be read from disk between drop and load
    files = [launch.bundle / entry.path for entry in model_files(launch.manifest)]
    resident = sensors.drop_page_cache(files)
    return _record(launch, launch.open(), [], [], extra={"page_cache_resident": resident})


def _memory(launch: _Launch) -> LaunchRecord:
    """One repetition, then what the kernel says about this process."""
    _import_packages(launch.manifest)
    base = sensors.status_bytes("VmRSS")
    engine = launch.open()
    record = _record(launch, engine, [launch.repeat(engine)], [])
    return dataclasses.replace(
        record,
        base_rss_bytes=base,
        anon_bytes=sensors.status_bytes("RssAnon"),
        file_bytes=sensors.status_bytes("RssFile"),
        pss_bytes=sensors.pss_bytes(),
    )


def _sustained(launch: _Launch) -> LaunchRecord:
    """Repeat without a pause, with a light look at the sensors between tokens."""
    engine = launch.open()
    sampler = _Sampler(launch.clock)
    samples = []
    end = sampler.origin + int(launch.protocol.sustained_s * 1e9)
    while launch.clock() < end:
        samples.append(launch.repeat(engine, sampler.origin, sampler))
    extra = {"other_work_cores": sampler.others.cores()}
    return _record(launch, engine, samples, sampler.trace, extra=extra)


class _Sampler:
    """Reads the sensors between two tokens when the last reading is old; no thread, no timer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.origin = clock()
        self.others = sensors.OtherWork()
        self.trace = [sensors.snapshot(0)]

    def __call__(self, now: int) -> int:
        """Called after a token with its time stamp; the stamp from which the next one counts."""
        at = now - self.origin
        if at - self.trace[-1].at_ns < SAMPLING_NS:
            return now
        self.trace.append(sensors.snapshot(at))
        return self._clock()


def _record(
    launch: _Launch,
    engine: Engine,
    samples: list[Sample],
    trace: list[Snapshot],
    *,
    drift_ns: list[int] | None = None,
    extra: dict[str, Reading] | None = None,
) -> LaunchRecord:
    device = sensors.read_all() | (extra or {})
    device["timer_overhead_ns"] = Reading(timer_overhead_ns(launch.clock))
    record = LaunchRecord(
        load_ns=engine.load_ns,
        samples=samples,
        peak_rss_bytes=sensors.peak_rss_bytes(),
        engine=engine.name,
        engine_versions=engine.versions,
        device=device,
        phase=launch.protocol.phase,
        trace=trace,
        drift_ns=drift_ns or [],
    )
    return with_energy(record)


def with_energy(record: LaunchRecord, source: sensors.Source = sensors.HERE) -> LaunchRecord:
    """`record` and `launch_energy_joules`: what its repetitions took, where its trace has a meter.

    Looks from outside also see the engine load and warm up: that is left out.
    """
    if len(record.trace) < 2 or not record.samples:
        return record
    window = (0, record.samples[-1].end_ns)
    energy = power.joules(record.trace, power.rapl_range_joules(source), window)
    return dataclasses.replace(record, device=record.device | {"launch_energy_joules": energy})


def _import_packages(manifest: Manifest) -> None:
    """Import what the engine will import; one that is missing is the engine's error to raise."""
    for name in _ENGINE_PACKAGES.get(manifest.backend, ()):
        with suppress(ImportError):
            importlib.import_module(name)
