"""Verbs over a whole recipe or artifact: run, plan, info."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.errors import BadRequestError
from toolchain.progress import SILENT, Progress
from toolchain.recipe import BACKENDS, build

if TYPE_CHECKING:
    from toolchain.dry_run import Plan
    from toolchain.report.run import RunResult


def run(recipe: str | Path, *, out: str | Path, progress: Progress = SILENT) -> RunResult:
    """Run a recipe (a YAML file, or `demo`) from checkpoint to verdict; resumable.

    Raises:
        ParedownError: whatever one of its steps raises.
    """
    from toolchain.pipeline import run_recipe

    return run_recipe(_recipe(recipe), Path(out), progress)


def plan(
    target: str | Path,
    *,
    ratio: float | None = None,
    params: str | None = None,
    bytes: str | None = None,
    bytes_of: str | None = None,
    parts: str | None = None,
    layers: int | str | None = None,
    round_to: int | None = None,
    context: int | None = None,
) -> Plan:
    """What a recipe, or pruning a model, would make; loads no weights.

    What pruning leaves to held-out text (layers, the split of the budget) the plan takes as in a
    uniform structure of the same budget.

    Raises:
        ParedownError: a bad recipe or model; options that belong to a model beside a recipe.
    """
    from toolchain.dry_run import plan_recipe
    from toolchain.recipe import Recipe

    prune_options = {
        "ratio": ratio,
        "params": params,
        "bytes": bytes,
        "bytes_of": bytes_of,
        "parts": parts,
        "layers": layers,
        "round_to": round_to,
    }
    given = {key: value for key, value in prune_options.items() if value is not None}
    if _is_recipe(target):
        if given or context is not None:
            raise BadRequestError(
                f"{target} is a recipe, which says all of that itself", "edit the recipe"
            )
        return plan_recipe(_recipe(target))
    values = {
        "schema": "paredown.recipe/1",
        "model": str(target),
        "prune": given,
        "export": [
            {"backend": backend, **({} if context is None else {"context": context})}
            for backend in BACKENDS
        ],
    }
    return plan_recipe(build(Recipe, values, "plan"))


def info(directory: str | Path) -> tuple[dict[str, Any], str]:
    """What a checkpoint or bundle is: as a dictionary and as text.

    Raises:
        ParedownError: neither of the two, or broken.
    """
    from toolchain.describe import describe

    return describe(Path(directory))


def _is_recipe(target: str | Path) -> bool:
    return str(target) == "demo" or Path(target).suffix in {".yaml", ".yml"}


def _recipe(target: str | Path) -> Any:
    from toolchain.embedded import DEMO_RECIPE
    from toolchain.recipe import load_recipe

    if not _is_recipe(target):
        raise BadRequestError(f"{target} is not a recipe", "give a YAML file, or 'demo'")
    return load_recipe(DEMO_RECIPE if str(target) == "demo" else Path(target))
