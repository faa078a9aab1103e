"""The sensors of a device behind a shell: all of them in one round trip."""

from __future__ import annotations

import fnmatch
import re

from runtime_py.schema import Reading
from toolchain.devices.shell import Shell, run_script

_CPU = "/sys/devices/system/cpu/cpu[0-9]*"
PATTERNS = (
    *(f"/proc/{n}" for n in ("cpuinfo", "meminfo", "vmstat", "stat", "loadavg", "uptime")),
    *("/proc/sys/kernel/osrelease", "/proc/sys/kernel/random/boot_id"),
    *("/proc/device-tree/model", "/sys/firmware/devicetree/base/model"),
    *(_CPU, f"{_CPU}/cpu_capacity", f"{_CPU}/thermal_throttle/*_throttle_count"),
    *(f"{_CPU}/cpufreq/scaling_{n}" for n in ("governor", "cur_freq", "max_freq")),
    f"{_CPU}/cpufreq/cpuinfo_max_freq",
    *("/sys/class/thermal/thermal_zone*/temp", "/sys/class/thermal/thermal_zone*/type"),
    *("/sys/class/powercap/intel-rapl:[0-9]*", "/sys/class/powercap/intel-rapl:[0-9]*/*_uj"),
    "/sys/class/power_supply/*",
    *(f"/sys/class/power_supply/*/{n}_now" for n in ("power", "current", "voltage")),
    "/sys/class/power_supply/*/status",
)
COMMANDS = (
    *("vcgencmd,get_throttled", "vcgencmd,measure_temp", "vcgencmd,measure_clock,arm"),
    *("vcgencmd,measure_volts", "vcgencmd,pmic_read_adc"),
    *("dumpsys,battery", "dumpsys,thermalservice"),
)
_HEAD = re.compile(r"^@(file|dir|run) (.+)$")


Texts = dict[tuple[str, str], str]
"""By kind (`file`, `dir` or `run`) and path without its first slash, or command."""


class DumpedSource:
    """What a device's files and commands said a moment ago; `runtime_py.sensors.Source`.

    Args:
        texts: what they said.
        arch: of the device.
    """

    def __init__(self, texts: Texts, arch: str) -> None:
        self._texts = texts
        self._arch = arch

    def read(self, path: str) -> str | None:
        """A file's text, or None where it cannot be read."""
        return self._texts.get(("file", path))

    def paths(self, pattern: str) -> list[str]:
        """Paths that match a glob pattern, sorted."""
        depth = pattern.count("/")
        known = {p for kind, p in self._texts if kind != "run" and p.count("/") == depth}
        return sorted(path for path in known if fnmatch.fnmatchcase(path, pattern))

    def run(self, *command: str) -> str | None:
        """Standard output of a command, or None where it is absent or fails."""
        return self._texts.get(("run", ",".join(command)))

    def own(self) -> dict[str, Reading]:
        """What no file says."""
        return {"machine": Reading(self._arch)}


def read_device(shell: Shell, arch: str) -> DumpedSource:
    """Ask the device for everything that a sensor is read from.

    Raises:
        MissingError: the connection broke.
    """
    texts: Texts = {}
    current: tuple[str, str] | None = None
    for line in run_script(shell, "dump", [*PATTERNS, "--", *COMMANDS]):
        head = _HEAD.match(line)
        if head is not None:
            current = (head[1], head[2].removeprefix("/"))
            texts[current] = ""
        elif current is not None:
            texts[current] += line + "\n"
    return DumpedSource(texts, arch)
