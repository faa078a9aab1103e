"""Dataclasses to JSON and back, strictly: the machinery under `runtime_py.schema`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import types
import typing
from typing import Any, TypeVar

from runtime_py.errors import BadRequestError

T = TypeVar("T")


class SchemaError(BadRequestError):
    """A JSON document that is not what its schema says; the message names the key."""


def to_json(value: Any) -> Any:
    """Dataclasses to plain JSON values, recursively."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    return value


def dumps(value: Any) -> str:
    """Readable JSON text of a dataclass, with a final newline. NaN and Infinity are refused."""
    return json.dumps(to_json(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sha256_of_json(value: Any) -> str:
    """SHA-256 of the canonical (sorted, compact) JSON of a plain value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def from_json(cls: type[T], value: Any, where: str = "") -> T:
    """Build dataclass `cls` from parsed JSON.

    Raises:
        SchemaError: naming the key, for anything unknown, missing or of the wrong type.
    """
    where = where or cls.__name__
    if not isinstance(value, dict):
        raise SchemaError(f"{where} is {type(value).__name__}, not an object")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if "schema" in fields and value.get("schema") != fields["schema"].default:
        raise SchemaError(
            f"{where} has schema {value.get('schema')!r}, not {fields['schema'].default!r}",
            "it was written by another version of paredown; make it again with this one",
        )
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise SchemaError(f"{where} has an unknown key {unknown[0]!r}")
    built = {}
    for name, spec in fields.items():
        if name in value:
            built[name] = _convert(hints[name], value[name], f"{where}.{name}")
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise SchemaError(f"{where} lacks the key {name!r}")
    return cls(**built)


def loads(cls: type[T], text: str, where: str = "") -> T:
    """Parse JSON text into dataclass `cls`; SchemaError where it is not JSON at all."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise SchemaError(f"{where or cls.__name__} is not JSON: {error}") from error
    return from_json(cls, value, where)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast("type[Any]", hint), value, where)
    origin = typing.get_origin(hint)
    if origin is not None:
        return _convert_generic(origin, typing.get_args(hint), value, where)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(value, where)
    if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise SchemaError(f"{where} is {value!r}, not {hint.__name__}")


def _finite(value: float, where: str) -> float:
    """Python reads NaN, 1e999 and integers of any size; `dumps` and other readers do not."""
    if not -sys.float_info.max <= value <= sys.float_info.max:
        raise SchemaError(f"{where} is {value!r}, not a finite number")
    return float(value)


def _convert_generic(origin: Any, arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if origin is types.UnionType:
        return _convert_union(arguments, value, where)
    if origin is list and isinstance(value, list):
        return [_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {k: _convert(arguments[1], item, f"{where}.{k}") for k, item in value.items()}
    raise SchemaError(f"{where} is {value!r}, not a {origin.__name__}")


def _convert_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    for argument in arguments:
        if argument is type(None) and value is None:
            return None
    for argument in arguments:
        if argument is type(None):
            continue
        try:
            return _convert(argument, value, where)
        except SchemaError:
            continue
    raise SchemaError(f"{where} is {value!r}, which none of its types accepts")
