"""What tests of several transports share: engines that run, waiting, the command line."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from toolchain.errors import EXIT_INVALID_MEASUREMENT, EXIT_OK

ROOT = Path(__file__).parents[2]
PAREDOWN = (sys.executable, "-c", "import sys; from toolchain.cli import main; sys.exit(main())")


class Talk:
    """Progress that keeps what is said and calls `on_step` at every step."""

    def __init__(self, on_step: Callable[[], None] = lambda: None) -> None:
        self.titles: list[str] = []
        self.notes: list[str] = []
        self._on_step = on_step

    @contextlib.contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Talk]:
        del total
        self.titles.append(description)
        yield self

    def advance(self, steps: int = 1) -> None:
        for _ in range(steps):
            self._on_step()

    def note(self, message: str) -> None:
        self.notes.append(message)


def profile(*arguments: str) -> Any:
    """Run `paredown profile ... --json` in a process of its own; its result.

    Status 5 is as good as 0 here: a busy host makes a measurement invalid, and it says so.
    """
    command = [*PAREDOWN, "profile", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode in (EXIT_OK, EXIT_INVALID_MEASUREMENT), done.stderr
    return json.loads(done.stdout)


def engines(program: str, folder: str) -> list[int]:
    """Processes of `program` that measure what lies in `folder`.

    Its name is one of the first words: emulators, interpreters and their options come before it.
    """
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = cmdline.read_bytes().decode("utf-8", "replace").split("\0")
            starts = any(word.endswith(program) for word in words[:6])
            if starts and "measure" in words and any(folder in word for word in words):
                found.append(int(cmdline.parent.name))
    return sorted(found)


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Until the condition holds; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


@contextlib.contextmanager
def when_it_runs(find: Callable[[], list[int]], act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with the engine's process once `find` finds one and it had time to compute."""

    def wait_and_act() -> None:
        engines: list[int] = []
        while not engines:  # one that is gone by then was another's, or a launch before
            wait_until(find)
            time.sleep(1.0)
            engines = find()
        act(engines[-1])

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    try:
        yield
    finally:
        thread.join()
