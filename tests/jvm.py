"""The compiled core on a JVM: the headless program, and questions to its classes."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime_py.schema import Protocol, to_json

JUNIT = ("/usr/share/java/junit4.jar", "/usr/share/java/hamcrest-core.jar")
TIMEOUT_S = 240


@dataclass(frozen=True)
class Jvm:
    """Java with the classes of `compile.sh` and ONNX Runtime's Java API."""

    classes: Path
    tools: Path

    def command(self, main: str, *arguments: str) -> list[str]:
        """The command line that runs a class's `main`."""
        folders = ("core", "core-test", "engine-onnx", "host")
        paths = [str(self.classes / folder) for folder in folders]
        paths += [str(self.tools / "onnxruntime" / "onnxruntime.jar"), *JUNIT]
        return [
            "java",
            "-Xmx512m",
            "-XX:TieredStopAtLevel=1",  # short programs: less compiling
            "-XX:+UseSerialGC",
            f"-Donnxruntime.native.path={self.tools / 'onnxruntime' / 'native'}",
            "-cp",
            ":".join(paths),
            main,
            *arguments,
        ]

    def host_command(self, spec: Path, reports: Path) -> list[str]:
        """The command line of a headless run."""
        arguments = ("--spec", str(spec), "--reports", str(reports))
        return self.command("dev.paredown.host.HostMain", *arguments)

    def java(self, main: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a class's `main`."""
        return self._run(self.command(main, *arguments), stdin)

    def ask(self, questions: list[tuple[str, str]]) -> list[dict[str, Any]]:
        """Answers of `CrossTool` to (what, JSON text)."""
        lines = [json.dumps({"ask": what, "text": text}) for what, text in questions]
        done = self.java("dev.paredown.core.CrossTool", stdin="\n".join(lines) + "\n")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.split("\n") if line]

    def headless(self, spec: dict[str, Any], folder: Path) -> tuple[int, Any, str]:
        """Exit code, the JSON of the answer, and what went to stdout."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "spec.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        reports = folder / "reports"
        done = self._run(self.host_command(path, reports))
        assert reports.is_dir(), f"status {done.returncode}: {done.stdout}{done.stderr}"
        answers = [path for path in reports.iterdir() if not path.name.startswith(".")]
        assert len(answers) == 1, (answers, done.stderr)
        assert list(reports.iterdir()) == answers, "a half-written file was left"
        return done.returncode, json.loads(answers[0].read_text(encoding="utf-8")), done.stdout

    @staticmethod
    def _run(command: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=TIMEOUT_S,
        )


def check_spec(bundle: Path) -> dict[str, Any]:
    """Run the golden cases of a bundle."""
    return _spec("check", bundle)


def measure_spec(bundle: Path, protocol: Protocol) -> dict[str, Any]:
    """Measure a bundle with its own workload."""
    return _spec("measure", bundle, protocol=to_json(protocol), threads=protocol.threads)


def chat_spec(bundle: Path, prompt: str, max_new_tokens: int) -> dict[str, Any]:
    """One question to a bundle."""
    return _spec("chat", bundle, prompt=prompt, max_new_tokens=max_new_tokens)


def _spec(verb: str, bundle: Path, **changes: Any) -> dict[str, Any]:
    return {
        "schema": "paredown.android-spec/1",
        "id": verb,
        "verb": verb,
        "bundle": str(bundle),
        "protocol": None,
        "prompt_ids": None,
        "prompt": None,
        "max_new_tokens": None,
        "threads": 1,
        "emulated": True,
        **changes,
    }
