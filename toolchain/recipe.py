"""Recipe: everything a run does, from YAML or from the command line, checked before it starts.

Every error names the key, the value and the way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from runtime_py.schema import Protocol
from toolchain.errors import BadRequestError, did_you_mean
from toolchain.registry import check_name

RECIPE_SCHEMA = "paredown.recipe/1"
BACKENDS = ("executorch", "onnx")
QUANTIZATIONS = ("none",)

MATCHING_IMPORTANCE = {
    "none": "wanda",
    "bias": "fluctuation",
    "mask_tuning": "condition_mask",
    "least_squares": "condition",
}
"""The importance that predicts the error left after each recovery."""


def _one_of(kind: str, names: tuple[str, ...]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in names:
            raise BadRequestError(f"unknown {kind} '{name}'", did_you_mean(name, names))
        return name

    return AfterValidator(check)


def _method(kind: str, *also: str) -> AfterValidator:
    def check(name: str) -> str:
        if name not in also:
            check_name(kind, name)
        return name

    return AfterValidator(check)


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PruneSettings(_Settings):
    """What to remove and how to recover."""

    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Fraction of the parameters of `parts` to remove."""
    parts: Literal["all", "mlp", "attention"] = "all"
    """Where neurons (`mlp`) and KV groups (`attention`) may go."""
    recovery: Annotated[str, _method("recovery")] = "least_squares"
    importance: Annotated[str, _method("importance", "auto")] = "auto"
    """`auto`: the one that matches the recovery."""
    calibration: str = "builtin"
    """`builtin`, a text file, or `hub:NAME[:CONFIG[:SPLIT]]`."""
    samples: Annotated[int, Field(ge=2)] = 128
    seq_len: Annotated[int, Field(ge=8)] = 256
    device: Annotated[str, _one_of("device", ("auto", "cpu", "cuda", "mps"))] = "auto"
    seed: Annotated[int, Field(ge=0)] = 0
    round_to: Annotated[int, Field(ge=1)] = 32
    """MLP widths are rounded to a multiple of this (kernels and quantisers want 32)."""

    @property
    def matched_importance(self) -> str:
        """The importance with `auto` resolved."""
        if self.importance != "auto":
            return self.importance
        return MATCHING_IMPORTANCE.get(self.recovery, "condition")


class ExportSettings(_Settings):
    """One bundle."""

    backend: Annotated[str, _one_of("backend", BACKENDS)] = "onnx"
    quant: Annotated[str, _one_of("quantisation", QUANTIZATIONS)] = "none"
    context: Annotated[int, Field(ge=2)] = 512


class ProfileSettings(_Settings):
    """How the bundles are measured."""

    device: str = "local"
    prompt_tokens: Annotated[int, Field(ge=1)] = 128
    generated_tokens: Annotated[int, Field(ge=1)] = 64
    repetitions: Annotated[int, Field(ge=1)] = 3
    launches: Annotated[int, Field(ge=1)] = 3
    threads: Annotated[int, Field(ge=1)] = 1

    @property
    def protocol(self) -> Protocol:
        """The measuring protocol of these settings."""
        return Protocol(
            prompt_tokens=self.prompt_tokens,
            generated_tokens=self.generated_tokens,
            repetitions=self.repetitions,
            launches=self.launches,
            threads=self.threads,
        )


class ValidateSettings(_Settings):
    """What must hold before the bundle ships."""

    text: str = "builtin"
    """`builtin` or a text file: the held-out text of the quality gate."""
    margins: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=lambda: {"ppl": 0.1})
    """Largest tolerated relative loss by metric: {"ppl": 0.1} is ten per cent of perplexity."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Chance of shipping a model that is exactly at the margin."""


class Recipe(_Settings):
    """The whole line for one model."""

    schema_: Literal["paredown.recipe/1"] = Field(alias="schema")
    model: str
    """A local folder (relative to the recipe), a Hub id, or `embedded`."""
    prune: PruneSettings | None = PruneSettings()
    """None exports the dense model."""
    export: Annotated[list[ExportSettings], Field(min_length=1)] = [ExportSettings()]
    profile: ProfileSettings | None = ProfileSettings()
    validate_: ValidateSettings | None = Field(default=ValidateSettings(), alias="validate")


def bundle_names(exports: Sequence[ExportSettings]) -> list[str]:
    """A directory name for each bundle: what tells it from its siblings.

    Raises:
        BadRequestError: two exports are the same.
    """
    names = [f"{e.backend}-{e.quant}-{e.context}" for e in exports]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequestError(f"recipe: export names {twice} twice", "delete one of them")
    return names


S = TypeVar("S", bound=BaseModel)


def build(cls: type[S], values: dict[str, Any], where: str) -> S:
    """Check `values` into settings class `cls`.

    Args:
        cls: the settings class.
        values: by field name (or alias).
        where: what the values come from, for the message.

    Raises:
        BadRequestError: naming the first wrong key, its value and what is allowed.
    """
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            fields = [f.alias or name for name, f in cls.model_fields.items()]
            hint = did_you_mean(str(first["loc"][-1]), fields) if len(first["loc"]) == 1 else ""
            raise BadRequestError(f"{where} has the unknown key '{key}'", hint) from error
        value = "" if first["type"] == "missing" else f" is {first['input']!r}"
        raise BadRequestError(f"{where}: {key}{value}; {first['msg']}") from error


def load_recipe(path: Path) -> Recipe:
    """Read a YAML recipe.

    Raises:
        BadRequestError: no such file, not YAML, or a wrong key or value.
    """
    if not path.is_file():
        raise BadRequestError(f"no such recipe: {path}", "give a YAML file, or 'demo'")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise BadRequestError(f"recipe {path} is not YAML: {line}") from error
    if not isinstance(values, dict):
        raise BadRequestError(
            f"recipe {path} is not a mapping", f"start with 'schema: {RECIPE_SCHEMA}'"
        )
    recipe = build(Recipe, values, f"recipe {path}")
    local = path.parent / recipe.model
    return recipe.model_copy(update={"model": str(local)}) if local.is_dir() else recipe
