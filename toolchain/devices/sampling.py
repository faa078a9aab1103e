"""Sensors of a device without Python, read while an engine runs: a second shell looks now and then.

A look is one process for all files and one for each command. It is followed by a pause a hundred
times as long, so that looking takes at most 1% of the time; what it took altogether is measured.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtime_py import sensors
from runtime_py.schema import Reading, Snapshot
from runtime_py.sensors.linux import busy_seconds
from toolchain.devices.readings import DumpedSource, Texts
from toolchain.devices.session import Session
from toolchain.devices.shell import ANSWER_S
from toolchain.errors import InvalidMeasurementError

SECONDS = 2
"""Shortest pause between two looks, as an agent's in a sustained launch."""
SHORTEST_S = 0.2
"""As `runtime_py.sensors.process.SHORTEST_S`: less is too few of the kernel's ticks."""
NS_PER_S = 1_000_000_000

_CPU = "/sys/devices/system/cpu/cpu[0-9]*"
PATTERNS = (
    *("/proc/stat", "/proc/vmstat"),
    *(f"{_CPU}/cpufreq/scaling_{n}" for n in ("governor", "cur_freq", "max_freq")),
    f"{_CPU}/thermal_throttle/*_throttle_count",
    "/sys/class/thermal/thermal_zone*/temp",
    "/sys/class/powercap/intel-rapl:[0-9]*/energy_uj",
    *(f"/sys/class/power_supply/*/{n}_now" for n in ("power", "current", "voltage")),
    "/sys/class/power_supply/*/status",
)
"""What `runtime_py.sensors.moving` and `busy_seconds` read; each says what it says in one word."""
COMMANDS = (
    *("vcgencmd,get_throttled", "vcgencmd,measure_temp", "vcgencmd,pmic_read_adc"),
    *("dumpsys,battery", "dumpsys,thermalservice"),
)
_TIMES = re.compile(r"(\d+)m([\d.]+)s")


@dataclass(frozen=True)
class Looks:
    """What was seen beside an engine."""

    trace: list[Snapshot]
    """Stamped with nanoseconds since the device's boot; the first before the engine started, the
    last after its end."""
    cpu_s: float
    """Processor time of looking."""
    busy_s: float | None
    """Processor time of everything on the device between the first look and the last."""

    @property
    def wall_s(self) -> float:
        """From the first look to the last."""
        return (self.trace[-1].at_ns - self.trace[0].at_ns) / NS_PER_S

    def facts(self, engine_cpu_s: float) -> dict[str, Reading]:
        """What it cost to look, and what others did, in cores' worth of work.

        Args:
            engine_cpu_s: processor time of the engine.
        """
        if self.wall_s < SHORTEST_S:
            short = Reading(None, f"{self.wall_s:.3f} s are too short for the kernel's ticks")
            return {"other_work_cores": short, "sampling_cores": short}
        others = Reading(None, "/proc/stat cannot be read")
        if self.busy_s is not None:
            left = self.busy_s - engine_cpu_s - self.cpu_s
            others = Reading(max(0.0, left / self.wall_s))
        return {"other_work_cores": others, "sampling_cores": Reading(self.cpu_s / self.wall_s)}


class Sampler:
    """Looks from its construction to `finish`; it ends with the session, too.

    Args:
        session: on the device; there is one sampler at a time.
        arch: of the device.

    Raises:
        MissingError: the device went away.
    """

    def __init__(self, session: Session, arch: str) -> None:
        self._arch = arch
        self._stream = session.beside("sample", [str(SECONDS), *PATTERNS, "--", *COMMANDS])
        try:
            self._stream.line(ANSWER_S)
        except BaseException:
            self._stream.close()
            raise

    def finish(self) -> Looks:
        """Look once more, and what was seen. Raises MissingError where the device went away."""
        self._stream.end_input()
        word, *sizes = self._stream.line(ANSWER_S).split()
        if word != "@looks":
            raise InvalidMeasurementError(f"the sensors' script said {word!r}")
        text = self._stream.read(int(sizes[0]), ANSWER_S).decode("utf-8", "replace")
        return parse_looks(text, self._arch)

    def close(self) -> None:
        """Stop looking."""
        self._stream.close()


def parse_looks(text: str, arch: str) -> Looks:
    """What `scripts/sample.sh` wrote.

    Raises:
        InvalidMeasurementError: it is something else.
    """
    looks, ended, cost = text.partition("@cost\n")
    parts = looks.split("@at ")[1:]
    if not ended or not parts:
        raise InvalidMeasurementError("the sensors' script was cut off")
    sources = [DumpedSource(_texts(part.splitlines()[1:]), arch) for part in parts]
    stamps = [round(float(part.split(None, 1)[0]) * NS_PER_S) for part in parts]
    first, last = busy_seconds(sources[0]), busy_seconds(sources[-1])
    return Looks(
        trace=[sensors.snapshot(at, source) for at, source in zip(stamps, sources, strict=True)],
        cpu_s=sum(60 * int(m) + float(s) for m, s in _TIMES.findall(cost)),
        busy_s=None if first is None or last is None else last - first,
    )


def _texts(lines: list[str]) -> Texts:
    """Files and commands of one look; a command that failed is left out."""
    texts: Texts = {}
    command: tuple[str, str] | None = None
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "@run":
            command = ("run", rest)
            texts[command] = ""
        elif word == "@status" and command is not None:
            if rest != "0":
                del texts[command]
            command = None
        elif command is not None:
            texts[command] += line + "\n"
        else:
            path, _, value = line.removeprefix("/").rpartition(":")
            texts["file", path] = texts.get(("file", path), "") + value + "\n"
            texts.setdefault(("dir", path.rpartition("/")[0]), "")
    return texts
