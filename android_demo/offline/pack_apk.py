"""Adds code and libraries to an APK of resources, laid out for pages of 16 KB.

    python3 pack_apk.py resources.apk OUT.apk classes.dex lib/ABI/NAME.so=FILE ...

Native libraries are stored uncompressed, and whatever is stored begins at a multiple of 16384 bytes,
so that Android maps it from the APK. (The `zipalign` of Debian 12 aligns libraries to 4 KB only.)
"""

from __future__ import annotations

import struct
import sys
import zipfile
from pathlib import Path

PAGE = 16384
ALIGNMENT_FIELD = 0xD935
"""Of apksigner: tells it to keep this alignment when it copies the entry."""
LOCAL_HEADER_BYTES = 30


def main(resources: str, out: str, code: str, *libraries: str) -> None:
    """Write the APK; nothing in it depends on when or where."""
    with (
        zipfile.ZipFile(resources) as source,
        zipfile.ZipFile(out, "w") as target,
    ):
        for entry in source.infolist():
            stored = entry.compress_type == zipfile.ZIP_STORED
            add(target, entry.filename, source.read(entry), stored)
        add(target, Path(code).name, Path(code).read_bytes(), stored=False)
        for library in libraries:
            name, _, path = library.partition("=")
            add(target, name, Path(path).read_bytes(), stored=True)


def add(target: zipfile.ZipFile, name: str, data: bytes, stored: bool) -> None:
    """Append an entry: compressed, or stored so that its data begins at a page."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    if stored:
        assert target.fp is not None
        start = target.fp.tell() + LOCAL_HEADER_BYTES + len(name.encode())
        head = struct.calcsize("<HHH")
        padding = -(start + head) % PAGE
        entry.extra = struct.pack("<HHH", ALIGNMENT_FIELD, 2 + padding, PAGE) + bytes(padding)
    target.writestr(entry, data)


if __name__ == "__main__":
    main(*sys.argv[1:])
