"""The one base of every error that a user may see: one line, a way out, an exit code.

Exit codes: 0 done or ship, 1 hold, 2 bad request, 3 missing extra, tool or device,
4 inconclusive, 5 invalid measurement, 130 interrupted.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_HOLD = 1
EXIT_BAD_REQUEST = 2
EXIT_MISSING = 3
EXIT_INCONCLUSIVE = 4
EXIT_INVALID_MEASUREMENT = 5
EXIT_INTERNAL = 70
"""A bug of ours (sysexits' EX_SOFTWARE): not one of the documented outcomes."""
EXIT_INTERRUPTED = 130


class ParedownError(Exception):
    """A failure the user can act on.

    Args:
        message: what was wrong, with the offending value.
        hint: the way out, as an instruction or a command; may be empty.
    """

    exit_code = EXIT_HOLD

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        line = f"{self.message}; {self.hint}" if self.hint else self.message
        return " ".join(line.split())


class BadRequestError(ParedownError):
    """The request itself cannot be served: a wrong value, a wrong file, a wrong combination."""

    exit_code = EXIT_BAD_REQUEST


class MissingError(ParedownError):
    """An optional package, a tool or a device is not here."""

    exit_code = EXIT_MISSING


class BrokenBundleError(BadRequestError):
    """A bundle whose bytes are not what its manifest says."""


class InvalidMeasurementError(ParedownError):
    """A measurement that was made but must not be believed."""

    exit_code = EXIT_INVALID_MEASUREMENT
