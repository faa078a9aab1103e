"""Adds code and libraries to an APK of resources, laid out for pages of 16 KB.

    python3 pack_apk.py resources.apk OUT.apk classes.dex lib/ABI/NAME.so=FILE ...

Native libraries are stored uncompressed, and whatever is stored begins at a multiple of 16384
bytes, so that Android maps it from the APK. (Debian 12's `zipalign` aligns libraries to 4 KB only.)
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
    with zipfile.ZipFile(resources) as source, Apk(out, "w") as target:
        for entry in source.infolist():
            stored = entry.compress_type == zipfile.ZIP_STORED
            target.add(entry.filename, source.read(entry), stored)
        target.add(Path(code).name, Path(code).read_bytes(), stored=False)
        for library in libraries:
            name, _, path = library.partition("=")
            target.add(name, Path(path).read_bytes(), stored=True)


class Apk(zipfile.ZipFile):
    """A zip archive whose stored entries begin at pages."""

    def add(self, name: str, data: bytes, stored: bool) -> None:
        """Append an entry."""
        entry = zipfile.ZipInfo(name)
        entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
        entry.external_attr = 0o644 << 16
        if stored:
            head = struct.calcsize("<HHH")
            start = self.start_dir + LOCAL_HEADER_BYTES + len(name.encode()) + head
            padding = -start % PAGE
            entry.extra = struct.pack("<HHH", ALIGNMENT_FIELD, 2 + padding, PAGE) + bytes(padding)
        self.writestr(entry, data)


if __name__ == "__main__":
    main(*sys.argv[1:])
