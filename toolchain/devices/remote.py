"""A device behind a shell: push, run, and read what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from runtime_py import native, sensors
from runtime_py.measure import with_energy, workload
from runtime_py.schema import (
    CheckReport,
    LaunchRecord,
    Manifest,
    Protocol,
    dumps,
)
from runtime_py.sensors import topology
from toolchain.devices.agent_zip import agent_bytes
from toolchain.devices.answer import answered, failure, parse
from toolchain.devices.held import HeldDevice
from toolchain.devices.killers import who_killed
from toolchain.devices.local import THREAD_VARIABLES, TIMEOUT_S
from toolchain.devices.place import OLDEST_PYTHON, Python
from toolchain.devices.push import Item, bundle_items
from toolchain.devices.readings import read_device
from toolchain.devices.sampling import Sampler
from toolchain.devices.shell import Shell
from toolchain.errors import BadRequestError, InvalidMeasurementError, MissingError
from toolchain.progress import Progress
from toolchain.store import sha256_file

AGENT_NAME = "agent.pyz"
RUNNER_NAME = "paredown-runner"
VENV = "~/.local/share/paredown/venv"
INSTALL_ONNX = f"python3 -m venv {VENV} && {VENV}/bin/pip install numpy onnxruntime"
"""The line for a device whose Python lacks them; its folder is where we look first."""


@dataclass(frozen=True)
class _Ready:
    """A bundle that is on the device, with the engine that runs it."""

    manifest: Manifest
    folder: str
    agent: list[str]
    """Its command line; empty where a device without Python runs the runner alone."""
    runner: str
    """Its path; empty for an engine in Python."""


class RemoteDevice(HeldDevice[_Ready]):
    """A Raspberry Pi over ssh or a phone over adb.

    Args:
        shell, keep, timeout_s: see `HeldDevice`.

    Raises:
        MissingError: the device is no Linux, or somebody else holds it.
    """

    def __init__(self, shell: Shell, keep: bool = False, timeout_s: float = TIMEOUT_S) -> None:
        self._agent: list[str] = []
        self._runner = ""
        super().__init__(shell, shell.uri, keep, timeout_s)

    def measure(self, bundle: Path, protocol: Protocol) -> LaunchRecord:
        """See `toolchain.devices.Device`."""
        ready = self._ready(bundle)
        deadline_s = self._timeout_s + protocol.sustained_s
        if not ready.agent:
            return self._measure_alone(bundle, ready, protocol, deadline_s)
        if ready.runner:
            protocol = dataclasses.replace(protocol, engine="native")
        elif protocol.engine == "native":
            raise BadRequestError(
                f"the native runner runs no {ready.manifest.backend} bundle",
                "export with --backend executorch",
            )
        command = [*ready.agent, "measure", ready.folder, "--protocol", dumps(protocol)]
        if ready.runner:
            command += ["--runner", ready.runner]
        command = self._with_environment(protocol.threads, command)
        return parse(LaunchRecord, self._run("the agent", command, deadline_s))

    def check(self, bundle: Path) -> CheckReport:
        """See `toolchain.devices.Device`."""
        ready = self._ready(bundle)
        if ready.runner:
            command = native.check_command(ready.runner, ready.folder)
            return parse(CheckReport, self._run("the runner", command, self._timeout_s))
        command = self._with_environment(1, [*ready.agent, "check", ready.folder, "--threads", "1"])
        return parse(CheckReport, self._run("the agent", command, self._timeout_s))

    def _bring(self, bundle: Path, manifest: Manifest, digest: str, progress: Progress) -> _Ready:
        runner = self._bring_runner(progress) if manifest.backend == "executorch" else ""
        agent = self._bring_agent(needs_onnx=not runner, progress=progress)
        items = bundle_items(bundle, manifest, digest)
        name = f"bundle-{digest[:16]}"
        title = f"push {manifest.name} to {self.uri}"
        # The agent takes no symbolic links for files of a bundle; a phone's runner does.
        copy = self.place.system != "android"
        folder = self._session.bring(items, name, title, progress, copy)
        return _Ready(manifest, folder, agent, runner)

    def _bring_agent(self, needs_onnx: bool, progress: Progress) -> list[str]:
        """Its command line; empty where a runner does without it and there is no Python."""
        python = self.place.python
        if needs_onnx:
            self._require_onnx(python)
        if python is None or self._agent:
            return self._agent
        content = agent_bytes()
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, AGENT_NAME)
            source.write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            item = Item(source, AGENT_NAME, len(content), digest)
            where = self._session.bring([item], "agent", f"push the agent to {self.uri}", progress)
        # -P: a file of the current directory must not shadow a module of the agent.
        self._agent = [python.path, "-P", f"{where}/{AGENT_NAME}"]
        return self._agent

    def _require_onnx(self, python: Python | None) -> None:
        if self.place.system == "android":
            raise MissingError(
                f"{self.uri} runs no .onnx bundle: Android has no Python",
                "export with --backend executorch, or measure through the app: --via app",
            )
        if python is None:
            needed = ".".join(map(str, OLDEST_PYTHON))
            raise MissingError(
                f"{self.uri} has no Python {needed} or newer",
                "install one, or export with --backend executorch, which needs none",
            )
        if not python.runs_onnx:
            absent = "numpy" if python.onnxruntime else "onnxruntime"
            raise MissingError(
                f"{self.uri} has no {absent} in {python.path}", f"run there: {INSTALL_ONNX}"
            )

    def _bring_runner(self, progress: Progress) -> str:
        if self._runner:
            return self._runner
        from toolchain.native import build

        source = build(self.place.arch, progress)
        items = [
            Item(path, path.relative_to(source).as_posix(), path.stat().st_size, sha256_file(path))
            for path in sorted(source.rglob("*"))
            if path.is_file()
        ]
        title = f"push the runner to {self.uri}"
        where = self._session.bring(items, "runner", title, progress, copy=True)
        self._runner = f"{where}/{RUNNER_NAME}"
        return self._runner

    def _measure_alone(
        self, bundle: Path, ready: _Ready, protocol: Protocol, deadline_s: float
    ) -> LaunchRecord:
        """A launch on a device without Python: a second shell reads the sensors."""
        tokens = workload(bundle, ready.manifest, protocol).tokens
        prompt = self._session.write("prompt", " ".join(map(str, tokens)) + "\n")
        cores = topology.big_cores(self._cores, protocol.threads) * (protocol.affinity == "big")
        command = native.measure_command(
            ready.runner, f"{ready.folder}/{ready.manifest.model_file}", protocol, prompt, cores
        )
        if protocol.phase not in ("time", "sustained"):
            out = self._run("the runner", command, deadline_s)
            return native.launch_record(out, self.facts(), protocol.phase)
        with contextlib.closing(Sampler(self._session, self.place.arch)) as sampler:
            out = self._run("the runner", command, deadline_s)
            looks = sampler.finish()
        source = read_device(self._shell, self.place.arch)
        facts = sensors.read_all(source)
        record = native.launch_record(out, facts, protocol.phase, looks.trace)
        seen = looks.facts(native.engine_cpu_s(record))
        record = dataclasses.replace(record, device=record.device | seen)
        return with_energy(record, source)

    @cached_property
    def _cores(self) -> list[topology.Core]:
        return topology.cores(read_device(self._shell, self.place.arch))

    def _with_environment(self, threads: int, command: list[str]) -> list[str]:
        # onnxruntime writes files of its own into the cache folder: let them go with the run's.
        cache = f"XDG_CACHE_HOME={self._session.run_folder}"
        variables = [f"{name}={threads}" for name in THREAD_VARIABLES]
        return ["env", *variables, cache, "PYTHONUTF8=1", *command]

    def _run(self, who: str, command: Sequence[str], deadline_s: float) -> str:
        """Standard output of an engine that answered.

        Raises:
            InvalidMeasurementError: it hung, crashed or was killed.
            ParedownError: its own one-line error.
            MissingError: the device went away.
        """
        ended = self._session.run(command, deadline_s)
        if ended.status is None:
            raise InvalidMeasurementError(
                f"{who} on {self.uri} did not answer within {deadline_s:g} s and was stopped"
            )
        status = _as_signal(ended.status)
        if answered(status, ended.stdout):
            return ended.stdout
        hint = who_killed(self._shell, ended.pid) if status == -signal.SIGKILL else ""
        raise failure(f"{who} on {self.uri}", status, ended.stderr, hint)


def _as_signal(status: int) -> int:
    """A shell's 128 + n as -n, where n is a signal."""
    known = {int(number) for number in signal.Signals}
    return -(status - 128) if status - 128 in known else status
