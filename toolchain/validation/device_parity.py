"""G3: do the same bytes say the same on the device as on this machine?"""

from __future__ import annotations

from pathlib import Path

from runtime_py.check import check
from runtime_py.engines import Engine
from runtime_py.schema import CaseResult, CheckReport, Manifest, loads
from toolchain.devices import open_device
from toolchain.errors import BadRequestError
from toolchain.progress import SILENT, Progress
from toolchain.validation.verdict import FAIL, PASS, Finding, GateResult, Measure

TITLE = "device parity"
RULE = (
    "every golden case passes on the device: top logits within the bundle's tolerance, the greedy "
    "tokens this machine's, but for a step away from them at a near-tie"
)


def device_gate(
    uri: str, bundle: Path, manifest: Manifest, engine: Engine, progress: Progress = SILENT
) -> GateResult:
    """Run the golden cases there and here.

    The device's agent refuses a bundle whose files are not the manifest's, so what it reports is of
    the same bytes.

    Args:
        uri: a device as `open_device` takes it, or a .json file with a check report that was
            recorded on one.
        bundle: directory of the bundle.
        manifest: its manifest.
        engine: this machine's engine of the same bundle.
        progress: where to report.

    Raises:
        BadRequestError: no such device or file, or a report of another bundle.
        ParedownError: the device went away, or its engine failed.
    """
    report = _recorded(Path(uri)) if uri.endswith(".json") else _asked(uri, bundle, progress)
    if report.bundle_name != manifest.name:
        raise BadRequestError(
            f"the check report is of bundle {report.bundle_name}, not of {manifest.name}"
        )
    return judge(uri, report, check(engine, manifest))


def _asked(uri: str, bundle: Path, progress: Progress) -> CheckReport:
    with open_device(uri) as device:
        device.prepare(bundle, progress)
        with progress.task(f"golden cases on {uri}", None):
            return device.check(bundle)


def _recorded(path: Path) -> CheckReport:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequestError(f"cannot read the check report {path}: {error}") from error
    return loads(CheckReport, text, str(path))


def judge(uri: str, device: CheckReport, host: CheckReport) -> GateResult:
    """Decide G3 from both machines' check reports."""
    here = {case.name: case for case in host.cases}
    names = {case.name for case in device.cases}
    findings = [_case(case, here.get(case.name)) for case in device.cases]
    findings += [
        Finding(name, False, f"{name}: not run on the device") for name in here if name not in names
    ]
    if not findings:
        findings = [Finding("golden cases", False, "the bundle has no golden case to run")]
    failed = [finding for finding in findings if not finding.passed]
    largest = max((case.max_abs_logit_difference for case in device.cases), default=0.0)
    near = sum(case.near_tie for case in device.cases)
    sentence = (
        failed[0].sentence
        if failed
        else f"{len(findings)} golden cases on {uri} ({device.engine}): largest logit difference "
        f"{largest:.2e}, {near or 'no'} near-ties"
    )
    measures = {
        "device_max_abs_logit": Measure(largest),
        "host_max_abs_logit": Measure(
            max((case.max_abs_logit_difference for case in host.cases), default=0.0)
        ),
        "device_near_ties": Measure(near),
    }
    outcome = FAIL if failed else PASS
    return GateResult("G3", TITLE, RULE, outcome, sentence, findings, measures)


def _case(device: CaseResult, host: CaseResult | None) -> Finding:
    if host is None:
        return Finding(device.name, False, f"{device.name}: not a golden case of this bundle")
    tokens = f"{device.matching_tokens} of {device.expected_tokens} tokens"
    found = f"{device.name}: {tokens}, logits off by {device.max_abs_logit_difference:.2e}"
    if device.expected_tokens != host.expected_tokens:
        return Finding(device.name, False, f"{found}; here it has {host.expected_tokens} tokens")
    if not device.passed:
        here = f"{host.matching_tokens} tokens and {host.max_abs_logit_difference:.2e}"
        return Finding(device.name, False, f"{found}; on this machine {here}")
    return Finding(device.name, True, f"{found}{', a near-tie' if device.near_tie else ''}")
