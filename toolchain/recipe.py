"""Recipe: everything a run does, from YAML or from the command line, checked before it starts.

Every error names the key, the value and the way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from runtime_py.schema import Protocol
from toolchain.errors import BadRequestError, did_you_mean
from toolchain.registry import check_name

RECIPE_SCHEMA = "paredown.recipe/1"
BACKENDS = ("executorch", "onnx")
QUANTIZATIONS = {
    "executorch": ("none", "8da8w", "8da4w"),
    "onnx": ("none", "fp16", "int8", "int4"),
}
"""By backend. 8da8w, 8da4w: weights of 8 or 4 bits, activations quantised to 8 while it runs."""
TARGETS = ("desktop", "android", "pi", "any")

MATCHING_IMPORTANCE = {
    "none": "wanda",
    "bias": "fluctuation",
    "mask_tuning": "condition_mask",
    "low_rank": "condition",
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


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _count(value: Any, info: ValidationInfo) -> Any:
    """A number, which the command line gives as text, or `auto`."""
    if value == "auto" or (isinstance(value, int) and value >= 0):
        return value
    if str(value).isdecimal():
        return int(value)
    raise BadRequestError(f"{info.field_name} is {value!r}", "give 'auto' or a number")


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PruneSettings(_Settings):
    """What to remove and how to recover."""

    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """At least this fraction of the parameters of `parts` goes."""
    params: str | None = None
    """Instead of `ratio`: the most parameters that the result may have, such as `2.5e9`."""
    bytes: str | None = None
    """Instead of `ratio`: the most bytes of weights in the exported file, such as `900MB`."""
    bytes_of: str = "onnx:none"
    """Backend and quantisation of the file that `bytes` limits."""
    latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Instead of `ratio`: the most milliseconds per generated token, by `latency_table`."""
    latency_table: str | None = None
    """A JSON file of measured sizes (`toolchain/pruning/latency.py`)."""
    parts: Literal["all", "mlp", "attention", "layers"] = "all"
    """What may go inside the layers that stay: neurons (`mlp`), heads (`attention`), both, or
    nothing (`layers`: whole layers alone)."""
    layers: Annotated[int | Literal["auto"], BeforeValidator(_count)] = "auto"
    """Whole layers to drop first; `auto` lets held-out text say."""
    layout: Literal["uniform", "adaptive"] = "uniform"
    """One width for all layers, which every runtime reads, or a width for each."""
    pad: bool = False
    """Save an adaptive result in uniform layout, with zeros."""
    allocation: Literal["auto", "uniform", "global", "kl"] = "auto"
    """How the budget is spread: the same `uniform` split in all layers; in adaptive layout also
    `global` (one threshold for all scores) and `kl` (measured sensitivities)."""
    protect: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the overall ratio that the first and last layer lose at most while others can pay
    (adaptive layout)."""
    recovery: Annotated[str, _method("recovery", "auto")] = "least_squares"
    importance: Annotated[str, _method("importance", "auto")] = "auto"
    """`auto`: the one that matches the recovery, or another where held-out text prefers it."""
    drafts: Annotated[int | Literal["auto"], BeforeValidator(_count)] = "auto"
    """Most drafts of the whole model that the search may make; `auto`: what is affordable."""
    joint_masks: bool | None = None
    """Tune factors on channels of all layers together afterwards; None: where affordable."""
    tune: Literal["none", "norms", "lora"] = "none"
    """Short retraining of the norms or of low-rank updates: fine-tuning, unlike all the rest."""
    steps: Annotated[int, Field(ge=1)] = 100
    """Optimiser steps of `tune`."""
    calibration: Annotated[list[str], Field(min_length=1), BeforeValidator(_as_list)] = ["builtin"]
    """`builtin`, text files, or `hub:NAME[:CONFIG[:SPLIT]]`, each with `:WEIGHT` if mixed."""
    samples: Annotated[int, Field(ge=2)] = 128
    seq_len: Annotated[int, Field(ge=8)] = 256
    max_memory: str | None = None
    """Hidden states of the calibration text beyond this size wait on disk."""
    device: Annotated[str, _one_of("device", ("auto", "cpu", "cuda", "mps"))] = "auto"
    seed: Annotated[int, Field(ge=0)] = 0
    round_to: Annotated[int, Field(ge=1)] = 32
    """MLP widths are rounded down to a multiple of this (kernels and quantisers want 32)."""

    @model_validator(mode="after")
    def _consistent(self) -> PruneSettings:
        given = [n for n in ("params", "bytes", "latency_ms") if getattr(self, n) is not None]
        if len(given) > 1:
            raise BadRequestError(f"both {given[0]} and {given[1]} are given", "keep one of them")
        if (self.latency_ms is None) != (self.latency_table is None):
            raise BadRequestError("latency_ms and latency_table need each other", "give both")
        if self.layout == "uniform" and self.allocation in {"global", "kl"}:
            raise BadRequestError(
                f"allocation '{self.allocation}' gives every layer a width of its own",
                "use --layout adaptive (with --pad for a uniform result)",
            )
        if self.pad and self.layout == "uniform":
            raise BadRequestError("a uniform layout needs no padding", "use --layout adaptive")
        if self.parts == "layers" and self.layers == 0:
            raise BadRequestError("parts 'layers' with 0 layers removes nothing", "use --layers N")
        return self

    @property
    def first_recovery(self) -> str:
        """The recovery with `auto` resolved to what is tried first."""
        return "least_squares" if self.recovery == "auto" else self.recovery

    @property
    def matched_importance(self) -> str:
        """The importance with `auto` resolved to what is tried first."""
        if self.importance != "auto":
            return self.importance
        return MATCHING_IMPORTANCE.get(self.first_recovery, "condition")


class ExportSettings(_Settings):
    """One bundle."""

    backend: Annotated[str, _one_of("backend", BACKENDS)] = "onnx"
    quant: str = "none"
    """One of the backend's `QUANTIZATIONS`."""
    group_size: Literal[32, 64, 128] = 32
    """Weights that share a scale, at 4 bits."""
    embedding_bits: Literal[4, 8, 32] | None = None
    """Of the embedding table; None: 8 where the linear layers are quantised, else as they are."""
    context: Annotated[int, Field(ge=2)] = 512
    target: Annotated[str, _one_of("target", TARGETS)] = "desktop"
    """`desktop`, `android` and `pi` use the runtimes' fast attention; `any` core operators only."""

    @model_validator(mode="after")
    def _known_quantisation(self) -> ExportSettings:
        known = QUANTIZATIONS[self.backend]
        if self.quant not in known:
            raise BadRequestError(
                f"{self.backend} has no quantisation '{self.quant}'",
                did_you_mean(self.quant, known),
            )
        return self


