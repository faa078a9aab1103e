"""Kinds of cores (big.LITTLE, performance and efficiency), and which of them to measure on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runtime_py.schema import Reading
from runtime_py.sensors.source import Source, number

_CPU = "sys/devices/system/cpu"


@dataclass(frozen=True)
class Core:
    """One logical processor; what the kernel does not say is None."""

    index: int
    max_hz: float | None
    capacity: float | None
    """Relative computing power, 1024 for the fastest kind; ARM only."""

    @property
    def rank(self) -> tuple[float, float]:
        """Larger is faster; cores of one kind have the same."""
        return (self.capacity or 0.0, self.max_hz or 0.0)


def cores(source: Source) -> list[Core]:
    """All cores that the kernel lists, by index."""
    found = []
    for path in source.paths(f"{_CPU}/cpu[0-9]*"):
        index = path.rpartition("/cpu")[2]
        if index.isdigit():
            max_hz = number(source, f"{path}/cpufreq/cpuinfo_max_freq", 1000.0).value
            capacity = number(source, f"{path}/cpu_capacity").value
            found.append(Core(int(index), _float(max_hz), _float(capacity)))
    return sorted(found, key=lambda core: core.index)


def big_cores(all_cores: Sequence[Core], threads: int) -> list[int]:
    """Indices of the fastest kinds of cores, just so many kinds that each thread has a core.

    Cores within a tenth of another's clock are of one kind (single cores of a laptop are sorted
    out as a little better than the rest).
    """
    chosen: list[Core] = []
    remaining = sorted(all_cores, key=lambda core: core.rank, reverse=True)
    while remaining and len(chosen) < threads:
        best = remaining[0]
        chosen += [core for core in remaining if _alike(core, best)]
        remaining = [core for core in remaining if not _alike(core, best)]
    return sorted(core.index for core in chosen)


def clusters(source: Source) -> Reading:
    """Kinds of cores and their top clocks as text: `0-3: 1800 MHz, 4-7: 2400 MHz`."""
    kinds: dict[tuple[float, float], list[Core]] = {}
    for core in cores(source):
        kinds.setdefault(core.rank, []).append(core)
    if not kinds:
        return Reading(None, f"no /{_CPU}/cpu*")
    parts = []
    for kind in kinds.values():
        clock = f": {kind[0].max_hz / 1e6:.0f} MHz" if kind[0].max_hz else ""
        parts.append(ranges(core.index for core in kind) + clock)
    return Reading(", ".join(parts))


def ranges(indices: Iterable[int]) -> str:
    """Indices as the kernel writes them: `0-3,6`."""
    parts: list[list[int]] = []
    for index in sorted(indices):
        if parts and index == parts[-1][-1] + 1:
            parts[-1].append(index)
        else:
            parts.append([index])
    return ",".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)


def _alike(core: Core, best: Core) -> bool:
    pairs = zip(core.rank, best.rank, strict=True)
    return all(own >= 0.9 * other for own, other in pairs)


def _float(value: float | str | None) -> float | None:
    return value if isinstance(value, float) else None
