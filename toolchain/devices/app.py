"""`app:SERIAL`: an Android device that measures through the installed app.

The app runs the same protocol as every other device, started by `am instrument` without its screen,
in a fresh process per launch: engines that exist for Android only run there, with the memory and
the scheduling that an app gets.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from runtime_py.measure import workload
from runtime_py.schema import (
    CheckReport,
    LaunchRecord,
    Manifest,
    Protocol,
    Reading,
)
from toolchain.devices.app_wire import (
    AppSpec,
    ChatAnswer,
    Instrumentation,
    parse_answer,
    parse_instrumentation,
    streamed_text,
)
from toolchain.devices.held import HeldDevice
from toolchain.devices.killers import MEMORY_HINT
from toolchain.devices.local import TIMEOUT_S
from toolchain.devices.package import COMPONENT, PACKAGE, require_android, require_app
from toolchain.devices.push import bundle_items
from toolchain.devices.shell import Shell, run_script, run_text, script_text
from toolchain.errors import (
    BadRequestError,
    InvalidMeasurementError,
    MissingError,
    ParedownError,
)
from toolchain.progress import Progress

REPORTS = f"/sdcard/Android/data/{PACKAGE}/files/reports"
ANSWER_PREFIX = "host-"
"""Of answers that we asked for; the app's own reports lie in the same folder."""
IDLE_NOW = ("cpu_frequency_hz", "load_average_1m")
"""What the shell would read after the launch, when it no longer says anything about it."""

T = TypeVar("T")


@dataclass(frozen=True)
class _Ready:
    """A bundle that is on the device."""

    manifest: Manifest
    folder: str


