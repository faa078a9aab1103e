"""Export a checkpoint as a bundle: checks first, then one atomic directory that has proved itself.

Torch-free at import: the checks come before anything slow.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from runtime_py.schema import (
    MANIFEST_NAME,
    FileEntry,
    GoldenCase,
    Manifest,
    ModelIdentity,
    Provenance,
    dumps,
    from_json,
)
from toolchain import __version__
from toolchain.devices.local import LocalDevice
from toolchain.dry_run import check_context
from toolchain.errors import BadRequestError, ParedownError, require_extra
from toolchain.exporting.memory import predict_memory
from toolchain.model import families
from toolchain.model.checkpoint import COMPANION_FILES, Checkpoint
from toolchain.progress import SILENT, Progress
from toolchain.recipe import ExportSettings
from toolchain.store import atomic_directory, check_output, sha256_file, write_text

if TYPE_CHECKING:
    from torch import nn

DISK_SLACK_BYTES = 32 << 20


def export_checkpoint(
    source: Checkpoint, settings: ExportSettings, out: Path, progress: Progress = SILENT
) -> Manifest:
    """Write the bundle of `source` at `out`, after its own engine passed its golden cases.

    Args:
        source: a dense or pruned checkpoint; widths may differ from layer to layer.
        settings: backend, quantisation, context length.
        out: the bundle; replaced if paredown wrote it, untouched unless everything succeeds.

    Raises:
        BadRequestError: a context, rotary embedding, output path or disk that cannot serve.
        MissingError: the backend's extra is not installed.
        ParedownError: the written artifact does not reproduce the torch model.
    """
    check_request(source, settings, out)
    with progress.task(f"export to {settings.backend}", 5) as task, atomic_directory(out) as work:
        model = source.load()
        _copy_tokenizer(source, work)
        task.advance()
        cases = _golden_cases(source, model, settings.context)
        task.advance()
        model_file, versions = _write_model(source, model, settings, work)
        del model
        task.advance()
        manifest = _manifest(source, settings, out, work, model_file, versions, cases)
        write_text(work / MANIFEST_NAME, dumps(manifest))
        task.advance()
        _check_artifact(work)
        task.advance()
    return manifest


def check_request(source: Checkpoint, settings: ExportSettings, out: Path) -> None:
    """Refuse what cannot end well, before anything is loaded or written. Raises as above."""
    from toolchain.exporting.rope import check_rope

    families.require_causal(source.family, "export")
    check_output(out)
    if source.path.resolve().is_relative_to(out.resolve()):
        raise BadRequestError(
            f"output {out} holds the checkpoint that is being exported", "choose another --out"
        )
    require_extra(settings.backend, f"export to {settings.backend}")
    check_context(settings.context, source.spec, families.attention_window(source.config))
    check_rope(source.config, source.name)
    needed = predict_memory(source.spec, settings).weights_bytes + DISK_SLACK_BYTES
    parent = next(p for p in out.absolute().parents if p.exists())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise BadRequestError(
            f"the bundle needs {needed / 1e6:.0f} MB, {parent} has {free / 1e6:.0f} MB free",
            "choose another --out",
        )


def _copy_tokenizer(source: Checkpoint, work: Path) -> None:
    for name in COMPANION_FILES:
        if (source.path / name).is_file():
            shutil.copyfile(source.path / name, work / name)
    if not (work / "tokenizer.json").is_file():
        # Engines and phones read this file alone, whatever the checkpoint came with.
        source.tokenizer().backend_tokenizer.save(str(work / "tokenizer.json"))


def _golden_cases(source: Checkpoint, model: nn.Module, context: int) -> list[GoldenCase]:
    from toolchain.embedded import documents
    from toolchain.exporting.golden import CASES, golden_cases

    return golden_cases(model, source.tokenizer(), documents("evaluation", CASES), context)


def _write_model(
    source: Checkpoint, model: nn.Module, settings: ExportSettings, work: Path
) -> tuple[str, dict[str, str]]:
    """Write the model file; its name and the versions of the packages that made it."""
    from toolchain.exporting import executorch, onnx
    from toolchain.exporting.wrapper import Decoder

    decoder = Decoder(model, source.spec, settings.context)
    if settings.backend == "onnx":
        onnx.write(decoder, work)
        return onnx.MODEL_FILE, {**_versions(onnx.PACKAGES), "opset": str(onnx.OPSET)}
    executorch.write(decoder, work, *source.special_ids())
    return executorch.MODEL_FILE, _versions(executorch.PACKAGES)


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in packages}


def _manifest(
    source: Checkpoint,
    settings: ExportSettings,
    out: Path,
    work: Path,
    model_file: str,
    versions: dict[str, str],
    cases: list[GoldenCase],
) -> Manifest:
    bos_token_id, eos_token_ids = source.special_ids()
    return Manifest(
        name=source.title,
        backend=settings.backend,
        backend_versions=versions,
        model_file=model_file,
        files=[
            FileEntry(path.name, path.stat().st_size, sha256_file(path))
            for path in sorted(work.iterdir())
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
        golden_cases=cases,
        parameters=source.spec.parameters,
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


def _check_artifact(bundle: Path) -> None:
    """Run the golden cases of the finished bundle on its own engine, in a process of its own.

    Raises:
        ParedownError: naming the case and the difference.
    """
    for case in LocalDevice().check(bundle).cases:
        if not case.passed:
            raise ParedownError(
                f"the exported model differs from torch on the {case.name}: logits by "
                f"{case.max_abs_logit_difference:.2g}, {case.matching_tokens} of "
                f"{case.expected_tokens} tokens equal",
                "nothing was written; please report this model",
            )
