"""Writes class files of declarations without bodies (JVM specification, chapter 4, version 52)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

PUBLIC, STATIC, FINAL, SUPER, VARARGS, INTERFACE, ABSTRACT = 1, 8, 0x10, 0x20, 0x80, 0x200, 0x400
ANNOTATION, ENUM, PROTECTED = 0x2000, 0x4000, 4
VERSION = 52

Constant = bool | int | float | str


@dataclass
class Field:
    """`constant` is what javac copies into the classes that use it."""

    access: int
    name: str
    descriptor: str
    signature: str | None = None
    constant: Constant | None = None
    deprecated: bool = False


@dataclass
class Method:
    """`throws` are internal names, such as `java/io/IOException`."""

    access: int
    name: str
    descriptor: str
    signature: str | None = None
    throws: Sequence[str] = ()
    has_default: bool = False
    """Of an annotation: need not be given."""
    deprecated: bool = False


@dataclass
class ClassFile:
    """Names are internal ones; `nested` gives names and access flags of nested classes."""

    name: str
    access: int
    parent: str = "java/lang/Object"
    interfaces: list[str] = field(default_factory=list)
    signature: str | None = None
    fields: list[Field] = field(default_factory=list)
    methods: list[Method] = field(default_factory=list)
    nested: dict[str, int] = field(default_factory=dict)
    deprecated: bool = False

    def to_bytes(self) -> bytes:
        """The class file; a method that is called throws a NullPointerException."""
        pool = _Pool()
        access = self.access & ~(STATIC | PROTECTED)
        if self.access & PROTECTED:
            access |= PUBLIC  # a nested protected class is public to the JVM
        body = struct.pack(">HHH", access, pool.of_class(self.name), pool.of_class(self.parent))
        body += _counted(struct.pack(">H", pool.of_class(name)) for name in self.interfaces)
        body += _counted(_field(pool, each) for each in self.fields)
        body += _counted(_method(pool, each, self.access) for each in self.methods)
        body += _counted(self._attributes(pool))
        return struct.pack(">IHH", 0xCAFEBABE, 0, VERSION) + pool.to_bytes() + body

    def _attributes(self, pool: _Pool) -> list[bytes]:
        attributes = _signature(pool, self.signature) + _deprecated(pool, self.deprecated)
        if self.nested:
            rows = _counted(_nested(pool, name, access) for name, access in self.nested.items())
            attributes.append(pool.attribute("InnerClasses", rows))
        return attributes


class _Pool:
    """The constant pool; every entry once."""

    def __init__(self) -> None:
        self._entries: list[bytes] = []
        self._index: dict[bytes, int] = {}
        self._next = 1

    def to_bytes(self) -> bytes:
        return struct.pack(">H", self._next) + b"".join(self._entries)

    def utf8(self, text: str) -> int:
        # Modified UTF-8 (4.4.7): no zero byte, surrogates one by one.
        units = text.encode("utf-16-be", "surrogatepass")
        chars = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
        data = b"".join(
            chr(char).encode("utf-8", "surrogatepass") if char else b"\xc0\x80" for char in chars
        )
        return self._add(struct.pack(">BH", 1, len(data)) + data)

    def of_class(self, name: str) -> int:
        return self._add(struct.pack(">BH", 7, self.utf8(name)))

    def constant(self, descriptor: str, value: Constant) -> int:
        if isinstance(value, str):
            return self._add(struct.pack(">BH", 8, self.utf8(value)))
        tag, layout = {"F": (4, ">Bf"), "J": (5, ">Bq"), "D": (6, ">Bd")}.get(
            descriptor, (3, ">Bi")
        )
        return self._add(struct.pack(layout, tag, value), slots=2 if descriptor in "JD" else 1)

    def attribute(self, name: str, data: bytes) -> bytes:
        return struct.pack(">HI", self.utf8(name), len(data)) + data

    def _add(self, entry: bytes, slots: int = 1) -> int:
        if entry not in self._index:
            self._index[entry] = self._next
            self._entries.append(entry)
            self._next += slots
        return self._index[entry]


def _counted(items: Iterable[bytes]) -> bytes:
    rows = list(items)
    return struct.pack(">H", len(rows)) + b"".join(rows)


def _signature(pool: _Pool, signature: str | None) -> list[bytes]:
    if signature is None:
        return []
    return [pool.attribute("Signature", struct.pack(">H", pool.utf8(signature)))]


def _deprecated(pool: _Pool, deprecated: bool) -> list[bytes]:
    return [pool.attribute("Deprecated", b"")] if deprecated else []


def _field(pool: _Pool, each: Field) -> bytes:
    attributes = _signature(pool, each.signature) + _deprecated(pool, each.deprecated)
    if each.constant is not None:
        value = struct.pack(">H", pool.constant(each.descriptor, each.constant))
        attributes.append(pool.attribute("ConstantValue", value))
    return _member(pool, each.access, each.name, each.descriptor, attributes)


def _method(pool: _Pool, each: Method, class_access: int) -> bytes:
    attributes = _signature(pool, each.signature) + _deprecated(pool, each.deprecated)
    if not each.access & ABSTRACT:
        body = b"\x01\xbf"  # aconst_null, athrow
        slots = argument_slots(each.descriptor) + (0 if each.access & STATIC else 1)
        code = struct.pack(">HHI", 1, slots, len(body)) + body + struct.pack(">HH", 0, 0)
        attributes.append(pool.attribute("Code", code))
    if each.throws:
        names = _counted(struct.pack(">H", pool.of_class(name)) for name in each.throws)
        attributes.append(pool.attribute("Exceptions", names))
    if each.has_default and class_access & ANNOTATION:
        empty = b"[" + struct.pack(">H", 0)
        attributes.append(pool.attribute("AnnotationDefault", empty))
    return _member(pool, each.access, each.name, each.descriptor, attributes)


def _member(
    pool: _Pool, access: int, name: str, descriptor: str, attributes: Sequence[bytes]
) -> bytes:
    head = struct.pack(">HHH", access, pool.utf8(name), pool.utf8(descriptor))
    return head + _counted(attributes)


def _nested(pool: _Pool, name: str, access: int) -> bytes:
    outer, _, simple = name.rpartition("$")
    # SUPER has no meaning in this table (4.7.6).
    indices = pool.of_class(name), pool.of_class(outer), pool.utf8(simple)
    return struct.pack(">HHHH", *indices, access & ~SUPER)


def argument_slots(descriptor: str) -> int:
    """Local variables that the arguments of a method descriptor take."""
    slots = at = 0
    arguments = descriptor[1 : descriptor.index(")")]
    while at < len(arguments):
        start = at
        while arguments[at] == "[":
            at += 1
        wide = at == start and arguments[at] in "JD"
        at = arguments.index(";", at) + 1 if arguments[at] == "L" else at + 1
        slots += 2 if wide else 1
    return slots