class AppDevice(HeldDevice[_Ready]):
    """A phone whose installed app measures.

    Args:
        shell, keep, timeout_s: see `HeldDevice`.

    Raises:
        MissingError: no Android, no app of this version, or somebody else holds the device.
    """

    def __init__(self, shell: Shell, keep: bool = False, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__(shell, f"app:{shell.uri.partition(':')[2]}", keep, timeout_s)

    def _require(self) -> None:
        require_android(self.place, self._shell.uri)
        self.app = require_app(self._shell)

    def measure(self, bundle: Path, protocol: Protocol) -> LaunchRecord:
        """See `toolchain.devices.Device`."""
        if protocol.engine == "native":
            raise BadRequestError(
                "the app has no native runner", "leave out --engine native, or use --via runner"
            )
        ready = self._ready(bundle)
        spec = AppSpec(
            id=_new_id(),
            verb="measure",
            bundle=ready.folder,
            threads=protocol.threads,
            emulated=self.emulated,
            protocol=protocol,
            prompt_ids=workload(bundle, ready.manifest, protocol).prompt_ids,
        )
        record = self._ask(LaunchRecord, spec, self._timeout_s + protocol.sustained_s)
        return _with_outside(record, self.facts())

    def check(self, bundle: Path) -> CheckReport:
        """See `toolchain.devices.Device`."""
        folder = self._ready(bundle).folder
        spec = AppSpec(_new_id(), "check", folder, threads=1, emulated=self.emulated)
        return self._ask(CheckReport, spec, self._timeout_s)

    def chat(
        self,
        bundle: Path,
        prompt: str,
        max_new_tokens: int,
        threads: int,
        say: Callable[[str], None],
    ) -> ChatAnswer:
        """The answer to one prompt, in a process of its own.

        Args:
            bundle: the bundle's directory.
            prompt: put through the bundle's chat template where it has one.
            max_new_tokens: 1 or more.
            threads: compute threads.
            say: gets the text piece by piece as it comes.

        Raises:
            ParedownError: as `measure`.
        """
        spec = AppSpec(
            id=_new_id(),
            verb="chat",
            bundle=self._ready(bundle).folder,
            threads=threads,
            emulated=self.emulated,
            prompt=prompt,
            max_new_tokens=max_new_tokens,
        )
        lines: list[str] = []

        def hear(line: str) -> None:
            lines.append(line)
            piece = streamed_text(line)
            if piece is not None:
                say(piece)

        command = self._command(self._write_spec(spec))
        late = self._session.talk(command, self._timeout_s, hear) is None
        return self._answer(ChatAnswer, spec, late, "\n".join(lines), self._timeout_s)

    def _bring(self, bundle: Path, manifest: Manifest, digest: str, progress: Progress) -> _Ready:
        title = f"push {manifest.name} to {self.uri}"
        items = bundle_items(bundle, manifest, digest)
        # A copy: Android lets apps read files below /data/local/tmp, but follow no links there.
        folder = self._session.bring(items, f"bundle-{digest[:16]}", title, progress, copy=True)
        run_script(self._shell, "publish", [self.place.root, folder, REPORTS])
        return _Ready(manifest, folder)

    def _ask(self, cls: type[T], spec: AppSpec, deadline_s: float) -> T:
        """One launch of the app, and its answer."""
        ended = self._session.run(self._command(self._write_spec(spec)), deadline_s)
        said = ended.stdout + ended.stderr
        return self._answer(cls, spec, ended.status is None, said, deadline_s)

    def _write_spec(self, spec: AppSpec) -> str:
        return self._session.write(f"{spec.id}.json", spec.text())

    @staticmethod
    def _command(spec_path: str) -> Sequence[str]:
        script = script_text("instrument")
        return ["sh", "-c", script, "instrument", PACKAGE, COMPONENT, spec_path]

    def _answer(self, cls: type[T], spec: AppSpec, late: bool, said: str, deadline_s: float) -> T:
        """Read what the app left, or say why it left nothing.

        Raises:
            InvalidMeasurementError: it hung, crashed or was killed.
            ParedownError: its own failure.
            MissingError: the device went away, or am cannot start the app.
        """
        who = f"the app on {self.uri}"
        if late:
            run_text(self._shell, "stop", 'am force-stop "$1" 2>&1', [PACKAGE])
            raise InvalidMeasurementError(
                f"{who} did not answer within {deadline_s:g} s and was stopped"
            )
        arguments = [REPORTS, PACKAGE, f"{spec.id}.json"]
        status, text = run_text(self._shell, "answer", script_text("answer"), arguments)
        if status == 0:
            return parse_answer(cls, text, who)
        raise self._no_answer(who, parse_instrumentation(said))

    def _no_answer(self, who: str, ended: Instrumentation) -> ParedownError:
        complaint = " ".join(ended.complaint.split())
        if "Unable to find instrumentation" in complaint:
            return MissingError(
                f"{self._shell.uri} has no instrumentation {COMPONENT} any more",
                f"install the app: paredown android install --device {self._shell.uri}",
            )
        if ended.code is None and complaint:
            return MissingError(f"{who} cannot be started: {complaint}", "start it by hand once")
        if complaint:
            # Anything but this is the reason itself.
            hint = self._why_it_died() if complaint == "Process crashed." else ""
            return InvalidMeasurementError(f"{who} died: {complaint}", hint)
        return InvalidMeasurementError(
            f"{who} ended without an answer that could be read",
            f"is {REPORTS} readable there, or the app a debug build?",
        )

    def _why_it_died(self) -> str:
        advice = MEMORY_HINT.format(uri=self._shell.uri)
        lines = run_script(self._shell, "app_death", [PACKAGE])
        if "unreadable" in lines:
            return f"{advice} (its system log may not be read)"
        return f"its system log says: {lines[-1].strip()}" if lines else advice


def _new_id() -> str:
    return ANSWER_PREFIX + secrets.token_hex(8)


def _with_outside(record: LaunchRecord, outside: dict[str, Reading]) -> LaunchRecord:
    """What an app may not read, and the shell may: clocks' governors, boot, zones of /sys."""
    known = {
        name: reading
        for name, reading in outside.items()
        if reading.value is not None and name not in IDLE_NOW
    }
    own = {
        name: reading
        for name, reading in record.device.items()
        if reading.value is not None or name not in known
    }
    return dataclasses.replace(record, device=known | own)
