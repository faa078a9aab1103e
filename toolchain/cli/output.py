"""stdout is the result, stderr the talk: progress bars, notes, and the switch to JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, Any

import typer

from runtime_py.errors import discard_stdout
from toolchain.progress import Progress, Task
from toolchain.quiet import NOISY_LOGGERS

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ViaOption = Annotated[
    str | None,
    typer.Option(help="How an adb: device measures: runner, or app.  [default: runner]"),
]


def emit(result: Any, as_json: bool, text: str) -> None:
    """Print a result: as JSON for a machine, else the text for a person.

    A reader that went away changes no exit code, which may say ship or hold.
    """
    emit_text(json.dumps(result, indent=2, ensure_ascii=False) if as_json else text)


def emit_text(text: str) -> None:
    """Print a result as it is, with a newline at its end."""
    try:
        print(text.removesuffix("\n"), flush=True)
    except BrokenPipeError:
        discard_stdout()


def quiet_libraries() -> None:
    """Keep other libraries' notices off the user's stderr; ours are the only ones to read."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


class _Bar:
    def __init__(self, bars: Any, bar_id: Any) -> None:
        self._bars = bars
        self._id = bar_id

    def advance(self, steps: int = 1) -> None:
        self._bars.advance(self._id, steps)


class _RichProgress:
    """`toolchain.progress.Progress` drawn with rich on stderr."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars

    @contextmanager
    def _bar(self, description: str, total: int | None) -> Iterator[Task]:
        bar_id = self._bars.add_task(description, total=total)
        try:
            yield _Bar(self._bars, bar_id)
        finally:
            self._bars.remove_task(bar_id)

    def task(self, description: str, total: int | None) -> AbstractContextManager[Task]:
        return self._bar(description, total)

    def note(self, message: str) -> None:
        self._bars.console.print(message, highlight=False, markup=False, soft_wrap=True)


class _Lines:
    """Progress for a stderr that is no terminal: a line when a long task starts, nothing moves."""

    @contextmanager
    def _line(self, description: str, total: int | None) -> Iterator[Task]:
        if total is not None:  # without a number of steps it is a short one
            self.note(description)
        yield self

    def advance(self, steps: int = 1) -> None:
        del steps

    def task(self, description: str, total: int | None) -> AbstractContextManager[Task]:
        return self._line(description, total)

    def note(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)


@contextmanager
def progress_on_stderr() -> Iterator[Progress]:
    """Progress for one verb: moving bars on a terminal, plain lines elsewhere."""
    quiet_libraries()
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _RichProgress(bars)
