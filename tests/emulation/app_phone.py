"""The emulated phone with the app: its core on this machine's Java, behind Android's commands."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from emulated_device import EmulatedDevice

from toolchain import __version__
from toolchain.devices.package import PACKAGE

HERE = Path(__file__).parent
ABIS = ("x86_64", "arm64-v8a")
STATE = f"/data/system/apps/{PACKAGE}"
APP_FOLDER = f"/sdcard/Android/data/{PACKAGE}"
JAVA_OPTIONS = "-Xmx256m -XX:-UsePerfData"
MODULES = ("core", "engine-onnx", "host")


class AppPhone:
    """An emulated phone that has Java, a user for the app and a package manager's stand-in.

    Args:
        device: up.
        classes: folder of the app's classes, one folder per module.
        onnxruntime: folder of ONNX Runtime's Java API and its libraries.
    """

    def __init__(self, device: EmulatedDevice, classes: Path, onnxruntime: Path) -> None:
        self.device = device
        self.uri = device.uri
        self._install_user()
        self._bind_java()
        self._bind(onnxruntime, "/opt/onnxruntime")
        self.sh(f"cp -r {shlex.quote(str(classes))} opt/classes && chmod -R a+rX opt/classes")
        jars = [f"/opt/classes/{name}" for name in MODULES] + ["/opt/onnxruntime/onnxruntime.jar"]
        options = f"{JAVA_OPTIONS} -Donnxruntime.native.path=/opt/onnxruntime/native"
        java = Path(program("java")).resolve()
        folders = "data/system/apps data/misc data/data sdcard/Android/data tmp"
        start = f'exec {java} {options} -cp {":".join(jars)} dev.paredown.host.HostMain "$@"'
        self.sh(
            f"mkdir -p {folders} system/etc/apks && chmod 777 {folders}\n"
            f"printf '%s\\n' '#!/system/bin/sh' 'umask 000' {shlex.quote(start)} "
            ">system/bin/app-on-java && chmod 755 system/bin/app-on-java"
        )

    def sh(self, script: str) -> str:
        """Output of a script of this machine's root, which starts in the phone's root folder."""
        return self.device.inside("sh", "-ec", f"cd {shlex.quote(self.device.root)}\n{script}")

    def know(self, apk: Path, version: str = __version__, abis: tuple[str, ...] = ABIS) -> Path:
        """Have the package manager take the bytes of `apk` for the app."""
        digest = hashlib.sha256(apk.read_bytes()).hexdigest()
        self.sh(f"echo {PACKAGE} {version} {' '.join(abis)} >system/etc/apks/{digest}")
        return apk

    def make_apk(
        self, folder: Path, version: str = __version__, abis: tuple[str, ...] = ABIS
    ) -> Path:
        """A file that the package manager takes for the app."""
        apk = folder / f"app-{version}-{'-'.join(abis)}.apk"
        apk.write_bytes(f"stand-in {apk.name}".encode() * 1000)
        return self.know(apk, version, abis)

    def uninstall(self) -> None:
        """As if the app had never been there."""
        self.sh(f"rm -rf .{STATE} .{APP_FOLDER} data/misc/log")

    def app_process(self) -> list[int]:
        """The app's process as this machine numbers it; empty while it does not run."""
        found = []
        for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = cmdline.read_bytes().split(b"\0")
            except OSError:
                continue
            # Other tests run the same program outside of a phone.
            on_a_phone = any(word.startswith(b"/data/local/tmp/") for word in words)
            if b"dev.paredown.host.HostMain" in words and on_a_phone:
                found.append(int(cmdline.parent.name))
        return sorted(found)

    def left_behind(self) -> list[str]:
        """Files of ours on the phone, and answers of the app that nobody took."""
        return self.sh(
            f"find data/local/tmp -mindepth 1; find .{APP_FOLDER} -name '*.json*' 2>/dev/null || :"
        ).split()

    def _install_user(self) -> None:
        binary = self.device.folder / "as-app"
        compiler = [program("cc"), "-O1", "-o", str(binary), str(HERE / "as_app.c")]
        subprocess.run(compiler, check=True)
        self.sh(f"install -m 4755 {shlex.quote(str(binary))} system/bin/as-app")

    def _bind_java(self) -> None:
        home = Path(program("java")).resolve().parents[1]
        self._bind(home, str(home))
        settings = (home / "conf" / "net.properties").resolve().parent  # Debian: in /etc
        if not settings.is_relative_to(home):
            self._bind(settings, str(settings))

    def _bind(self, source: Path, target: str) -> None:
        self.sh(f"mkdir -p .{target} && mount --bind {shlex.quote(str(source))} .{target}")


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} (tests/emulation/install.sh)")
    return found
