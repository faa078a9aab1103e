"""`runtime_py` as one file for a device's Python: a zip archive, the same bytes always."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import runtime_py

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAIN = "import sys\n\nfrom runtime_py.__main__ import main\n\nsys.exit(main())\n"


def agent_bytes() -> bytes:
    """The archive: every .py file of `runtime_py`, sorted, stored, with fixed times and modes."""
    package = Path(runtime_py.__file__).parent
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(package.rglob("*.py")):
            _add(archive, f"runtime_py/{path.relative_to(package).as_posix()}", path.read_bytes())
        _add(archive, "__main__.py", _MAIN.encode())
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = 3  # Unix, wherever it was built
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)
