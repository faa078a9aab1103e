"""What the kernel says about this process: memory, cores it may use, and others' work beside it."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from runtime_py.schema import Reading
from runtime_py.sensors.linux import busy_seconds
from runtime_py.sensors.source import LocalSource, Source, kibibytes
from runtime_py.sensors.topology import big_cores, cores, ranges

HERE = LocalSource()
SHORTEST_S = 0.2
"""Twenty ticks of the kernel's processor times: less says nothing about others' work."""


def peak_rss_bytes(source: Source = HERE) -> int | None:
    """Largest resident set of this process: VmHWM, else getrusage, else None.

    VmHWM comes first because ru_maxrss survives exec: a small child of a large parent reports
    the parent's.
    """
    peak = status_bytes("VmHWM", source)
    if peak is not None:
        return peak
    try:
        import resource
    except ImportError:
        return None
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024


def status_bytes(name: str, source: Source = HERE) -> int | None:
    """A size of /proc/self/status, such as VmRSS, RssAnon or RssFile."""
    value = kibibytes(source, "proc/self/status", name).value
    return int(value) if isinstance(value, float) else None


def pss_bytes(source: Source = HERE) -> int | None:
    """Pss of /proc/self/smaps_rollup; reading it takes milliseconds.

    Kernels before 4.14 (Android 9 and older) list the mappings, but do not add them up.
    """
    value = kibibytes(source, "proc/self/smaps_rollup", "Pss").value
    if isinstance(value, float):
        return int(value)
    mappings = source.read("proc/self/smaps") or ""
    sizes = re.findall(r"^Pss:\s*(\d+) kB$", mappings, re.MULTILINE)
    return 1024 * sum(map(int, sizes)) if sizes else None


def available_cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_cores(affinity: str, threads: int, source: Source = HERE) -> Reading:
    """Bind this process to the cores that `Protocol.affinity` asks for; those that it may use now.

    A request that the system refuses leaves the process as it was, and the reading says so.
    """
    if not hasattr(os, "sched_setaffinity"):
        return Reading(None, "this system binds no process to cores")
    allowed = os.sched_getaffinity(0)
    reason = ""
    if affinity == "big":
        wanted = set(big_cores([c for c in cores(source) if c.index in allowed], threads))
        try:
            os.sched_setaffinity(0, wanted or allowed)
        except OSError as error:
            reason = f"binding to cores {ranges(wanted)} was refused: {error.strerror}"
    return Reading(ranges(os.sched_getaffinity(0)), reason)


class OtherWork:
    """What other processes did with the processors while this one, or its children, measured."""

    def __init__(self, source: Source = HERE) -> None:
        self._source = source
        self._start = busy_seconds(source)
        self._own = _own_seconds()
        self._wall = time.perf_counter()

    def cores(self) -> Reading:
        """Busy processors since construction, on average, less this process's own."""
        busy = busy_seconds(self._source)
        own = _own_seconds() - self._own
        wall = time.perf_counter() - self._wall
        if busy is None or self._start is None:
            return Reading(None, "/proc/stat cannot be read")
        if wall < SHORTEST_S:
            return Reading(None, f"{wall:.3f} s are too short for the kernel's ticks")
        # The kernel counts in ticks, so little work may come out slightly below zero.
        return Reading(max(0.0, (busy - self._start - own) / wall))


def drop_page_cache(paths: Sequence[Path]) -> Reading:
    """Drop files from the page cache; the share of their pages that stayed (0 is a cold cache).

    posix_fadvise(DONTNEED) needs no privilege; pages that are dirty or mapped elsewhere stay.
    """
    if not hasattr(os, "posix_fadvise"):
        return Reading(None, "this system has no posix_fadvise: the load was not cold")
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    return page_cache_resident(paths)


def page_cache_resident(paths: Iterable[Path]) -> Reading:
    """Share of the files' pages that are in the page cache, by mincore(2)."""
    resident = total = 0
    for path in paths:
        size = path.stat().st_size
        if size == 0:
            continue
        pages = -(-size // mmap.PAGESIZE)
        vector = (ctypes.c_ubyte * pages)()
        if not _mincore(path, size, vector):
            return Reading(None, "mincore does not say what is in the page cache")
        resident += sum(byte & 1 for byte in bytes(vector))
        total += pages
    return Reading(resident / total if total else 0.0)


def _mincore(path: Path, size: int, vector: ctypes.Array[ctypes.c_ubyte]) -> bool:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mincore"):
        return False
    # ctypes hands out the address of a writable mapping only; nothing is written to this one.
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        view = ctypes.c_char.from_buffer(mapped)
        address = ctypes.c_void_p(ctypes.addressof(view))
        status = libc.mincore(address, ctypes.c_size_t(size), vector)
        del view  # the mapping cannot be closed while its address is held
    return bool(status == 0)


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
