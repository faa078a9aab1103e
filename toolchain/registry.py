"""Names of pluggable methods: a short name of ours, or the user's own "package.module:function"."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from toolchain.errors import BadRequestError, did_you_mean

METHODS: dict[str, dict[str, str]] = {
    "importance": {
        "condition": "toolchain.pruning.importance.condition:score",
        "condition_mask": "toolchain.pruning.importance.condition_mask:score",
        "wanda": "toolchain.pruning.importance.wanda:score",
        "magnitude": "toolchain.pruning.importance.magnitude:score",
        "fluctuation": "toolchain.pruning.importance.fluctuation:score",
        "greedy": "toolchain.pruning.importance.greedy:score",
        "fisher": "toolchain.pruning.importance.fisher:score",
        "taylor": "toolchain.pruning.importance.taylor:score",
        "gblm": "toolchain.pruning.importance.gblm:score",
    },
    "recovery": {
        "none": "toolchain.pruning.recovery.none:recover",
        "bias": "toolchain.pruning.recovery.bias:recover",
        "mask_tuning": "toolchain.pruning.recovery.mask_tuning:recover",
        "low_rank": "toolchain.pruning.recovery.low_rank:recover",
        "least_squares": "toolchain.pruning.recovery.least_squares:recover",
    },
}

GRADIENT_IMPORTANCE = ("taylor", "gblm", "fisher")
"""Importances whose `score` takes a fourth argument: what gradients say about the projection."""


def check_name(kind: str, name: str) -> None:
    """Refuse a name that is neither ours nor of the form module:function. Imports nothing.

    Raises:
        BadRequestError: with a did-you-mean.
    """
    if name not in METHODS[kind] and ":" not in name:
        raise BadRequestError(f"unknown {kind} '{name}'", did_you_mean(name, METHODS[kind]))


def resolve(kind: str, name: str) -> Callable[..., Any]:
    """The function behind `name`.

    Raises:
        BadRequestError: unknown name, or the user's module or function cannot be imported.
    """
    check_name(kind, name)
    module_name, _, attribute = METHODS[kind].get(name, name).partition(":")
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise BadRequestError(f"cannot import {kind} '{name}': {error}") from error
    if not callable(function):
        raise BadRequestError(f"{kind} '{name}' is not callable")
    return function  # type: ignore[no-any-return]
