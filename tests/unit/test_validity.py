"""What makes launches suspect or invalid: every reason, from the sensor stream that shows it."""

from __future__ import annotations

import dataclasses

import pytest

from runtime_py.schema import LaunchRecord, Reading, Sample, Snapshot
from toolchain.profiling.validity import judge

QUIET = {
    "cpu_count": Reading(4.0),
    "boot_id": Reading("one"),
    "governor": Reading("performance"),
    "cpu_frequency_hz": Reading(2.4e9),
    "cpu_frequency_max_hz": Reading(2.4e9),
    "load_average_1m": Reading(0.5),
    "other_work_cores": Reading(0.02),
    "throttled_now": Reading("nothing"),
    "throttled_since_boot": Reading("nothing"),
    "temperature_celsius": Reading(51.0),
}
MOVING = {
    name: reading.value
    for name, reading in QUIET.items()
    if reading.value is not None and name not in ("cpu_count", "boot_id", "load_average_1m")
}


def _launch(
    token_ms: int = 10, trace: tuple[dict[str, float | str], ...] = ({}, {}), **facts: Reading
) -> LaunchRecord:
    snapshots = [Snapshot(i, {**MOVING, **moving}) for i, moving in enumerate(trace)]
    samples = [Sample(20_000_000, 21_000_000, [token_ms * 10**6] * 2)]
    return LaunchRecord(
        3_000_000,
        samples,
        None,
        "onnxruntime",
        {},
        {**QUIET, **facts},
        trace=snapshots,
        drift_ns=[1000, 1010],
        clock_jump_ns=2000,
    )


def _trace(*steps: dict[str, float | str]) -> LaunchRecord:
    return _launch(trace=steps)


def test_quiet_launches_are_valid() -> None:
    assert judge([_launch()] * 3, threads=1) == ("valid", [])


def test_launches_without_sensors_are_valid_when_they_agree() -> None:
    bare = dataclasses.replace(_launch(), device={}, trace=[], drift_ns=[], clock_jump_ns=None)
    assert judge([bare, bare], threads=1) == ("valid", [])


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (_trace({}, {"throttled_now": "throttled"}, {}), "throttled during the run: throttled"),
        (
            _trace({}, {"throttled_now": "under-voltage, clock capped"}),
            "throttled during the run: under-voltage, clock capped",
        ),
        (
            _trace({}, {"throttled_since_boot": "soft temperature limit"}),
            "throttled during the run: soft temperature limit",
        ),
        (
            _trace({"thermal_throttle_count": 5.0}, {"thermal_throttle_count": 8.0}),
            "throttled for heat 3 times",
        ),
        (_trace({}, {"governor": "powersave"}), "governor changed during the run"),
        (_launch(governor=Reading("powersave")), "governor changed during the run"),
        (_launch(cpu_frequency_max_hz=Reading(1.5e9)), "cpu_frequency_max_hz changed"),
        (_launch(boot_id=Reading("two")), "the device restarted"),
        (dataclasses.replace(_launch(), drift_ns=[1000, 1400]), "drifted by 40%"),
        (dataclasses.replace(_launch(), clock_jump_ns=-7200 * 10**9), "jumped by -7200.0 s"),
        (_trace({"swapped_pages": 10.0}, {"swapped_pages": 1010.0}), "swapped 1,000 pages"),
        (_trace({}, {"thermal_status": "severe"}), "thermal status was severe"),
        (_trace({}, {"thermal_status": "unknown (9)"}), "thermal status was shutdown"),
    ],
)
def test_what_makes_launches_invalid(second: LaunchRecord, words: str) -> None:
    validity, reasons = judge([_launch(), second], threads=1)
    assert validity == "invalid"
    assert words in reasons[0]


@pytest.mark.parametrize(
    ("second", "threads", "words"),
    [
        (_launch(12), 1, "decode speed varies by 12.9% between launches"),
        (_trace({}, {"cpu_frequency_hz": 1.5e9}), 1, "clock changed during the run: 1500 to 2400"),
        (_launch(other_work_cores=Reading(1.3)), 1, "other work kept 1.3 of 4 cores busy"),
        (_launch(), 5, "5 threads on 4 cores"),
        (dataclasses.replace(_launch(), drift_ns=[1000, 1100]), 1, "drifted by 10%"),
        (_trace({}, {"temperature_celsius": 82.0}), 1, "it was 82 °C hot"),
        (_trace({}, {"thermal_status": "moderate"}), 1, "thermal status was moderate"),
        (_trace({}, {"battery_percent": 12.0}), 1, "the battery was at 12%"),
        (_trace({}, {"battery_charging": "yes"}), 1, "the battery was charging"),
    ],
)
def test_what_makes_launches_suspect(second: LaunchRecord, threads: int, words: str) -> None:
    validity, reasons = judge([_launch(), second], threads)
    assert validity == "suspect"
    assert len(reasons) == 1
    assert words in reasons[0]


def test_one_throttled_reading_of_many_is_enough() -> None:
    """In any launch, at any place of the stream, of any phase."""
    for place in range(20):
        steps: list[dict[str, float | str]] = [{} for _ in range(20)]
        steps[place]["throttled_now"] = "throttled"
        throttled = dataclasses.replace(_trace(*steps), phase="sustained")
        assert judge([_launch(), _launch(), throttled], 1)[0] == "invalid", place


def test_throttling_before_the_run_is_said_and_is_not_its_own() -> None:
    old = _launch(
        trace=({"throttled_since_boot": "under-voltage"},) * 2,
        throttled_since_boot=Reading("under-voltage"),
    )
    validity, reasons = judge([old, old], 1)
    assert validity == "suspect"
    assert reasons[0].startswith("throttled since boot (under-voltage)")


def test_an_idle_clock_before_the_first_repetition_is_no_change() -> None:
    idle = _trace({"cpu_frequency_hz": 6e8}, {}, {})
    assert judge([idle, idle], 1) == ("valid", [])


def test_an_idle_clock_after_the_last_repetition_is_no_change() -> None:
    """A shell's last look comes when the engine has ended; one in between counts."""
    launch = _trace({}, {}, {"cpu_frequency_hz": 6e8})
    after = [dataclasses.replace(launch.trace[2], at_ns=41_000_001)]
    idle = dataclasses.replace(launch, trace=launch.trace[:2] + after)
    assert judge([idle, idle], 1) == ("valid", [])
    assert judge([launch, launch], 1)[0] == "suspect"


def test_invalid_reasons_come_first() -> None:
    launch = _trace({}, {"battery_charging": "yes", "throttled_now": "throttled"})
    validity, reasons = judge([launch], 1)
    assert validity == "invalid"
    assert "throttled" in reasons[0]
    assert len(reasons) == 3


def test_a_single_launch_is_suspect() -> None:
    validity, reasons = judge([_launch()], threads=1)
    assert validity == "suspect"
    assert "single launch" in reasons[0]


def test_the_load_average_counts_only_where_nothing_better_is_known() -> None:
    loaded = Reading(9.0)
    absent = Reading(None, "no /proc/stat")
    assert judge([_launch(load_average_1m=loaded)] * 2, 1)[0] == "valid"
    fallback = [_launch(load_average_1m=loaded, other_work_cores=absent)] * 2
    assert judge(fallback, 1) == ("suspect", ["the load average was 9.0 on 4 cores"])
