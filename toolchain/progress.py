"""Progress as an interface: long work reports to it, the command line draws it on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

T = TypeVar("T")


class Task(Protocol):
    """One bar: `advance` moves it by `steps`."""

    def advance(self, steps: int = 1) -> None: ...


class Progress(Protocol):
    """What long work talks to."""

    def task(self, description: str, total: int | None) -> AbstractContextManager[Task]:
        """Open a bar of `total` steps (None: unknown length) for the duration of the block."""
        ...

    def note(self, message: str) -> None:
        """Say one line."""
        ...


class _SilentTask:
    def advance(self, steps: int = 1) -> None:
        del steps


class Silent:
    """Progress that shows nothing; the default of every library function."""

    def task(self, description: str, total: int | None) -> AbstractContextManager[Task]:
        del description, total
        return nullcontext(_SilentTask())

    def note(self, message: str) -> None:
        del message


SILENT = Silent()


def track(items: Iterable[T], progress: Progress, description: str, total: int) -> Iterator[T]:
    """Yield `items` while advancing a bar of `total` steps."""
    with progress.task(description, total) as task:
        for item in items:
            yield item
            task.advance()
