"""Machine facts and what moves while a launch runs. What is not there is null with a reason.

Every reading comes from a `Source`: this machine, a made-up root with made-up commands, or a
machine behind a shell; units are in the names.
"""

from __future__ import annotations

from runtime_py.schema import Reading, Snapshot
from runtime_py.sensors import android, linux, pi, power
from runtime_py.sensors.process import (
    HERE,
    OtherWork,
    available_cores,
    drop_page_cache,
    peak_rss_bytes,
    pss_bytes,
    status_bytes,
    use_cores,
)
from runtime_py.sensors.source import LocalSource, Source
from runtime_py.sensors.topology import clusters

__all__ = [
    "HERE",
    "LocalSource",
    "OtherWork",
    "Source",
    "available_cores",
    "drop_page_cache",
    "moving",
    "peak_rss_bytes",
    "pss_bytes",
    "read_all",
    "snapshot",
    "status_bytes",
    "use_cores",
]


def read_all(source: Source = HERE) -> dict[str, Reading]:
    """Every sensor by name."""
    return {
        **linux.facts(source),
        "clusters": clusters(source),
        **pi.facts(source),
        **moving(source),
    }


def moving(source: Source = HERE) -> dict[str, Reading]:
    """The sensors that may change while a launch runs.

    The firmware's and Android's temperature replace the hottest thermal zone where they exist.
    """
    return {
        **linux.moving(source),
        **power.moving(source),
        **pi.moving(source),
        **android.moving(source),
    }


def snapshot(at_ns: int, source: Source = HERE) -> Snapshot:
    """`moving` without what is absent, as of `at_ns`."""
    readings = moving(source)
    return Snapshot(at_ns, {k: r.value for k, r in readings.items() if r.value is not None})
