"""Whether a bundle fits a device's memory, before anything is pushed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime_py.bundle import open_bundle
from runtime_py.schema import Manifest, MemoryPrediction, Reading
from toolchain.devices import open_device
from toolchain.errors import (
    EXIT_HOLD,
    EXIT_INCONCLUSIVE,
    EXIT_OK,
    BadRequestError,
    MissingError,
)
from toolchain.exporting.memory import PREDICTION_ERROR, engine_name, predict_bundle

FIT_SCHEMA = "paredown.fit/1"
RESERVE = 0.1
"""Share of the device's memory that must stay free: the kernel starts to reclaim before it is gone,
and on a phone the low-memory killer looks for victims."""
BYTES_PER_MB = 1e6


@dataclass(frozen=True)
class Fit:
    """FITS, TIGHT or NO, and from what."""

    verdict: str
    """`FITS`: also if the prediction is 10% short and the reserve stays free. `NO`: more than is
    there after everything else on the device was closed. `TIGHT`: in between."""
    reason: str
    bundle_name: str
    device_uri: str
    engine: str
    tokens: int
    """Prompt and continuation together."""
    predicted: MemoryPrediction
    available_bytes: int
    total_bytes: int
    schema: str = FIT_SCHEMA

    @property
    def exit_code(self) -> int:
        """0 fits, 1 does not, 4 tight: it depends on what else runs."""
        return {"FITS": EXIT_OK, "NO": EXIT_HOLD}.get(self.verdict, EXIT_INCONCLUSIVE)

    def text(self) -> str:
        """The verdict and the breakdown, for a person."""
        parts = self.predicted
        rows = [
            ("model file in memory", parts.weights_bytes),
            ("weights packed again by the engine", parts.packed_weights_bytes),
            (f"KV cache of {self.tokens} tokens", parts.kv_cache_bytes),
            ("activations", parts.activations_bytes),
            (f"{self.engine} without a model", parts.runtime_bytes),
            ("predicted peak", parts.total_bytes),
            ("available on the device", self.available_bytes),
            ("in the device altogether", self.total_bytes),
        ]
        width = max(len(label) for label, _ in rows)
        lines = [f"{self.verdict}: {self.bundle_name} on {self.device_uri}: {self.reason}", ""]
        lines += [f"{label:{width}}  {size / BYTES_PER_MB:10,.1f} MB" for label, size in rows]
        return "\n".join(lines) + "\n"


def fit_bundle(bundle: Path, device: str, engine: str = "auto", tokens: int | None = None) -> Fit:
    """Predict the peak memory of `bundle` and hold it against what `device` has now.

    Args:
        bundle: a bundle's directory.
        device: URI of `toolchain.devices.open_device`.
        engine: `auto` or `native`.
        tokens: prompt and continuation together; None: the whole context.

    Raises:
        BadRequestError: more tokens than the context.
        MissingError: the device cannot be reached, or does not say how much memory it has.
    """
    manifest = open_bundle(bundle, verify=False)
    if tokens is None:
        tokens = manifest.context_length
    if not 1 <= tokens <= manifest.context_length:
        raise BadRequestError(
            f"--tokens is {tokens}", f"the context of this bundle is {manifest.context_length}"
        )
    with open_device(device) as machine:
        facts = machine.facts()
        remote = machine.uri != "local"
    return judge_fit(manifest, machine.uri, engine_name(manifest, engine, remote), tokens, facts)


def judge_fit(
    manifest: Manifest, uri: str, engine: str, tokens: int, facts: Mapping[str, Reading]
) -> Fit:
    """The verdict from a device's facts. Raises MissingError where it does not say its memory."""
    available = _bytes(facts, "memory_available_bytes", uri)
    total = _bytes(facts, "memory_total_bytes", uri)
    predicted = predict_bundle(manifest, engine, tokens, tokens)
    need = predicted.total_bytes
    usable = total * (1 - RESERVE)
    if need > usable:
        verdict, reason = "NO", "more than the device could ever give one process"
    elif need * (1 + PREDICTION_ERROR) <= available - total * RESERVE:
        verdict, reason = "FITS", f"{need / available:.0%} of what is available now"
    elif need <= available:
        verdict, reason = "TIGHT", f"it would take {need / available:.0%} of what is available now"
    else:
        verdict, reason = "TIGHT", "only after other programs on the device are closed"
    return Fit(
        verdict=verdict,
        reason=reason,
        bundle_name=manifest.name,
        device_uri=uri,
        engine=engine,
        tokens=tokens,
        predicted=predicted,
        available_bytes=available,
        total_bytes=total,
    )


def _bytes(facts: Mapping[str, Reading], name: str, uri: str) -> int:
    reading = facts.get(name, Reading(None, "no such sensor"))
    if not isinstance(reading.value, float):
        raise MissingError(f"{uri} does not say its {name}: {reading.reason}")
    return int(reading.value)
