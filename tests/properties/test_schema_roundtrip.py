"""Every class that crosses a machine boundary survives JSON; anything else is refused."""

from __future__ import annotations

import copy
import dataclasses
import json
import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_py import schema

CLASSES = [
    value
    for value in vars(schema).values()
    if isinstance(value, type) and dataclasses.is_dataclass(value)
]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=3,
)

SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=10),
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
    Any: JSON,
}

WRONG = {
    str: [5, None, ["a"], True],
    int: ["5", 1.5, True, None, [1]],
    float: ["1.5", True, None, [1.0], float("nan"), float("inf"), 10**400],
    bool: [0, 1, "true", None],
    list: [{}, "ab", None, 3],
    dict: [[], "ab", None, 3],
}


def _strategy(hint: Any) -> st.SearchStrategy[Any]:
    if hint in SCALARS:
        return SCALARS[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return st.one_of(*map(_strategy, arguments))
    # Reports hold launches that hold samples: a list of objects need not be long to be one.
    most = 1 if arguments and dataclasses.is_dataclass(arguments[-1]) else 2
    if origin is list:
        return st.lists(_strategy(arguments[0]), max_size=most)
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), _strategy(arguments[1]), max_size=most)
    hints = typing.get_type_hints(hint)
    fields = {f.name: _strategy(hints[f.name]) for f in dataclasses.fields(hint)}
    if "schema" in fields:
        fields.pop("schema")
    return st.builds(hint, **fields)


def _places(hint: Any, value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """(type, path) of every place in a JSON value that has a type."""
    if hint is Any:
        return
    yield hint, path
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        for i, item in enumerate(value):
            yield from _places(arguments[0], item, (*path, i))
    elif origin is dict:
        for key, item in value.items():
            yield from _places(arguments[1], item, (*path, key))
    elif dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        for key, item in value.items():
            yield from _places(hints[key], item, (*path, key))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def _put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    value = copy.deepcopy(value)
    if not path:
        return new
    _at(value, path[:-1])[path[-1]] = new
    return value


def _wrong_values(hint: Any) -> list[Any]:
    if typing.get_origin(hint) is types.UnionType:
        allowed = typing.get_args(hint)
        candidates = [{}, [], True]
        candidates += ["x"] if str not in allowed else []
        candidates += [1.5] if float not in allowed else []
        return candidates
    if dataclasses.is_dataclass(hint):
        return WRONG[dict]
    return WRONG[typing.get_origin(hint) or hint]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@settings(max_examples=40)
@given(data=st.data())
def test_round_trip(cls: type[Any], data: st.DataObject) -> None:
    value = data.draw(_strategy(cls))
    text = schema.dumps(value)
    again = schema.loads(cls, text)
    assert again == value
    assert schema.dumps(again) == text


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@settings(max_examples=40)
@given(data=st.data())
def test_an_unknown_key_is_refused_wherever_it_is(cls: type[Any], data: st.DataObject) -> None:
    value = schema.to_json(data.draw(_strategy(cls)))
    objects = [path for hint, path in _places(cls, value) if dataclasses.is_dataclass(hint)]
    path = data.draw(st.sampled_from(objects))
    broken = copy.deepcopy(value)
    _at(broken, path)["unheard_of"] = 1
    with pytest.raises(schema.SchemaError, match="unknown key 'unheard_of'"):
        schema.from_json(cls, broken)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@settings(max_examples=40)
@given(data=st.data())
def test_a_missing_key_is_refused_unless_it_has_a_default(
    cls: type[Any], data: st.DataObject
) -> None:
    value = schema.to_json(data.draw(_strategy(cls)))
    objects = [(hint, path) for hint, path in _places(cls, value) if dataclasses.is_dataclass(hint)]
    hint, path = data.draw(st.sampled_from(objects))
    field = data.draw(st.sampled_from(dataclasses.fields(hint)))
    broken = copy.deepcopy(value)
    del _at(broken, path)[field.name]
    defaults = (field.default, field.default_factory)
    has_default = any(default is not dataclasses.MISSING for default in defaults)
    if has_default and field.name != "schema":
        assert schema.from_json(cls, broken)
    else:
        with pytest.raises(schema.SchemaError, match=field.name):
            schema.from_json(cls, broken)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@settings(max_examples=40)
@given(data=st.data())
def test_a_value_of_the_wrong_type_is_refused(cls: type[Any], data: st.DataObject) -> None:
    value = schema.to_json(data.draw(_strategy(cls)))
    hint, path = data.draw(st.sampled_from(list(_places(cls, value))))
    broken = _put(value, path, data.draw(st.sampled_from(_wrong_values(hint))))
    with pytest.raises(schema.SchemaError) as caught:
        schema.from_json(cls, broken)
    assert "\n" not in str(caught.value)


@given(JSON)
def test_any_json_is_either_a_protocol_or_refused(value: Any) -> None:
    with pytest.raises(schema.SchemaError):
        schema.loads(schema.Protocol, json.dumps(value))


@given(st.text())
def test_any_text_is_either_json_or_refused(text: str) -> None:
    with pytest.raises(schema.SchemaError):
        schema.loads(schema.Manifest, text)
