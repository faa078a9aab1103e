"""G1: does the artifact compute what the checkpoint it was exported from computes?

Teacher-forced on real text, at every position, through every way of feeding tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from runtime_py.engines import Engine
from runtime_py.schema import Manifest, ModelIdentity
from toolchain.errors import BadRequestError
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.progress import SILENT, Progress, track
from toolchain.validation.logits import LogitDifference
from toolchain.validation.verdict import FAIL, PASS, Finding, GateResult, Measure, finite

TITLE = "export parity"
PARITY_DOCUMENTS = 6
"""Documents that are compared whole, beside the sequence that fills the context."""


@dataclass(frozen=True)
class ParityLimits:
    """What parity demands of a quantisation."""

    max_abs_logit: float
    """Largest |logit difference| at any position and token."""
    top1: float
    """Smallest share of positions with the same most likely token."""


LIMITS = {"none": ParityLimits(max_abs_logit=1e-3, top1=0.999)}
"""By the manifest's `quantization`."""


@dataclass
class ParityNumbers:
    """Everything that was compared, over all sequences."""

    prefill: LogitDifference = field(default_factory=LogitDifference)
    """The whole sequence at once, against torch."""
    decode: LogitDifference = field(default_factory=LogitDifference)
    """Token by token from an empty cache, against torch."""
    continued: LogitDifference = field(default_factory=LogitDifference)
    """A prefill of the first half, then token by token, against torch."""
    modes: LogitDifference = field(default_factory=LogitDifference)
    """Decode against prefill, both by the engine."""
    replays_differing: int = 0
    """Sequences whose prefill after `reset` is not bit for bit the first one."""
    wrong_positions: int = 0
    """Passes after which the engine's position is not the number of tokens fed."""


def limits_of(quantization: str) -> ParityLimits:
    """The limits for a manifest's `quantization`.

    Raises:
        BadRequestError: there are none for it.
    """
    if quantization not in LIMITS:
        raise BadRequestError(
            f"there is no parity rule for quantisation '{quantization}'",
            f"known: {', '.join(sorted(LIMITS))}",
        )
    return LIMITS[quantization]


def find_checkpoint(
    bundle: Path, manifest: Manifest, reference: Checkpoint, checkpoint: Checkpoint | None
) -> Checkpoint:
    """The checkpoint the bundle was exported from: given, the reference itself, or where the
    manifest's hint leads. In every case its identity decides.

    Raises:
        BadRequestError: it was given but is another model, or it cannot be found.
    """
    wanted = manifest.provenance.checkpoint
    hint = "pass the compact checkpoint with --checkpoint"
    if checkpoint is not None:
        if not same_model(checkpoint.identity, wanted):
            raise BadRequestError(
                f"{manifest.name} was exported from {wanted.name} "
                f"(weights {wanted.weights_sha256[:12]}), not from {checkpoint.name} "
                f"(weights {checkpoint.identity.weights_sha256[:12]})",
                hint,
            )
        return checkpoint
    if same_model(reference.identity, wanted):
        return reference
    path = bundle / manifest.provenance.checkpoint_path
    if not (manifest.provenance.checkpoint_path and path.is_dir()):
        raise BadRequestError(f"the checkpoint {wanted.name} of {manifest.name} is not here", hint)
    found = open_checkpoint(path)
    if not same_model(found.identity, wanted):
        raise BadRequestError(
            f"{path} has changed since {manifest.name} was exported from it", hint
        )
    return found


def same_model(one: ModelIdentity, other: ModelIdentity) -> bool:
    """Whether two identities are the same weights and config; a folder may be renamed."""
    return (one.weights_sha256, one.config_sha256) == (other.weights_sha256, other.config_sha256)


def compare_engine(
    engine: Engine,
    model: nn.Module,
    sequences: Sequence[Sequence[int]],
    progress: Progress = SILENT,
) -> ParityNumbers:
    """Run every sequence through torch and four times through the engine.

    Args:
        engine: the artifact's own engine.
        model: the transformers model it was exported from, float32.
        sequences: token ids, none longer than the engine's context.
    """
    numbers = ParityNumbers()
    title = "Comparing the bundle with its checkpoint"
    for ids in track(sequences, progress, title, len(sequences)):
        with torch.inference_mode():
            expected = model(torch.tensor([list(ids)]), use_cache=False).logits[0]
        first = _run(engine, ids, len(ids), numbers)
        decoded = _run(engine, ids, 0, numbers)
        replay = _run(engine, ids, len(ids), numbers)
        half = len(ids) // 2
        continued = _run(engine, ids, half, numbers)
        with torch.inference_mode():
            numbers.prefill.add(expected, first)
            numbers.decode.add(expected, decoded)
            numbers.continued.add(expected[half:], continued[half:])
            numbers.modes.add(first, decoded)
        numbers.replays_differing += not torch.equal(first, replay)
    return numbers


