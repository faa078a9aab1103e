"""The file of an ExecuTorch program: written with every constant once, and read for its sizes.

It starts with a flatbuffer, whose table of segments says where in the rest of the file the
constants are: those of the program itself in one segment, each constant of a delegate in its own.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_HEADER = struct.Struct("<4xIQQQ")
"""Behind a magic: own length, end of the flatbuffer, start of the segments, bytes of them all."""
_HEADER_AT = 8
_SEGMENTS_SLOT, _OFFSET_SLOT = 12, 4
"""Of Program.segments and DataSegment.offset in the tables of the schema."""
_SEGMENT_ALIGNMENT = 128
_CONSTANT_ALIGNMENT = 16
_COPIED_BYTES = 1 << 22


@dataclass(frozen=True)
class ProgramSizes:
    """What a program asks of memory beside its mapped file, in bytes."""

    arena: int
    """Planned for activations and state (the KV cache) of `forward`."""
    packed: int
    """Constants of XNNPACK, of which it makes a packed copy in anonymous memory while it loads."""


def write_program(program: Any, path: Path) -> ProgramSizes:
    """Write an `ExecutorchProgramManager` to `path`, a table that it holds twice only once."""
    with path.open("wb") as stream:
        program.write_to_file(stream)
    share_constants(path)
    return program_sizes(path)


def program_sizes(path: Path) -> ProgramSizes:
    """Sizes as the file states them."""
    with path.open("rb") as stream:
        program = _Program(stream)
    forward = next(plan for plan in program.root.execution_plan if plan.name == "forward")
    return ProgramSizes(
        arena=sum(forward.non_const_buffer_sizes),
        packed=sum(program.segments[i][1] for i in program.named),
    )


def share_constants(path: Path) -> int:
    """Let a delegate's constant that equals one of the program be that one; bytes saved.

    That is a tied table: the lookup reads the program's copy, and XNNPACK packs the head from its
    own, which is only read while the model loads. Two segments of a program may overlap.
    """
    with path.open("rb") as stream:
        program = _Program(stream)
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            twins = _twins(program, data)
        if not twins:
            return 0
        slim = path.with_suffix(".slim")
        with slim.open("wb") as out:
            _copy_without(program, twins, stream, out)
    saved = path.stat().st_size - slim.stat().st_size
    slim.replace(path)
    return saved


class _Program:
    """The flatbuffer of an open file; segments are (offset from `base`, bytes)."""

    def __init__(self, stream: BinaryIO) -> None:
        from executorch.exir._serialize._flatbuffer_program import _flatbuffer_to_program

        head = stream.read(_HEADER_AT + _HEADER.size)
        _, end, self.base, _ = _HEADER.unpack_from(head, _HEADER_AT)
        self.flatbuffer = bytearray(head + stream.read(end - len(head)))
        self.root = _flatbuffer_to_program(bytes(self.flatbuffer))
        self.segments = [(segment.offset, segment.size) for segment in self.root.segments]
        self.named = sorted({entry.segment_index for entry in self.root.named_data or ()})
        """Segments that hold a delegate's constant each."""

    def constants(self) -> list[tuple[int, int]]:
        """The program's own constants: (offset from `base`, bytes with padding)."""
        where = self.root.constant_segment
        if where is None or not where.offsets:
            return []
        start, size = self.segments[where.segment_index]
        ends = [*where.offsets[1:], size]
        return [(start + a, b - a) for a, b in zip(where.offsets, ends, strict=True)]

    def move(self, offsets: list[int], total: int) -> None:
        """Change where the flatbuffer says that the segments are, in place."""
        flat = self.flatbuffer
        vector = _follow(flat, _field(flat, _follow(flat, 0), _SEGMENTS_SLOT))
        for index, offset in enumerate(offsets):
            segment = _follow(flat, vector + 4 * (1 + index))
            field = _field(flat, segment, _OFFSET_SLOT)
            if field:
                struct.pack_into("<Q", flat, field, offset)
        struct.pack_into("<Q", flat, _HEADER_AT + _HEADER.size - 8, total)


def _follow(flatbuffer: bytearray, at: int) -> int:
    """Where the reference at `at` points to."""
    return at + int.from_bytes(flatbuffer[at : at + 4], "little")


def _field(flatbuffer: bytearray, table: int, slot: int) -> int:
    """Where a table's field is; 0 where it is absent, because it has its default."""
    (back,) = struct.unpack_from("<i", flatbuffer, table)
    slots, *_ = struct.unpack_from("<H", flatbuffer, table - back)
    (offset,) = struct.unpack_from("<H", flatbuffer, table - back + slot) if slot < slots else (0,)
    return table + offset if offset else 0


def _twins(program: _Program, data: mmap.mmap) -> dict[int, int]:
    """Delegates' segments that equal a constant of the program: index to that one's offset."""
    found = {}
    with memoryview(data) as view:
        for index in program.named:
            offset, size = program.segments[index]
            mine = view[program.base + offset :][:size]
            for start, padded in program.constants():
                fits = 0 <= padded - size < _CONSTANT_ALIGNMENT and start != offset
                if size and fits and view[program.base + start :][:size] == mine:
                    found[index] = start
            mine.release()
    return found


def _copy_without(
    program: _Program, twins: dict[int, int], source: BinaryIO, out: BinaryIO
) -> None:
    """Copy the file; the segments in `twins` are no longer there but point to their twin."""
    # The program's constants come first, so that nothing before them can go.
    offsets, end = [], 0
    for index, (_, size) in enumerate(program.segments):
        if index in twins:
            offsets.append(twins[index])
            continue
        offsets.append(-(-end // _SEGMENT_ALIGNMENT) * _SEGMENT_ALIGNMENT)
        end = offsets[-1] + size
    program.move(offsets, end)
    out.write(program.flatbuffer)
    for index, (offset, size) in enumerate(program.segments):
        if index not in twins:
            out.write(bytes(program.base + offsets[index] - out.tell()))
            _copy(source, program.base + offset, size, out)


def _copy(source: BinaryIO, offset: int, size: int, out: BinaryIO) -> None:
    source.seek(offset)
    while size > 0:
        chunk = source.read(min(size, _COPIED_BYTES))
        out.write(chunk)
        size -= len(chunk)
