"""One launch of a measurement, in this process."""

from __future__ import annotations

import json
import random
from pathlib import Path

from runtime_py import sensors
from runtime_py.engines import open_engine
from runtime_py.errors import BadRequestError
from runtime_py.generate import require_context, timed_generation
from runtime_py.schema import LaunchRecord, Manifest, Protocol

PROMPT_SEED = 20240
"""Every launch of every bundle with the same vocabulary measures the same prompt."""


def measure(bundle: Path, manifest: Manifest, protocol: Protocol) -> LaunchRecord:
    """Load the bundle, warm up, and time `protocol.repetitions` generations.

    Args:
        bundle: the bundle's directory, accepted by `open_bundle`.
        manifest: its manifest.
        protocol: `launches` is the caller's business; one call is one launch.

    Raises:
        BadRequestError: the protocol is impossible or larger than the context.
        MissingError, BrokenBundleError: as `open_engine`.
    """
    check_protocol(protocol, manifest)
    prompt_ids = random_prompt(manifest, special_token_ids(bundle, manifest), protocol)
    engine = open_engine(bundle, manifest, protocol.threads)
    for _ in range(protocol.warmup):
        timed_generation(engine, prompt_ids, protocol.generated_tokens)
    other_work = sensors.OtherWork()
    samples = [
        timed_generation(engine, prompt_ids, protocol.generated_tokens)
        for _ in range(protocol.repetitions)
    ]
    return LaunchRecord(
        load_ns=engine.load_ns,
        samples=samples,
        peak_rss_bytes=sensors.peak_rss_bytes(),
        engine=engine.name,
        engine_versions=engine.versions,
        device={**sensors.read_all(), "other_work_cores": other_work.cores()},
    )


def check_protocol(protocol: Protocol, manifest: Manifest) -> None:
    """Refuse a protocol that nothing, or not this bundle, can run.

    Raises:
        BadRequestError: naming the value.
    """
    for name in ("prompt_tokens", "generated_tokens", "repetitions", "launches", "threads"):
        value = getattr(protocol, name)
        if value < 1:
            raise BadRequestError(f"protocol: {name} is {value}", "use 1 or more")
    if protocol.warmup < 0:
        raise BadRequestError(f"protocol: warmup is {protocol.warmup}", "use 0 or more")
    require_context(manifest.context_length, protocol.prompt_tokens, protocol.generated_tokens)


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


def random_prompt(manifest: Manifest, special: set[int], protocol: Protocol) -> list[int]:
    """`protocol.prompt_tokens` pseudo-random ordinary token ids, the same on every machine.

    Raises:
        BadRequestError: the vocabulary has only special tokens.
    """
    ordinary = [i for i in range(manifest.vocab_size) if i not in special]
    if not ordinary:
        raise BadRequestError(f"all {manifest.vocab_size} tokens of the vocabulary are special")
    # random() is the one method whose sequence Python promises to keep.
    draw = random.Random(PROMPT_SEED).random  # noqa: S311 - not for secrets
    return [ordinary[int(draw() * len(ordinary))] for _ in range(protocol.prompt_tokens)]
