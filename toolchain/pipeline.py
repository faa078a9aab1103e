"""The straight line, read first: from a dense checkpoint to a verdict.

    dense ─ prune ─ compact ─ export ─ bundle ─ profile ─ validate ─ ship / hold

Every step leaves one artifact in the run's directory; one that has the same inputs is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from runtime_py.schema import MANIFEST_NAME, DeviceReport, Manifest, loads
from toolchain import api
from toolchain.calibrate.mixture import parse_mix
from toolchain.dry_run import check_recipe
from toolchain.model.checkpoint import Checkpoint, open_checkpoint
from toolchain.progress import Progress
from toolchain.recipe import ExportSettings, Recipe, bundle_names, recipe_yaml
from toolchain.report.run import BASELINE, Outcome, RunResult
from toolchain.report.write import write_run
from toolchain.steps import StepLog
from toolchain.store import sha256_file, source_sha256
from toolchain.validation.verdict import Verdict

T = TypeVar("T")


def run_recipe(recipe: Recipe, out: Path, progress: Progress) -> RunResult:
    """Run `recipe` into `out`: everything that can be refused is refused before the first step.

    Raises:
        ParedownError: whatever a step raises; finished steps stay and are kept next time.
    """
    names = bundle_names(recipe.export)
    check_recipe(recipe)
    dense = open_checkpoint(recipe.model)
    if recipe.validate_ is not None:
        from toolchain.validation.gates import read_material  # needs torch

        read_material(recipe.validate_, dense)
    line = Line(recipe, dense, out, StepLog(out, progress), progress)

    compact = line.prune()
    if recipe.baseline and recipe.prune is not None:
        run_recipe(recipe.without_pruning(), out / BASELINE, progress)
    outcomes = []
    for name, settings in zip(names, recipe.export, strict=True):
        bundle = line.export(name, settings, compact)
        report = line.profile(name, bundle)
        verdict = line.validate(name, bundle, compact)
        manifest = _load(Manifest, bundle / MANIFEST_NAME)
        outcomes.append(Outcome(name, manifest, report, verdict))

    result = RunResult(out, line.dense.spec, compact.spec, compact.record, tuple(outcomes))
    line.steps.finish(result.to_json())
    write_run(result, recipe_yaml(recipe))
    return result


@dataclass(frozen=True)
class Line:
    """One run's fixed parts; each method is one step and returns its artifact."""

    recipe: Recipe
    dense: Checkpoint
    out: Path
    steps: StepLog
    progress: Progress

    def prune(self) -> Checkpoint:
        """Whole KV groups and neurons go, what is left is recovered."""
        settings = self.recipe.prune
        if settings is None:
            return self.dense
        output = self.out / "pruned"
        options = settings.model_dump()
        inputs = {
            "dense": self.dense.identity.weights_sha256,
            "settings": options,
            "calibration": [source_sha256(source) for source, _ in parse_mix(settings.calibration)],
        }
        self.steps.do(
            "prune",
            inputs,
            output,
            lambda: api.prune(self.dense, out=output, progress=self.progress, **options),
        )
        return open_checkpoint(output)

    def export(self, name: str, settings: ExportSettings, compact: Checkpoint) -> Path:
        """The checkpoint becomes a bundle that a device can run and check by itself."""
        output = self.out / "bundles" / name
        options = settings.model_dump()
        self.steps.do(
            f"export {name}",
            {"checkpoint": compact.identity.weights_sha256, "settings": options},
            output,
            lambda: api.export(compact, out=output, progress=self.progress, **options),
        )
        return output

    def profile(self, name: str, bundle: Path) -> DeviceReport | None:
        """The bundle is measured on the device."""
        settings = self.recipe.profile
        if settings is None:
            return None
        output = self.out / "reports" / f"{name}.json"
        options = settings.model_dump()
        self.steps.do(
            f"profile {name}",
            {"bundle": sha256_file(bundle / MANIFEST_NAME), "settings": options},
            output,
            lambda: api.profile(bundle, out=output, progress=self.progress, **options),
        )
        return _load(DeviceReport, output)

    def validate(self, name: str, bundle: Path, compact: Checkpoint) -> Verdict | None:
        """The bytes that would ship are judged against the dense model."""
        settings = self.recipe.validate_
        if settings is None:
            return None
        output = self.out / "verdicts" / f"{name}.json"
        options = settings.model_dump()
        inputs = {
            "bundle": sha256_file(bundle / MANIFEST_NAME),
            "dense": self.dense.identity.weights_sha256,
            "settings": options,
            "text": source_sha256(settings.text),
            "tasks": [source_sha256(name) for name in settings.tasks],
        }
        self.steps.do(
            f"validate {name}",
            inputs,
            output,
            lambda: api.validate(
                bundle,
                reference=self.dense,
                checkpoint=compact,
                out=output,
                progress=self.progress,
                **options,
            ),
        )
        return _load(Verdict, output)


def _load(cls: type[T], path: Path) -> T:
    return loads(cls, path.read_text(encoding="utf-8"), str(path))
