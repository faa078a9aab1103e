"""Why the system killed an engine, as far as its logs may be read."""

from __future__ import annotations

from toolchain.devices.shell import Shell, run_script
from toolchain.errors import ParedownError

MEMORY_HINT = (
    "probably too little memory: 'paredown doctor --device {uri}' says what is free, "
    "and a smaller quantisation or --context needs less"
)


def who_killed(shell: Shell, pid: int) -> str:
    """A hint for an engine that got SIGKILL without anybody asking."""
    advice = MEMORY_HINT.format(uri=shell.uri)
    try:
        lines = run_script(shell, "killers", [str(pid)])
    except ParedownError:
        return advice
    if "unreadable" in lines:
        return f"{advice} (its system log may not be read)"
    if lines:
        return f"its system log says: {lines[-1].strip()}; {advice}"
    return "its system log names no killer: somebody, or something, sent the signal"