def _run(engine: Engine, ids: Sequence[int], prefilled: int, numbers: ParityNumbers) -> Tensor:
    """Logits [len(ids), V] from a reset engine: `prefilled` ids at once, the others one by one."""
    engine.reset()
    numbers.wrong_positions += engine.position != 0
    parts = [engine.prefill(list(ids[:prefilled]))] if prefilled else []
    parts += [engine.step(token)[None] for token in ids[prefilled:]]
    numbers.wrong_positions += engine.position != len(ids)
    return torch.from_numpy(np.concatenate(parts))


def parity_gate(numbers: ParityNumbers, limits: ParityLimits) -> GateResult:
    """Decide G1 from what was compared."""
    against_torch = {
        "prefill": numbers.prefill,
        "decode": numbers.decode,
        "decode after prefill": numbers.continued,
    }
    findings = [_finite_finding(numbers)]
    for name, difference in against_torch.items():
        findings.append(_max_finding(f"{name} = torch", difference, limits))
        findings.append(_top1_finding(f"{name} top-1", difference, limits))
    findings += [
        _max_finding("prefill = decode", numbers.modes, limits),
        _count_finding(
            "replay after reset", numbers.replays_differing, "sequences differ when run again"
        ),
        _count_finding(
            "position", numbers.wrong_positions, "passes end at a wrong position in the cache"
        ),
    ]
    failed = [f for f in findings if not f.passed]
    worst = max(d.max_abs for d in against_torch.values())
    sentence = (
        failed[0].sentence
        if failed
        else (
            f"logits differ from torch by at most {worst:.2e} over {numbers.prefill.positions} "
            "positions, prefill and decode"
        )
    )
    rule = (
        f"largest logit difference <= {limits.max_abs_logit:g} and top-1 >= {limits.top1:g}"
        " at every position, in prefill and in decode; prefill = decode; replay identical"
    )
    measures: dict[str, Measure] = {"positions": Measure(numbers.prefill.positions)}
    for name, difference in against_torch.items():
        measures |= _measures(name.replace(" ", "_"), difference)
    return GateResult("G1", TITLE, rule, FAIL if failed else PASS, sentence, findings, measures)


def _finite_finding(numbers: ParityNumbers) -> Finding:
    all_finite = all(
        d.all_finite for d in (numbers.prefill, numbers.decode, numbers.continued, numbers.modes)
    )
    word = "every logit is a finite number" if all_finite else "the engine gives NaN or Inf logits"
    return Finding("finite logits", all_finite, word)


def _max_finding(name: str, difference: LogitDifference, limits: ParityLimits) -> Finding:
    passed = difference.all_finite and difference.max_abs <= limits.max_abs_logit
    return Finding(
        name,
        passed,
        f"{name}: largest logit difference {difference.max_abs:.2e}, "
        f"allowed {limits.max_abs_logit:g}",
    )


def _top1_finding(name: str, difference: LogitDifference, limits: ParityLimits) -> Finding:
    return Finding(
        name,
        difference.top1 >= limits.top1,
        f"{name}: {difference.agreements} of {difference.positions} positions agree, "
        f"required {limits.top1:g}",
    )


def _count_finding(name: str, count: int, what: str) -> Finding:
    return Finding(name, count == 0, f"{name}: {count or 'no'} {what}")


def _measures(name: str, difference: LogitDifference) -> dict[str, Measure]:
    return {
        f"{name}_max_abs_logit": Measure(finite(difference.max_abs)),
        f"{name}_mean_abs_logit": Measure(finite(difference.mean_abs)),
        f"{name}_sqnr_db": Measure(finite(difference.sqnr_db)),
        f"{name}_top1": Measure(difference.top1),
        f"{name}_kl_nats": Measure(finite(difference.mean_kl)),
    }
