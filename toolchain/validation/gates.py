"""All gates over one bundle, in order, and the verdict."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from runtime_py.bundle import open_bundle
from runtime_py.engines import open_engine
from runtime_py.schema import MANIFEST_NAME, Manifest
from toolchain import __version__
from toolchain.model.checkpoint import Checkpoint
from toolchain.model.families import require_causal
from toolchain.progress import SILENT, Progress
from toolchain.recipe import ValidateSettings
from toolchain.store import sha256_file
from toolchain.validation import parity, quality
from toolchain.validation.integrity import integrity_gate
from toolchain.validation.text import GateText, overlap_notes, parity_sequences, read_gate_text
from toolchain.validation.verdict import (
    PASS,
    SKIPPED,
    Criteria,
    GateResult,
    Verdict,
    check_margins,
    overall,
    verdict_sentence,
)


def validate_bundle(
    bundle: Path,
    reference: Checkpoint,
    settings: ValidateSettings,
    checkpoint: Checkpoint | None = None,
    threads: int = 1,
    progress: Progress = SILENT,
) -> Verdict:
    """Run G0 integrity, G1 export parity and G2 non-inferiority, and say ship or hold.

    A bundle whose bytes are not the manifest's is refused before any gate: there is nothing to
    judge. Where G0 fails otherwise, G1 and G2 are recorded as skipped: they would compare with the
    wrong thing.

    Args:
        bundle: directory of the bundle.
        reference: the dense model before pruning.
        settings: text, margins and level.
        checkpoint: the compact checkpoint the bundle was exported from; looked for if None.
        threads: of the bundle's engine.
        progress: where to report.

    Raises:
        BrokenBundleError: a file of the bundle is missing or changed; it is named.
        BadRequestError: an encoder, unusable text or margins, or the compact checkpoint cannot be
            found.
    """
    require_causal(reference.family, "validate")
    margins = check_margins(settings.margins)
    manifest = open_bundle(bundle)
    limits = parity.limits_of(manifest.quantization)
    text = read_gate_text(settings.text, reference.tokenizer())
    notes = overlap_notes(manifest.provenance.pruning, text)
    for note in notes:
        progress.note(f"warning: {note}")
    gates = [integrity_gate(bundle, manifest, reference)]
    if gates[0].outcome == PASS:
        compact = parity.find_checkpoint(bundle, manifest, reference, checkpoint)
        gates += _engine_gates(
            bundle, manifest, reference, compact, text, settings, threads, progress
        )
    else:
        gates += [_skipped("G1", parity.TITLE), _skipped("G2", quality.TITLE)]
    criteria = Criteria(
        margins=margins,
        alpha=settings.alpha,
        text=settings.text,
        text_sha256=text.sha256,
        parity_max_abs_logit=limits.max_abs_logit,
        parity_top1=limits.top1,
    )
    return _verdict(bundle, manifest, reference, criteria, gates, notes)


def _engine_gates(
    bundle: Path,
    manifest: Manifest,
    reference: Checkpoint,
    compact: Checkpoint,
    text: GateText,
    settings: ValidateSettings,
    threads: int,
    progress: Progress,
) -> list[GateResult]:
    engine = open_engine(bundle, manifest, threads)
    sequences = parity_sequences(text.documents, engine.context_length, parity.PARITY_DOCUMENTS)
    numbers = parity.compare_engine(engine, compact.load(), sequences, progress)
    scores = quality.score_documents(
        reference.load(), engine, text.documents, manifest.bos_token_id, progress
    )
    return [
        parity.parity_gate(numbers, parity.limits_of(manifest.quantization)),
        quality.quality_gate(scores, settings.margins["ppl"], settings.alpha),
    ]


def _skipped(gate: str, title: str) -> GateResult:
    sentence = "not run: the bundle failed G0 integrity"
    return GateResult(gate, title, "needs G0 integrity", SKIPPED, sentence, [])


def _verdict(
    bundle: Path,
    manifest: Manifest,
    reference: Checkpoint,
    criteria: Criteria,
    gates: list[GateResult],
    notes: list[str],
) -> Verdict:
    return Verdict(
        outcome=overall(gates),
        sentence=verdict_sentence(manifest.name, gates),
        bundle_name=manifest.name,
        bundle_sha256=sha256_file(bundle / MANIFEST_NAME),
        backend=manifest.backend,
        quantization=manifest.quantization,
        dense=reference.identity,
        checkpoint=manifest.provenance.checkpoint,
        criteria=criteria,
        criteria_sha256=criteria.sha256,
        gates=gates,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        paredown_version=__version__,
        notes=notes,
    )
