"""Verbs that look at a device: profile, compare, fit, devices, doctor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.errors import require_extra
from toolchain.progress import SILENT, Progress
from toolchain.recipe import ProfileSettings, build
from toolchain.store import write_text

if TYPE_CHECKING:
    from runtime_py.schema import DeviceReport, Protocol
    from toolchain.devices.checkup import Checkup
    from toolchain.devices.doctor import Diagnosis
    from toolchain.devices.listing import Listed
    from toolchain.profiling.compare import Comparison
    from toolchain.profiling.fit import Fit
    from toolchain.profiling.run import Rows

_PROFILE = ProfileSettings()


def profile(  # noqa: PLR0913
    bundle: str | Path,
    *,
    device: str = _PROFILE.device,
    prompt_tokens: int = _PROFILE.prompt_tokens,
    generated_tokens: int = _PROFILE.generated_tokens,
    depth: int = _PROFILE.depth,
    repetitions: int = _PROFILE.repetitions,
    launches: int = _PROFILE.launches,
    warmup: int = _PROFILE.warmup,
    threads: int = _PROFILE.threads,
    affinity: str = _PROFILE.affinity,
    engine: str = _PROFILE.engine,
    cold: bool = _PROFILE.cold,
    memory: bool = _PROFILE.memory,
    cooldown_celsius: float | None = _PROFILE.cooldown_celsius,
    cooldown_limit_s: float = _PROFILE.cooldown_limit_s,
    sustained_s: float = _PROFILE.sustained_s,
    out: str | Path | None = None,
    progress: Progress = SILENT,
) -> DeviceReport:
    """Measure a bundle on a device; fields as in `ProfileSettings`. `out`: the report as JSON.

    Raises:
        ParedownError: a broken bundle, a protocol that does not fit it, an engine that died.
    """
    settings = build(
        ProfileSettings,
        {
            "device": device,
            "prompt_tokens": prompt_tokens,
            "generated_tokens": generated_tokens,
            "depth": depth,
            "repetitions": repetitions,
            "launches": launches,
            "warmup": warmup,
            "threads": threads,
            "affinity": affinity,
            "engine": engine,
            "cold": cold,
            "memory": memory,
            "cooldown_celsius": cooldown_celsius,
            "cooldown_limit_s": cooldown_limit_s,
            "sustained_s": sustained_s,
        },
        "profile",
    )
    rows = profile_rows(bundle, [settings.device], [settings.protocol], out=out, progress=progress)
    if rows.failures:
        raise rows.failures[0].error
    return rows.reports[0]


def profile_rows(
    bundle: str | Path,
    devices: Sequence[str],
    protocols: Sequence[Protocol],
    *,
    keep: bool = False,
    record: str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress = SILENT,
) -> Rows:
    """Measure a bundle on several devices at the same time, under several protocols.

    Args:
        bundle: the bundle's directory.
        devices: `local`, `ssh:[user@]host[:port]`, `adb:SERIAL` or `replay:FILE`.
        protocols: what to run on each of them.
        keep: leave on the devices what was pushed.
        record: write the session of a single device here, for `replay:`.
        out: the report, or the set of reports, as JSON.
        progress: where the talk goes.

    Raises:
        ParedownError: a broken bundle, a protocol that does not fit it. What stops one device is
            in the result, beside what the others measured.
    """
    from toolchain.profiling.output import file_text
    from toolchain.profiling.run import profile_rows as measure

    trace = Path(record) if record is not None else None
    rows = measure(Path(bundle), devices, protocols, keep=keep, record=trace, progress=progress)
    if out is not None and rows.reports:
        write_text(Path(out), file_text(rows.reports))
    return rows


def compare_reports(
    a: str | Path, b: str | Path, *, margin: float | None = None
) -> list[Comparison]:
    """Ratios of two report files, row by row; `margin` makes it a gate.

    Raises:
        ParedownError: no reports, other protocols or devices, an invalid measurement.
    """
    from toolchain.profiling.compare import compare, pair_reports
    from toolchain.profiling.output import load_reports

    require_extra("evals", "comparing")
    pairs = pair_reports(load_reports(Path(a)), load_reports(Path(b)))
    return [compare(first, second, margin) for first, second in pairs]


def compare_bundles(
    a: str | Path,
    b: str | Path,
    protocol: Protocol,
    *,
    device: str = _PROFILE.device,
    margin: float | None = None,
    progress: Progress = SILENT,
) -> Comparison:
    """Measure two bundles in turns (A B B A ...) on one device and compare them.

    Raises:
        ParedownError: as `profile` and `compare_reports`.
    """
    from toolchain.profiling.compare import compare
    from toolchain.profiling.interleave import profile_interleaved

    require_extra("evals", "comparing")
    first, second = profile_interleaved(Path(a), Path(b), device, protocol, progress)
    return compare(first, second, margin, interleaved=True)


def fit(
    bundle: str | Path,
    *,
    device: str = _PROFILE.device,
    engine: str = _PROFILE.engine,
    tokens: int | None = None,
) -> Fit:
    """Whether a bundle's predicted peak memory fits a device; nothing is pushed.

    Args:
        bundle: the bundle's directory.
        device: as `profile`.
        engine: as `ProfileSettings.engine`.
        tokens: prompt and continuation together; None: the whole context.

    Raises:
        ParedownError: a broken bundle, a device that cannot be reached or does not say.
    """
    from toolchain.profiling.fit import fit_bundle

    return fit_bundle(Path(bundle), device, engine, tokens)


def devices(*, probe: bool = False) -> list[Listed]:
    """What `--device` would take: this machine, what adb sees, the hosts of ~/.ssh/config.

    Args:
        probe: connect to those hosts and say which answer.
    """
    from toolchain.devices.listing import list_devices

    return list_devices(probe)


def doctor(device: str | None = None) -> Diagnosis | Checkup:
    """What this machine can do, or a device, and what to install for the rest.

    Raises:
        ParedownError: a device that cannot be reached.
    """
    if device is not None:
        from toolchain.devices.checkup import examine

        return examine(device)
    from toolchain.devices.doctor import diagnose

    return diagnose()
