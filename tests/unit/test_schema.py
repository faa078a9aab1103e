"""The contract's derived values and the wording of its refusals."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from runtime_py.errors import BadRequestError
from runtime_py.schema import (
    MemoryPrediction,
    Protocol,
    Reading,
    SchemaError,
    dumps,
    from_json,
    loads,
    sha256_of_json,
    to_json,
)


def test_total_of_a_memory_prediction() -> None:
    assert MemoryPrediction(1, 20, 300).total_bytes == 321


def _other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    return f"{value}x" if isinstance(value, str) else (value or 0) + 1


def test_every_field_of_a_protocol_changes_its_fingerprint() -> None:
    base = Protocol()
    prints = {base.fingerprint}
    for field in dataclasses.fields(Protocol):
        if field.name != "schema":
            changed = dataclasses.replace(base, **{field.name: _other(getattr(base, field.name))})
            prints.add(changed.fingerprint)
    assert len(prints) == len(dataclasses.fields(Protocol))
    assert all(len(p) == 16 and int(p, 16) >= 0 for p in prints)
    assert loads(Protocol, dumps(base)).fingerprint == base.fingerprint


def test_the_hash_of_json_ignores_the_order_of_keys() -> None:
    assert sha256_of_json({"a": 1, "b": [2]}) == sha256_of_json({"b": [2], "a": 1})
    assert sha256_of_json({"a": 1}) != sha256_of_json({"a": 2})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": "1"}, "Protocol.threads is '1', not int"),
        ({"threads": True}, "Protocol.threads is True, not int"),
        ({"thread": 1}, "Protocol has an unknown key 'thread'"),
        ({"schema": "paredown.protocol/9"}, "has schema 'paredown.protocol/9', not"),
    ],
)
def test_refusals_name_the_place(change: dict[str, object], message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        from_json(Protocol, {**to_json(Protocol()), **change})
    assert message in str(caught.value)
    assert isinstance(caught.value, BadRequestError)


def test_a_whole_number_is_a_float_but_not_the_reverse() -> None:
    assert isinstance(from_json(Reading, {"value": 3}).value, float)
    with pytest.raises(SchemaError):
        from_json(MemoryPrediction, {**to_json(MemoryPrediction(1, 2, 3)), "weights_bytes": 1.0})


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
def test_numbers_that_json_cannot_carry_are_refused(text: str) -> None:
    with pytest.raises(SchemaError, match="value"):
        loads(Reading, f'{{"value": {text}}}')
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(Reading(float("nan")))


def test_not_json_names_the_source() -> None:
    with pytest.raises(SchemaError, match=r"report\.json is not JSON"):
        loads(Protocol, "{", "report.json")
    assert json.loads(dumps(Protocol()))["schema"] == "paredown.protocol/2"