class ProfileSettings(_Settings):
    """How the bundles are measured."""

    device: str = "local"
    prompt_tokens: Annotated[int, Field(ge=1)] = 128
    generated_tokens: Annotated[int, Field(ge=1)] = 64
    depth: Annotated[int, Field(ge=0)] = 0
    """Tokens that are in the KV cache already when the measured prompt comes."""
    repetitions: Annotated[int, Field(ge=1)] = 5
    launches: Annotated[int, Field(ge=1)] = 5
    warmup: Annotated[int, Field(ge=0)] = 1
    threads: Annotated[int, Field(ge=1)] = 1
    affinity: Literal["big", "all"] = "big"
    """`big`: only the fastest kind of cores, where there are as many as threads; `all`."""
    engine: Literal["auto", "native"] = "auto"
    """`native`: the C++ runner also where the backend runs in Python."""
    cold: bool = True
    """Also load the model from a cold page cache, in launches of their own."""
    memory: bool = True
    """Also a launch of its own for memory."""
    cooldown_celsius: Annotated[float, Field(gt=0)] | None = None
    """Before each launch the device cools down to this."""
    cooldown_limit_s: Annotated[float, Field(ge=0)] = 300.0
    sustained_s: Annotated[float, Field(ge=0)] = 0.0
    """Also a launch without pauses for this long; 0: none."""

    @property
    def protocol(self) -> Protocol:
        """The measuring protocol of these settings."""
        return Protocol(**self.model_dump(exclude={"device"}))


class ValidateSettings(_Settings):
    """What must hold before the bundle ships."""

    text: str = "builtin"
    """`builtin` or a text file: the held-out text of the quality gate."""
    documents: Annotated[int, Field(ge=2)] | None = None
    """Most documents of that text, spread evenly; None: all."""
    tasks: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ("default",)
    """Paired tasks: names of lm-evaluation-harness, .jsonl files, `stories_grammar`,
    `stories_facts`, `stories_written`; `default` is those three for the embedded model and nothing
    for others, `none` is none."""
    limit: Annotated[int, Field(ge=1)] | None = 400
    """Most items of a task, spread evenly."""
    prompts: Annotated[int, Field(ge=0)] = 32
    """Greedy texts that are compared; 0: none."""
    margins: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=lambda: {"ppl": 0.1})
    """Largest tolerated loss by metric: `ppl` is relative (0.1: ten per cent of perplexity),
    `tasks` or a task's name a share of its items, `generation` a share of the greedy texts."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Chance of shipping a model that is exactly at the margin."""
    device: str | None = None
    """Also run the golden cases there (G3): a device's name, or a .json check report of one."""


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
    baseline: bool = False
    """Also export and measure the dense model, for the report's before and after."""

    def without_pruning(self) -> Recipe:
        """The same exports and measurements of the dense model."""
        return self.model_copy(update={"prune": None, "validate_": None, "baseline": False})


def bundle_names(exports: Sequence[ExportSettings]) -> list[str]:
    """A directory name for each bundle: what tells it from its siblings.

    Raises:
        BadRequestError: two exports are the same.
    """
    names = [_bundle_name(e) for e in exports]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequestError(f"recipe: export names {twice} twice", "delete one of them")
    return names


def _bundle_name(export: ExportSettings) -> str:
    name = f"{export.backend}-{export.quant}-{export.context}"
    default = ExportSettings()
    for key in ("group_size", "embedding_bits", "target"):
        if getattr(export, key) != getattr(default, key):
            name += f"-{key.split('_')[0]}-{getattr(export, key)}"
    return name


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


def recipe_yaml(recipe: Recipe) -> str:
    """A recipe as YAML that gives the same run from any folder."""
    values = recipe.model_dump(by_alias=True)
    if Path(recipe.model).is_dir():
        values["model"] = str(Path(recipe.model).resolve())
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


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
