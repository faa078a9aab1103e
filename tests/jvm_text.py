"""Talks with the Java tokenizer and templates, in one JVM for all tests."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

MAIN = "dev.paredown.core.chat.TextServer"


class Refused(Exception):
    """The Java side said no, in a sentence."""


class JvmText:
    """A process that answers one JSON line with one."""

    def __init__(self, classes: Path) -> None:
        path = f"{classes / 'core'}:{classes / 'core-test'}"
        self._process = subprocess.Popen(
            ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", path, MAIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> JvmText:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def ask(self, op: str, **values: Any) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            Refused: with the sentence of the refusal.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"op": op, **values}).encode() + b"\n")
        stdin.flush()
        line = stdout.readline()
        assert line, "the JVM ended"
        answer: dict[str, Any] = json.loads(line)
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer
