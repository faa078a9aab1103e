"""The ssh transport against a real sshd: what works, and every fault's one line."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from handmade_bundle import write_bundle, write_manifest
from loopback_sshd import HOST, LoopbackSshd, make_key
from running import PAREDOWN, ROOT, Talk, engines, wait_until, when_it_runs

from runtime_py.schema import CheckReport, LaunchRecord, Protocol, Reading
from toolchain.devices import open_device
from toolchain.devices.remote import RemoteDevice
from toolchain.devices.ssh import SshShell, parse_address
from toolchain.errors import BadRequestError, InvalidMeasurementError, MissingError, ParedownError

pytest_plugins = ("device_fixtures",)

SMALL = Protocol(prompt_tokens=8, generated_tokens=5, repetitions=2, launches=1, warmup=0)
ENDLESS = Protocol(prompt_tokens=8, generated_tokens=30, repetitions=1_000_000, launches=1)


def folders_of_runs(sshd: LoopbackSshd) -> list[Path]:
    """What is laid out for a run on the device."""
    folder = sshd.cache / "runs"
    return list(folder.iterdir()) if folder.is_dir() else []


def test_a_bundle_is_pushed_once_run_and_taken_away(sshd: LoopbackSshd, onnx_bundle: Path) -> None:
    with open_device(sshd.uri) as device:
        assert (device.uri, device.emulated) == (sshd.uri, False)
        talk = Talk()
        device.prepare(onnx_bundle, talk)
        assert [title.split(" (")[0] for title in talk.titles] == [
            f"push the agent to {sshd.uri}",
            f"push tiny to {sshd.uri}",
        ]
        device.prepare(onnx_bundle, talk)
        assert len(talk.titles) == 2
        report = device.check(onnx_bundle)
        record = device.measure(onnx_bundle, SMALL)
        facts = device.facts()
        assert len(sshd.files()) == 5
        sizes = [path.stat().st_nlink for path in (sshd.cache / "store").iterdir()]
        assert set(sizes) == {2}, "hard links, not copies"
    assert isinstance(report, CheckReport)
    assert report.passed
    assert isinstance(record, LaunchRecord)
    assert [len(sample.token_ns) for sample in record.samples] == [5, 5]
    assert facts["memory_total_bytes"] == record.device["memory_total_bytes"]
    assert isinstance(facts["cpu_count"], Reading)
    assert not sshd.cache.exists()
    assert not sshd.lock.exists()


def test_keep_leaves_the_files_for_the_next_time(sshd: LoopbackSshd, onnx_bundle: Path) -> None:
    with open_device(sshd.uri, keep=True) as device:
        device.prepare(onnx_bundle)
    kept = sshd.files()
    assert len(kept) == 5
    assert not folders_of_runs(sshd)
    talk = Talk()
    with open_device(sshd.uri) as device:
        device.prepare(onnx_bundle, talk)
        assert device.check(onnx_bundle).passed
    assert talk.titles == []
    assert sshd.files() == kept, "what an earlier run kept is not this one's to remove"


def test_a_changed_bundle_is_pushed_again(sshd: LoopbackSshd, tmp_path: Path) -> None:
    bundle = tmp_path / "b"
    manifest = write_bundle(bundle)
    with open_device(sshd.uri) as device:
        assert device.check(bundle).passed
        wrong = [
            type(case)(**{**vars(case), "continuation_ids": [1]}) for case in manifest.golden_cases
        ]
        write_manifest(bundle, golden_cases=wrong)
        assert not device.check(bundle).passed, "a failed check is an answer"


def test_what_the_agent_refuses_comes_through(sshd: LoopbackSshd, onnx_bundle: Path) -> None:
    too_long = Protocol(prompt_tokens=47, generated_tokens=47, launches=1)
    with open_device(sshd.uri) as device, pytest.raises(BadRequestError, match="context of 48"):
        device.measure(onnx_bundle, too_long)


def test_quoting_keeps_a_folder_of_any_name_one_argument(
    tmp_path: Path, onnx_bundle: Path, sshd: LoopbackSshd
) -> None:
    bundle = tmp_path / "a b;touch $HOME '\"\n&"
    shutil.copytree(onnx_bundle, bundle)
    with open_device(sshd.uri) as device:
        assert device.check(bundle).passed


# Faults, in the order of docs/device-faults.md.


@pytest.mark.parametrize(
    "text", ["", "a b", "-oProxyCommand=x", "pi@", "pi@h:port", "h:0", "h:70000", "[::1", "u@-h"]
)
def test_malformed_names(text: str) -> None:
    with pytest.raises(BadRequestError, match="ssh:"):
        parse_address(text)


def test_addresses() -> None:
    assert vars(parse_address("pi@10.0.0.2:2222")) == {
        "user": "pi",
        "host": "10.0.0.2",
        "port": "2222",
    }
    assert parse_address("[fe80::1%eth0]:22").host == "fe80::1%eth0"
    assert parse_address("raspberry").target == "raspberry"


def _refused(uri: str, words: str) -> None:
    with pytest.raises(MissingError) as caught:
        open_device(uri)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.usefixtures("sshd")
def test_unknown_host() -> None:
    _refused("ssh:pi@no-such-host.invalid", "there is no host of this name")


def test_nothing_listens(sshd: LoopbackSshd) -> None:
    sshd.stop()
    _refused(sshd.uri, "nothing answers at this port; is sshd running there?")


def test_wrong_key(sshd: LoopbackSshd) -> None:
    make_key(sshd.folder / "keys" / "user")  # another one than sshd was told
    _refused(sshd.uri, f"accepts none of the keys offered; copy yours with 'ssh-copy-id {HOST}'")


def test_unknown_host_key(sshd: LoopbackSshd) -> None:
    (sshd.folder / "known_hosts").write_text("")
    _refused(sshd.uri, f"its host key is not known; connect once with 'ssh {HOST}'")


def test_changed_host_key(sshd: LoopbackSshd) -> None:
    make_key(sshd.folder / "keys" / "other")
    sshd.trust((sshd.folder / "keys" / "other.pub").read_text())
    _refused(sshd.uri, "its host key is not the one in known_hosts; somebody may be in between")


def test_no_ssh_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    _refused("ssh:pi@host", "there is no ssh here")


def test_no_python(bare_sshd: LoopbackSshd, onnx_bundle: Path) -> None:
    with open_device(bare_sshd.uri) as device, pytest.raises(MissingError) as caught:
        device.prepare(onnx_bundle)
    assert f"{bare_sshd.uri} has no Python 3.11 or newer; install one" in str(caught.value)
    assert not bare_sshd.cache.exists(), "nothing was pushed"


def test_no_onnxruntime(bare_sshd: LoopbackSshd, onnx_bundle: Path) -> None:
    venv.create(bare_sshd.folder / "data" / "paredown" / "venv", with_pip=False)
    with open_device(bare_sshd.uri) as device, pytest.raises(MissingError) as caught:
        device.prepare(onnx_bundle)
    assert "has no onnxruntime in " in str(caught.value)
    assert "run there: python3 -m venv ~/.local/share/paredown/venv" in str(caught.value)


@pytest.fixture
def small_disk(sshd: LoopbackSshd) -> Iterator[Path]:
    """The device's cache folder as a file system of 20 MiB."""
    cache = sshd.folder / "cache"
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "small", str(cache)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield cache
    subprocess.run(["umount", str(cache)], check=True)


def _large_bundle(path: Path, megabytes: int) -> Path:
    write_bundle(path)
    with (path / "ballast.bin").open("wb") as stream:
        for _ in range(megabytes):
            stream.write(os.urandom(1 << 20))
    write_manifest(path)
    return path


def test_device_full(sshd: LoopbackSshd, small_disk: Path, tmp_path: Path) -> None:
    bundle = _large_bundle(tmp_path / "b", 24)
    with open_device(sshd.uri) as device, pytest.raises(MissingError) as caught:
        device.prepare(bundle)
    assert "has too little space: " in str(caught.value)
    assert "MB are free in" in str(caught.value)
    assert caught.value.exit_code == 3
    assert small_disk.is_dir()
    assert sshd.files() == []


def test_an_interrupted_push_goes_on(sshd: LoopbackSshd, tmp_path: Path) -> None:
    bundle = _large_bundle(tmp_path / "b", 12)
    steps = 0

    def cut() -> None:
        nonlocal steps
        steps += 1
        if steps == 6:
            sshd.stop()

    with (
        contextlib.suppress(ParedownError),
        open_device(sshd.uri) as device,
        pytest.raises(MissingError, match="what was pushed is not pushed twice"),
    ):
        device.prepare(bundle, Talk(cut))
    parts = [path for path in (sshd.cache / "store").iterdir() if path.suffix == ".part"]
    arrived = sum(path.stat().st_size for path in parts)
    assert 1e6 < arrived < 12e6
    sshd.start()
    talk = Talk()
    with open_device(sshd.uri) as device:
        device.prepare(bundle, talk)
        assert device.check(bundle).passed
    pushed = float(talk.titles[-1].partition("(")[2].partition(" MB")[0])
    assert pushed * 1e6 + arrived == pytest.approx(12 << 20, rel=0.02)
    assert not sshd.cache.exists()


def test_a_damaged_file_is_sent_again(sshd: LoopbackSshd, onnx_bundle: Path) -> None:
    with open_device(sshd.uri, keep=True) as device:
        device.prepare(onnx_bundle)
    largest = max((sshd.cache / "store").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[100] ^= 1
    largest.write_bytes(content)
    talk = Talk()
    with open_device(sshd.uri) as device:
        device.prepare(onnx_bundle, talk)
        assert device.check(onnx_bundle).passed
    assert len(talk.notes) == 1
    assert talk.notes[0].endswith(f"damaged on {sshd.uri}, sent again")
    assert len(talk.titles) == 1


def test_a_damaged_beginning_is_sent_again(sshd: LoopbackSshd, onnx_bundle: Path) -> None:
    with open_device(sshd.uri, keep=True) as device:
        device.prepare(onnx_bundle)
    largest = max((sshd.cache / "store").iterdir(), key=lambda path: path.stat().st_size)
    largest.rename(largest.with_name(largest.name + ".part"))
    with largest.with_name(largest.name + ".part").open("r+b") as stream:
        stream.truncate(500)
        stream.write(b"something else")
    with open_device(sshd.uri) as device:
        assert device.check(onnx_bundle).passed


HOLDER = """
import sys, time
from toolchain.devices import open_device
device = open_device(sys.argv[1])
print("held", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def _other_host(uri: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_two_hosts_lock_each_other_out(sshd: LoopbackSshd, onnx_bundle: Path) -> None:
    with _other_host(sshd.uri) as other:
        _refused(sshd.uri, f"is in use by root@{os.uname().nodename} (process {other.pid}, since ")
        other.kill()
        other.wait()
        wait_until(lambda: not sshd.lock.exists())
    with open_device(sshd.uri) as device:
        assert device.check(onnx_bundle).passed


@pytest.mark.parametrize("owner", ["another-boot 1 1\nsomebody\n", "{boot} {pid} 1\nsomebody\n"])
def test_a_lock_whose_owner_is_dead_is_taken(sshd: LoopbackSshd, owner: str) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    sshd.lock.mkdir()
    (sshd.lock / "owner").write_text(owner.format(boot=boot, pid=os.getpid()))
    with open_device(sshd.uri):
        assert "paredown" not in (sshd.lock / "owner").read_text()
        assert f"(process {os.getpid()}, since" in (sshd.lock / "owner").read_text()
    assert not sshd.lock.exists()


def test_a_lock_that_nobody_signs_is_taken(sshd: LoopbackSshd) -> None:
    """After seconds, whatever the device's clock says about the lock's age."""
    sshd.lock.mkdir()
    in_an_hour = time.time() + 3600
    os.utime(sshd.lock, (in_an_hour, in_an_hour))
    start = time.monotonic()
    open_device(sshd.uri).close()
    assert time.monotonic() - start >= 5
    assert not sshd.lock.exists()


def test_a_lock_that_is_being_signed_counts(sshd: LoopbackSshd) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    sshd.lock.mkdir()

    def sign() -> None:
        time.sleep(2)
        (sshd.lock / "owner").write_text(f"{boot} {os.getpid()} {started}\nann@laptop\n")

    thread = threading.Thread(target=sign)
    thread.start()
    _refused(sshd.uri, "is in use by ann@laptop")
    thread.join()
    assert sshd.lock.exists()


def test_a_device_without_hard_links(bare_sshd: LoopbackSshd, onnx_bundle: Path) -> None:
    (bare_sshd.folder / "data" / "paredown" / "venv").symlink_to(sys.prefix)
    ln = Path(bare_sshd.path) / "ln"
    ln.unlink()
    ln.write_text('#!/bin/sh\n[ "$1" = -s ] && exec /bin/ln "$@"\nexit 1\n')
    ln.chmod(0o755)
    with open_device(bare_sshd.uri) as device:
        assert device.check(onnx_bundle).passed
    assert not bare_sshd.cache.exists()


def _engines(sshd: LoopbackSshd) -> list[int]:
    """Agents that run on this device now."""
    return engines("agent.pyz", str(sshd.cache))


def test_a_killed_engine(sshd: LoopbackSshd, onnx_bundle: Path) -> None:
    with (
        open_device(sshd.uri) as device,
        when_it_runs(lambda: _engines(sshd), lambda pid: os.kill(pid, signal.SIGKILL)),
        pytest.raises(InvalidMeasurementError) as caught,
    ):
        device.measure(onnx_bundle, ENDLESS)
    assert "ended with signal SIGKILL" in str(caught.value)
    assert "system log" in str(caught.value)
    assert caught.value.exit_code == 5
    assert not sshd.cache.exists()


def test_a_hung_engine(sshd: LoopbackSshd, onnx_bundle: Path) -> None:
    shell = SshShell(parse_address(sshd.uri.removeprefix("ssh:")))
    with (
        RemoteDevice(shell, timeout_s=6) as device,
        when_it_runs(lambda: _engines(sshd), lambda pid: os.kill(pid, signal.SIGSTOP)),
        pytest.raises(InvalidMeasurementError, match="did not answer within 6 s and was stopped"),
    ):
        device.measure(onnx_bundle, ENDLESS)
    assert not _engines(sshd)
    assert not sshd.cache.exists()


def test_unplugged_while_it_measures(sshd: LoopbackSshd, onnx_bundle: Path) -> None:
    with (
        open_device(sshd.uri) as device,
        when_it_runs(lambda: _engines(sshd), lambda _: sshd.stop()),
        pytest.raises(MissingError, match=r"the connection to ssh:\S+ broke") as caught,
    ):
        device.measure(onnx_bundle, ENDLESS)
    assert caught.value.exit_code == 3
    wait_until(lambda: not _engines(sshd))
    wait_until(lambda: not sshd.lock.exists())
    wait_until(lambda: not folders_of_runs(sshd))
    assert sshd.files(), "what was pushed waits for the next run"


def test_an_interrupt_ends_the_engine_too(sshd: LoopbackSshd, onnx_bundle: Path) -> None:
    command = [*PAREDOWN, "profile", str(onnx_bundle), "--device", sshd.uri]
    command += ["-p", "8", "-n", "30", "-r", "1000000", "--launches", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        wait_until(lambda: _engines(sshd), 60)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err.splitlines()[-1]
    wait_until(lambda: not _engines(sshd))
    assert not sshd.cache.exists()
    assert not sshd.lock.exists()
