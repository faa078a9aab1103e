"""Entry point of `paredown-agent` and of `python -m runtime_py`."""

from __future__ import annotations

import io
import os
import sys
import traceback

from runtime_py.agent import PROGRAM, parser, run
from runtime_py.errors import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_OK, ParedownError


def main(argv: list[str] | None = None) -> int:
    """Run the agent; the exit status. Errors are one line on stderr.

    Set PAREDOWN_DEBUG=1 to see the traceback of an internal error.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A model may say what the terminal's encoding cannot.
        sys.stdout.reconfigure(errors="replace")
    try:
        status = run(parser().parse_args(argv))
        sys.stdout.flush()
        return status
    except ParedownError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader is gone; keep the interpreter from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as error:
        if os.environ.get("PAREDOWN_DEBUG"):
            traceback.print_exc()
        line = " ".join(f"{type(error).__name__}: {error}".split())
        return _fail(f"internal error: {line}; PAREDOWN_DEBUG=1 shows where", EXIT_INTERNAL)


def _fail(message: str, exit_code: int) -> int:
    print(f"{PROGRAM}: {message}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
