"""The core on a JVM: its own tests, and the contract with the Python side in both directions."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import random
import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from handmade_bundle import write_bundle
from jvm import Jvm

from runtime_py.measure import workload
from runtime_py.schema import (
    LaunchRecord,
    Manifest,
    Protocol,
    Reading,
    Sample,
    SchemaError,
    Snapshot,
    dumps,
    from_json,
    loads,
    to_json,
)
from toolchain.profiling.stats import summarize
from toolchain.profiling.validity import judge

pytest_plugins = ("android_fixtures",)


def test_the_java_tests_pass(jvm: Jvm) -> None:
    folder = jvm.classes / "core-test"
    names = [
        path.relative_to(folder).with_suffix("").as_posix().replace("/", ".")
        for path in sorted(folder.rglob("*Test.class"))
    ]
    assert len(names) >= 12
    done = jvm.java("org.junit.runner.JUnitCore", *names)
    assert done.returncode == 0, done.stdout
    count = re.search(r"OK \((\d+) tests\)", done.stdout)
    assert count is not None
    assert int(count[1]) >= 90


def test_json_means_the_same_in_both_languages(jvm: Jvm) -> None:
    rng = random.Random(5)  # noqa: S311 - files to read, no secrets
    values = [made_json(rng, 4) for _ in range(200)]
    texts = [json.dumps(value, ensure_ascii=rng.random() < 0.5) for value in values]
    answers = jvm.ask([("json", text) for text in texts])
    assert [answer["answer"] for answer in answers] == values


@pytest.mark.parametrize("cls", [Manifest, Protocol, LaunchRecord])
def test_both_languages_accept_and_refuse_the_same_files(jvm: Jvm, cls: type[Any]) -> None:
    """Random files of the class, and each of them with one fault somewhere."""
    rng = random.Random(11)  # noqa: S311
    texts = []
    for _ in range(40):
        value = to_json(made(cls, rng))
        texts.append(dumps(value))
        texts += [dumps(with_fault(value, rng)) for _ in range(8)]
    answers = jvm.ask([(cls.__name__, text) for text in texts])
    accepted = 0
    for text, answer in zip(texts, answers, strict=True):
        try:
            read = loads(cls, text)
        except SchemaError as error:
            assert "error" in answer, f"only Python refuses: {error}"
            continue
        accepted += 1
        assert "error" not in answer, f"only Java refuses: {answer['error']}"
        if cls is LaunchRecord:
            assert from_json(LaunchRecord, answer["answer"]) == read
    assert 40 <= accepted <= 200


def test_the_prompt_is_the_same_one(jvm: Jvm, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    manifest = write_bundle(bundle)
    sizes = ((1, 0), (7, 20), (40, 3))
    protocols = [Protocol(prompt_tokens=n, generated_tokens=2, depth=d) for n, d in sizes]
    answers = jvm.ask(
        [
            ("workload", json.dumps({"bundle": str(bundle), "protocol": to_json(protocol)}))
            for protocol in protocols
        ]
    )
    for protocol, answer in zip(protocols, answers, strict=True):
        work = workload(bundle, manifest, protocol)
        assert answer["answer"] == [work.depth_ids, work.prompt_ids]


def test_rows_and_validity_are_those_of_the_host(jvm: Jvm) -> None:
    rng = random.Random(23)  # noqa: S311
    protocol = Protocol(prompt_tokens=32, generated_tokens=8, threads=4)
    runs = [made_run(rng) for _ in range(60)]
    texts = [
        json.dumps({"protocol": to_json(protocol), "launches": to_json(launches)})
        for launches in runs
    ]
    verdicts = set()
    for launches, reply in zip(runs, jvm.ask([("report", text) for text in texts]), strict=True):
        answer = reply["answer"]
        timed = [launch for launch in launches if launch.phase == "time"]
        extra = [launch for launch in launches if launch.phase != "time"]
        expected = summarize(timed, extra, protocol.prompt_tokens)
        assert answer["absent"] == expected.absent
        assert set(answer["rows"]) == set(expected.rows)
        for key, row in expected.rows.items():
            found = answer["rows"][key]
            for name in ("median", "low", "high"):
                value = getattr(row, name)
                if value is None:
                    assert found[name] is None
                else:
                    assert math.isclose(found[name], value, rel_tol=1e-9), (key, name)
            assert found["launches"] == row.launches
        verdict, reasons = judge(launches, protocol.threads)
        assert answer["reasons"] == reasons
        assert answer["verdict"] == verdict
        verdicts.add(verdict)
    assert verdicts == {"valid", "suspect", "invalid"}


# Random files


def made_json(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(8 if depth else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.randrange(-(2**63), 2**63) >> rng.randrange(64)
    if kind == 2:
        return rng.choice([0.0, -0.0, 1e-310, 1.7e308, rng.gauss(0, 1), rng.gauss(0, 1e30)])
    if kind < 6:
        return made_text(rng)
    count = rng.randrange(4)
    if kind == 6:
        return [made_json(rng, depth - 1) for _ in range(count)]
    return {made_text(rng): made_json(rng, depth - 1) for _ in range(count)}


def made_text(rng: random.Random) -> str:
    alphabet = 'az"\\/\n\t\r\b\x01 éß漢\u2028😀\U0010ffff'
    return "".join(rng.choice(alphabet) for _ in range(rng.randrange(6)))


def made(cls: type[Any], rng: random.Random) -> Any:
    """A random instance; each field with a default keeps it half of the time."""
    hints = typing.get_type_hints(cls)
    values = {}
    for field in dataclasses.fields(cls):
        default = field.default is not dataclasses.MISSING
        if field.name == "schema" or (default and rng.random() < 0.5):
            continue
        values[field.name] = made_value(hints[field.name], rng)
    return cls(**values)


def made_value(hint: Any, rng: random.Random) -> Any:
    if dataclasses.is_dataclass(hint):
        return made(typing.cast("type[Any]", hint), rng)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return [made_value(arguments[0], rng) for _ in range(rng.randrange(4))]
    if origin is dict:
        count = rng.randrange(4)
        return {f"k{i}{made_text(rng)}": made_value(arguments[1], rng) for i in range(count)}
    if arguments:
        return made_value(rng.choice(arguments), rng)
    plain: dict[Any, Callable[[], Any]] = {
        int: lambda: rng.randrange(-1000, 10**6),
        float: lambda: rng.choice([rng.gauss(0, 100), float(rng.randrange(100))]),
        str: lambda: made_text(rng),
        bool: lambda: rng.random() < 0.5,
        Any: lambda: made_json(rng, 2),
        type(None): lambda: None,
    }
    return plain[hint]()


def with_fault(value: Any, rng: random.Random) -> Any:
    """A copy with a key dropped, added or renamed, or a value replaced, somewhere."""
    changed = copy.deepcopy(value)
    place = changed
    while True:
        inner = list(place.values()) if isinstance(place, dict) else place
        deeper = [v for v in inner if isinstance(v, dict | list) and v]
        if not deeper or rng.random() < 0.4:
            break
        place = rng.choice(deeper)
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    key = rng.choice(keys)
    fault = rng.randrange(3)
    if fault == 0:
        del place[key]
    elif fault == 1 and isinstance(place, dict):
        place[made_text(rng) + "new"] = 1
    else:
        place[key] = rng.choice([None, True, 3, 3.5, "text", [], {}, [None], {"a": None}])
    return changed


def made_run(rng: random.Random) -> list[LaunchRecord]:
    """Launches of every phase on a phone that is quiet, or sometimes hot, busy or throttled."""
    quiet = rng.random() < 0.3
    spread = 0.005 if quiet else rng.choice([0.005, 0.2])
    kinds = ["time"] * rng.randrange(2 if quiet else 1, 6)
    kinds += ["cold"] * rng.randrange(3) + ["memory"] * rng.randrange(3)
    kinds += ["sustained"] * rng.randrange(2)
    return [made_launch(rng, kind, rng.gauss(1, spread), quiet) for kind in kinds]


def made_launch(rng: random.Random, phase: str, speed: float, quiet: bool) -> LaunchRecord:
    memory = phase == "memory" and rng.random() < 0.8
    drifts, jumps = [1.0, 1.001], [None, 5, -(10**7)]
    if not quiet:
        drifts += [1.1, 1.4]
        jumps += [7 * 10**8]
    return LaunchRecord(
        load_ns=rng.randrange(10**6, 10**9),
        samples=[] if phase == "cold" else made_samples(rng, speed),
        peak_rss_bytes=rng.choice([None, rng.randrange(10**9)]),
        engine="onnxruntime",
        engine_versions={"onnxruntime": "1"},
        device=made_device(rng, quiet),
        phase=phase,
        pss_bytes=rng.randrange(10**9) if memory else None,
        anon_bytes=rng.randrange(10**9) if memory else None,
        file_bytes=rng.randrange(10**9) if memory else None,
        trace=[Snapshot(i * 10**9, made_moving(rng, quiet)) for i in range(rng.randrange(4))],
        drift_ns=[int(6e5 * rng.choice(drifts)) for _ in range(rng.choice([0, 2]))],
        clock_jump_ns=rng.choice(jumps),
    )


def made_samples(rng: random.Random, speed: float) -> list[Sample]:
    samples, start = [], 0
    for _ in range(rng.randrange(1, 7)):
        tokens = [int(abs(speed) * rng.uniform(9e5, 1e6)) + 1 for _ in range(8)]
        prefill = rng.randrange(10**6, 10**8)
        samples.append(Sample(prefill, prefill + 1000, tokens, start))
        start += prefill + 1000 + sum(tokens) + rng.choice([0, 50 * 10**9])
    return samples


def made_moving(rng: random.Random, quiet: bool) -> dict[str, float | str]:
    calm = quiet or rng.random() < 0.85
    readings: dict[str, float | str] = {
        "governor": "schedutil" if calm else "performance",
        "cpu_frequency_hz": 2.0e9 if calm else 1.1e9,
        "cpu_frequency_max_hz": 2.4e9,
        "temperature_celsius": 40.0 if calm else 83.0,
        "swapped_pages": 0.0 if calm else 4096.0,
        "thermal_status": "none" if calm else rng.choice(["light", "severe", "odd"]),
        "battery_percent": 80.0 if calm else 15.0,
        "battery_charging": "no" if calm else "yes",
    }
    return {key: value for key, value in readings.items() if rng.random() < 0.7}


def made_device(rng: random.Random, quiet: bool) -> dict[str, Reading]:
    readings = {key: Reading(value) for key, value in made_moving(rng, quiet).items()}
    busy = [] if quiet else [1.5]
    readings["cpu_count"] = Reading(rng.choice([8.0, None] if quiet else [8.0, 8.0, 2.0, None]))
    readings["other_work_cores"] = Reading(rng.choice([0.01, 0.02, None, *busy]), "no /proc/stat")
    readings["load_average_1m"] = Reading(rng.choice([0.5, 7.5] if quiet else [0.5, 9.5]))
    readings["boot_id"] = Reading("a" if quiet or rng.random() < 0.97 else "b")
    if rng.random() < 0.5:
        readings["page_cache_resident"] = Reading(rng.choice([0.0, 0.01, 0.37]))
    if rng.random() < 0.7:
        readings["launch_energy_joules"] = Reading(rng.choice([None, 0.0, 3.5]), "no meter")
    return readings
