"""Entry point of `paredown-agent` and of `python -m runtime_py`."""

from __future__ import annotations

import io
import sys

from runtime_py.agent import PROGRAM, parser, run
from runtime_py.errors import EXIT_INTERRUPTED, fail, fail_with


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
    except KeyboardInterrupt:
        return fail(PROGRAM, "interrupted", EXIT_INTERRUPTED)
    except Exception as error:
        return fail_with(PROGRAM, error)


if __name__ == "__main__":
    sys.exit(main())
