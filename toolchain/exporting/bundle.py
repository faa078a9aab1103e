"""Export a checkpoint as a bundle: checks first, then one atomic directory that has proved itself.

Torch-free at import: the checks come before anything slow.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runtime_py.schema import (
    MANIFEST_NAME,
    CaseResult,
    CheckReport,
    FileEntry,
    Manifest,
    ModelIdentity,
    ParityRecord,
    Provenance,
    dumps,
    from_json,
)
from toolchain import __version__
from toolchain.devices.local import LocalDevice
from toolchain.dry_run import check_context
from toolchain.errors import BadRequestError, ParedownError, require_extra
from toolchain.exporting.backend import backend_of
from toolchain.exporting.formats import GROUPED, artifact_bytes, embedding_bits, graph_bytes
from toolchain.exporting.memory import predict_memory
from toolchain.exporting.rope import check_rope
from toolchain.exporting.written import Written
from toolchain.model import families
from toolchain.model.checkpoint import COMPANION_FILES, Checkpoint
from toolchain.progress import SILENT, Progress
from toolchain.recipe import ExportSettings
from toolchain.store import atomic_directory, check_output, sha256_file, write_text

if TYPE_CHECKING:
    from toolchain.exporting.subject import Subject

DISK_SLACK_BYTES = 32 << 20


class UnfaithfulError(ParedownError):
    """A bundle that was written, runs, and is not good."""


def export_checkpoint(
    source: Checkpoint, settings: ExportSettings, out: Path, progress: Progress = SILENT
) -> Manifest:
    """Write the bundle of `source` at `out` and compare it with torch on its own engine.

    Args:
        source: a dense or pruned checkpoint; widths may differ from layer to layer.
        settings: backend, quantisation, context length, target.
        out: the bundle; replaced if paredown wrote it, untouched unless the artifact runs.

    Raises:
        BadRequestError: a context, rotary embedding, width, output path or disk that cannot serve.
        MissingError: the backend's extra is not installed.
        UnfaithfulError: the artifact runs and does not compute what torch does; the bundle is
            written all the same, and its manifest says so.
    """
    check_request(source, settings, out)
    load = _subject_class(source)  # imports first: some of them would swallow a Ctrl-C
    with progress.task(f"export to {settings.backend}", 5) as task, atomic_directory(out) as work:
        _copy_tokenizer(source, work)
        subject = load(source, settings)
        task.advance()
        written = subject.write(work)
        task.advance()
        manifest = _manifest(source, settings, out, work, written, subject)
        write_text(work / MANIFEST_NAME, dumps(manifest))
        task.advance()
        golden = LocalDevice().check(work)
        task.advance()
        judgement = subject.judge(work, manifest)
        faults = [*_golden_faults(golden), *([] if judgement.passed else [judgement.sentence])]
        records = [_marked(r, faults) for r in judgement.records]
        manifest = replace(manifest, parity=records)
        write_text(work / MANIFEST_NAME, dumps(manifest))
        task.advance()
    if faults:
        raise UnfaithfulError(
            f"{out} is written, and its model does not compute what torch does: {faults[0]}",
            "do not ship it; the manifest has the numbers",
        )
    return manifest


def check_request(source: Checkpoint, settings: ExportSettings, out: Path) -> None:
    """Refuse what cannot end well, before anything is loaded or written. Raises as above."""
    check_output(out)
    if source.path.resolve().is_relative_to(out.resolve()):
        raise BadRequestError(
            f"output {out} holds the checkpoint that is being exported", "choose another --out"
        )
    require_extra(settings.backend, f"export to {settings.backend}")
    check_context(settings.context, source.spec, families.attention_window(source.config))
    check_rope(source.config, source.name)
    if source.family.causal:
        backend_of(settings.backend).check(source.spec, settings)
    else:
        from toolchain.exporting import encoder

        encoder.check(source, settings)
    _check_disk(artifact_bytes(source.spec, settings) + graph_bytes(source.spec), out)


def _check_disk(model_bytes: int, out: Path) -> None:
    needed = model_bytes + DISK_SLACK_BYTES
    parent = next(p for p in out.absolute().parents if p.exists())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise BadRequestError(
            f"the bundle needs {needed / 1e6:.0f} MB, {parent} has {free / 1e6:.0f} MB free",
            "choose another --out",
        )


def _subject_class(source: Checkpoint) -> Callable[[Checkpoint, ExportSettings], Subject]:
    from toolchain.exporting.encoder_subject import SentenceEncoder
    from toolchain.exporting.subject import LanguageModel

    return LanguageModel if source.family.causal else SentenceEncoder


def _copy_tokenizer(source: Checkpoint, work: Path) -> None:
    for name in COMPANION_FILES:
        if (source.path / name).is_file():
            (work / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source.path / name, work / name)
    if not (work / "tokenizer.json").is_file():
        # Engines and phones read this file alone, whatever the checkpoint came with.
        source.tokenizer().backend_tokenizer.save(str(work / "tokenizer.json"))


def _golden_faults(report: CheckReport) -> list[str]:
    """A sentence for each golden case that the artifact failed."""
    return [_golden_fault(case) for case in report.cases if not case.passed]


def _golden_fault(case: CaseResult) -> str:
    if case.cosine is not None:
        return f"the {case.name} has cosine {case.cosine:.6f} with torch's embedding"
    return (
        f"on the {case.name}, logits differ by {case.max_abs_logit_difference:.2g} and "
        f"{case.matching_tokens} of {case.expected_tokens} tokens are equal"
    )


def _marked(record: ParityRecord, faults: list[str]) -> ParityRecord:
    """The record that judges, with the golden cases in it."""
    if record.passed is None:
        return record
    rule = f"{record.rule}; golden cases"
    return replace(record, passed=not faults, rule=rule)


def _manifest(
    source: Checkpoint,
    settings: ExportSettings,
    out: Path,
    work: Path,
    written: Written,
    subject: Subject,
) -> Manifest:
    bos_token_id, eos_token_ids = source.special_ids()
    return Manifest(
        name=source.title,
        backend=settings.backend,
        backend_versions=written.versions,
        model_file=written.model_file,
        files=[
            FileEntry(path.relative_to(work).as_posix(), path.stat().st_size, sha256_file(path))
            for path in sorted(work.rglob("*"))
            if path.is_file()
        ],
        vocab_size=source.spec.vocab_size,
        hidden_size=source.spec.hidden_size,
        layers=list(source.spec.layers),
        quantization=settings.quant,
        context_length=settings.context,
        bos_token_id=bos_token_id,
        eos_token_ids=eos_token_ids,
        provenance=_provenance(source, out),
        predicted_memory=predict_memory(source.spec, settings),
        golden_cases=subject.golden_cases,
        parameters=source.spec.parameters,
        kind=subject.kind,
        target=settings.target,
        group_size=settings.group_size if settings.quant in GROUPED else 0,
        embedding_bits=embedding_bits(settings),
        max_prefill_tokens=written.max_prefill_tokens,
        kv_cache=written.kv_cache,
        planned_arena_bytes=written.planned_arena_bytes,
        packed_weights_bytes=written.packed_weights_bytes,
        golden_embeddings=subject.golden_embeddings,
    )


def _provenance(source: Checkpoint, out: Path) -> Provenance:
    dense = source.record.get("dense")
    return Provenance(
        dense=source.identity if dense is None else from_json(ModelIdentity, dense),
        checkpoint=source.identity,
        checkpoint_path=os.path.relpath(source.path.resolve(), out.resolve()),
        pruning=source.record,
        paredown_version=__version__,
    )
