"""The one base of every error that a user may see: one line, a way out, an exit code.

Exit codes: 0 done or ship, 1 hold, 2 bad request, 3 missing extra, tool or device,
4 inconclusive, 5 invalid measurement, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback

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


def fail(program: str, message: str, exit_code: int) -> int:
    """Say in one line on stderr why `program` ends; the exit code."""
    print(f"{program}: {' '.join(message.split())}", file=sys.stderr)
    return exit_code


def discard_stdout() -> None:
    """After the reader of our output went away (`... | head`), which is no failure of ours.

    Keeps the interpreter from complaining when it flushes at exit.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail_with(program: str, error: Exception) -> int:
    """End `program` for any error, in one line and without a traceback; the exit code.

    Set PAREDOWN_DEBUG=1 to see the traceback.
    """
    if isinstance(error, BrokenPipeError):
        discard_stdout()
        return EXIT_OK
    if os.environ.get("PAREDOWN_DEBUG"):
        traceback.print_exc()
    if isinstance(error, ParedownError):
        return fail(program, str(error), error.exit_code)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        message = f"no space left on the device: {error.filename}; free some"
        return fail(program, message, EXIT_BAD_REQUEST)
    line = f"internal error: {type(error).__name__}: {error}; PAREDOWN_DEBUG=1 shows where"
    return fail(program, line, EXIT_INTERNAL)
