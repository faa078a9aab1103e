"""All gates over one bundle, in order, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runtime_py.bundle import open_bundle
from runtime_py.engines import Engine, open_engine
from runtime_py.schema import MANIFEST_NAME, Manifest
from toolchain import __version__
from toolchain.model.checkpoint import Checkpoint
from toolchain.progress import SILENT, Progress
from toolchain.recipe import ValidateSettings
from toolchain.store import sha256_file, sha256_files
from toolchain.validation import device_parity, generation, parity, quality
from toolchain.validation.encoder_gates import (
    check_encoder_settings,
    encoder_gates,
    encoder_limits,
)
from toolchain.validation.evidence import Evidence, TaskResult
from toolchain.validation.integrity import chain_findings, extended, integrity_gate
from toolchain.validation.margins import GENERATION, PERPLEXITY, check_margins, task_margin
from toolchain.validation.remember import RememberedScorer, dense_logits, identity_key
from toolchain.validation.scores import PairedScores
from toolchain.validation.scoring import EngineScorer, TextScorer, TorchScorer
from toolchain.validation.suggestions import suggest
from toolchain.validation.tasks import Task, coverage_notes, open_tasks, run_tasks, task_gate
from toolchain.validation.text import GateText, overlap_notes, parity_sequences, read_gate_text
from toolchain.validation.verdict import (
    PASS,
    SKIPPED,
    Criteria,
    GateResult,
    TaskCriterion,
    Verdict,
    overall,
    verdict_sentence,
)


@dataclass(frozen=True)
class Material:
    """What a model is asked, and how much worse it may answer."""

    tokenizer: Any
    text: GateText
    tasks: list[Task]
    margins: dict[str, float]
    """By criterion: perplexity, generation, every task."""


@dataclass
class _Case:
    """What is judged, what it is held against, and what was found so far."""

    bundle: Path
    manifest: Manifest
    reference: Checkpoint
    settings: ValidateSettings
    material: Material
    progress: Progress
    gates: list[GateResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    evidence: Evidence = field(default_factory=Evidence)


def read_material(settings: ValidateSettings, reference: Checkpoint) -> Material:
    """Text, tasks and margins of `settings`, before there is anything to judge.

    Raises:
        BadRequestError: unusable text, tasks or margins, or what an encoder cannot be asked.
        MissingError: a task that is not here.
    """
    if not reference.spec.family.causal:
        check_encoder_settings(settings)
    tokenizer = reference.tokenizer()
    text = read_gate_text(settings.text, tokenizer).limited(settings.documents)
    tasks = open_tasks(settings.tasks, reference, settings.limit)
    margins = check_margins(settings.margins, [task.name for task in tasks])
    return Material(tokenizer, text, tasks, margins)


def validate_bundle(
    bundle: Path,
    reference: Checkpoint,
    settings: ValidateSettings,
    checkpoint: Checkpoint | None = None,
    threads: int = 1,
    progress: Progress = SILENT,
) -> Verdict:
    """Run G0 integrity, G1 export parity, G2 non-inferiority and G3 device parity; ship or hold.

    The gates are an intersection-union test: a bundle ships only if all pass, so that each is held
    at level alpha and the whole errs no more often. A bundle whose bytes are not the manifest's is
    refused before any gate: there is nothing to judge. Where G0 fails otherwise, the others are
    recorded as skipped: they would compare with the wrong thing.

    Args:
        bundle: directory of the bundle.
        reference: the dense model before pruning.
        settings: text, tasks, margins, level, device.
        checkpoint: the compact checkpoint the bundle was exported from; looked for if None.
        threads: of the bundle's engine.
        progress: where to report.

    Raises:
        BrokenBundleError: a file of the bundle is missing or changed; it is named.
        BadRequestError: unusable text, tasks or margins, what an encoder cannot be asked, or the
            compact checkpoint cannot be found.
        MissingError: a task or device that is not here.
    """
    manifest = open_bundle(bundle)
    encoder = manifest.kind == "encoder"
    limits = (encoder_limits if encoder else parity.numeric_limits)(manifest)
    material = read_material(settings, reference)
    case = _Case(bundle, manifest, reference, settings, material, progress)
    _note(case, overlap_notes(manifest.provenance.pruning, material.text))
    case.gates.append(integrity_gate(bundle, manifest, reference))
    if case.gates[0].passed:
        compact = parity.find_checkpoint(bundle, manifest, reference, checkpoint)
        case.gates[0] = extended(case.gates[0], chain_findings(manifest, compact))
    if case.gates[0].passed:
        gates = _encoder_gates if encoder else _engine_gates
        gates(case, compact, threads)
    else:
        case.gates += [_skipped("G1", parity.TITLE), _skipped("G2", quality.TITLE)]
    return _verdict(case, _criteria(case, limits))


def _note(case: _Case, notes: Sequence[str]) -> None:
    for note in notes:
        case.progress.note(f"warning: {note}")
    case.notes += notes


def _encoder_gates(case: _Case, compact: Checkpoint, threads: int) -> None:
    case.gates += encoder_gates(
        case.bundle,
        case.manifest,
        case.reference,
        compact,
        case.material.text.texts,
        case.settings.alpha,
        threads,
        case.progress,
    )


def _engine_gates(case: _Case, compact: Checkpoint, threads: int) -> None:
    engine = open_engine(case.bundle, case.manifest, threads)
    documents = case.material.text.documents
    sequences = parity_sequences(documents, engine.context_length, parity.PARITY_DOCUMENTS)
    case.gates.append(parity.judge(engine, case.manifest, compact, sequences, case.progress))
    _text_gate(case, engine)
    dense, artifact = _scorers(case, engine)
    _task_gates(case, dense, artifact)
    _generation_gate(case, dense, artifact)
    dense_logits(case.reference).release()
    if case.settings.device is not None:
        case.gates.append(
            device_parity.device_gate(
                case.settings.device, case.bundle, case.manifest, engine, case.progress
            )
        )


def _text_gate(case: _Case, engine: Engine) -> None:
    found = quality.score_documents(
        dense_logits(case.reference),
        engine,
        case.material.text.documents,
        case.manifest.bos_token_id,
        case.progress,
    )
    scores: list[PairedScores] = found.documents
    case.gates.append(
        quality.quality_gate(scores, case.material.margins[PERPLEXITY], case.settings.alpha)
    )
    seconds = {
        "text_dense": round(found.dense_seconds, 3),
        "text_artifact": round(found.artifact_seconds, 3),
    }
    kept = quality.recorded(scores) if all(s.finite for s in scores) else []
    case.evidence = replace(case.evidence, documents=kept, seconds=seconds)


def _scorers(case: _Case, engine: Engine) -> tuple[TextScorer, TextScorer]:
    """The dense model and the artifact, with the same tokenizer and the same context."""
    eos = tuple(case.manifest.eos_token_ids)
    dense = TorchScorer(
        dense_logits(case.reference).model, engine.vocab_size, engine.context_length
    )
    tokenizer_file = case.bundle / "tokenizer.json"  # equal to the reference's: G0 passed
    identity = f"{identity_key(case.reference.identity)}-{sha256_files([tokenizer_file])}"
    return (
        RememberedScorer(dense, case.material.tokenizer, eos, identity=identity),
        TextScorer(EngineScorer(engine), case.material.tokenizer, eos),
    )


def _task_gates(case: _Case, dense: TextScorer, artifact: TextScorer) -> None:
    alpha = case.settings.alpha
    results, seconds = run_tasks(
        case.material.tasks, dense, artifact, case.material.margins, alpha, case.progress
    )
    case.gates += [task_gate(result, alpha) for result in results]
    _note(case, coverage_notes(results))
    tasks: list[TaskResult] = results
    case.evidence = replace(
        case.evidence, tasks=tasks, seconds={**case.evidence.seconds, **seconds}
    )


def _generation_gate(case: _Case, dense: TextScorer, artifact: TextScorer) -> None:
    if not case.settings.prompts:
        return
    prompts = generation.prompts_of(case.material.text.documents, case.settings.prompts)
    found = generation.compare_texts(
        generation.write_texts(dense, prompts, case.progress),
        generation.write_texts(artifact, prompts, case.progress),
        case.material.margins[GENERATION],
        case.settings.alpha,
    )
    case.gates.append(generation.generation_gate(found, case.settings.alpha))
    case.evidence = replace(case.evidence, texts=found)


def _skipped(gate: str, title: str) -> GateResult:
    sentence = "not run: the bundle failed G0 integrity"
    return GateResult(gate, title, "needs G0 integrity", SKIPPED, sentence, [])


def _criteria(case: _Case, limits: dict[str, float]) -> Criteria:
    return Criteria(
        margins=case.material.margins,
        alpha=case.settings.alpha,
        text=case.settings.text,
        text_sha256=case.material.text.sha256,
        parity=limits,
        tasks={
            task.name: TaskCriterion(
                task_margin(case.material.margins, task.name), task.size, task.sha256
            )
            for task in case.material.tasks
        },
        prompts=case.settings.prompts,
        device=case.settings.device is not None,
    )


def _verdict(case: _Case, criteria: Criteria) -> Verdict:
    manifest = case.manifest
    found = Verdict(
        outcome=overall(case.gates),
        sentence=verdict_sentence(manifest.name, case.gates),
        bundle_name=manifest.name,
        bundle_sha256=sha256_file(case.bundle / MANIFEST_NAME),
        backend=manifest.backend,
        quantization=manifest.quantization,
        dense=case.reference.identity,
        checkpoint=manifest.provenance.checkpoint,
        criteria=criteria,
        criteria_sha256=criteria.sha256,
        gates=case.gates,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        paredown_version=__version__,
        notes=case.notes,
        evidence=case.evidence,
    )
    if found.outcome == PASS or manifest.kind == "encoder":
        return found
    return replace(found, suggestions=suggest(found, case.bundle, manifest))
