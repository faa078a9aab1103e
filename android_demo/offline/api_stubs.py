"""Makes a jar to compile against from Android's published API signatures (format 2.0).

    python3 api_stubs.py core/api/current.txt android-34.jar

The bodies throw: the real classes are on the phone.
"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import class_file as cf

PRIMITIVES = {
    "void": "V",
    "boolean": "Z",
    "byte": "B",
    "char": "C",
    "short": "S",
    "int": "I",
    "long": "J",
    "float": "F",
    "double": "D",
}
MODIFIERS = {
    "public": cf.PUBLIC,
    "protected": cf.PROTECTED,
    "static": cf.STATIC,
    "final": cf.FINAL,
    "abstract": cf.ABSTRACT,
    "transient": 0x80,
    "volatile": 0x40,
    **dict.fromkeys(("default", "native", "strictfp", "synchronized"), 0),
}
OBJECT, STRING = "Ljava/lang/Object;", "Ljava/lang/String;"

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|@?[\w.$]*[\w$]|\.\.\.|[^\s\w]')
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0"}


@dataclass(frozen=True)
class Type:
    """A type as written; `name` is dotted, of a primitive, of a type variable, or a wildcard."""

    name: str
    arguments: tuple[Type, ...] = ()
    dimensions: int = 0
    wildcard: str = ""
    """`*`, `+` (extends) or `-` (super); `name` and the rest are its bound."""
    member: Type | None = None
    """`Inner` of `Outer<T>.Inner`."""


@dataclass(frozen=True)
class Variable:
    """A type variable and its bounds."""

    name: str
    bounds: tuple[Type, ...]


class Scope:
    """Which names are type variables, and what they erase to (a descriptor)."""

    def __init__(self, outer: Scope | None = None) -> None:
        self.erasures: dict[str, str] = dict(outer.erasures) if outer else {}

    def declare(self, variables: Iterable[Variable]) -> str:
        """Add the variables; returns the formal type parameters of a signature."""
        variables = tuple(variables)
        for variable in variables:
            self.erasures[variable.name] = OBJECT
        for variable in variables:
            if variable.bounds:
                self.erasures[variable.name] = self.descriptor(variable.bounds[0])
        formal = (
            f"{each.name}:" + (":".join(map(self.signature, each.bounds)) or OBJECT)
            for each in variables
        )
        return f"<{''.join(formal)}>" if variables else ""

    def descriptor(self, kind: Type) -> str:
        """Of the erased type."""
        if kind.name in PRIMITIVES:
            base = PRIMITIVES[kind.name]
        elif kind.name in self.erasures:
            base = self.erasures[kind.name]
        else:
            base = f"L{internal_name(kind)};"
        return "[" * kind.dimensions + base

    def signature(self, kind: Type) -> str:
        """With its type arguments (JVM specification 4.7.9.1)."""
        if kind.wildcard == "*":
            return "*"
        prefix = kind.wildcard + "[" * kind.dimensions
        if kind.name in PRIMITIVES:
            return prefix + PRIMITIVES[kind.name]
        if kind.name in self.erasures:
            return f"{prefix}T{kind.name};"
        text = internal_name(Type(kind.name)) + self._arguments(kind)
        member = kind.member
        while member is not None:
            text += f".{member.name}" + self._arguments(member)
            member = member.member
        return f"{prefix}L{text};"

    def generic(self, kind: Type) -> bool:
        """Whether the signature says more than the descriptor."""
        return bool(kind.arguments) or kind.name in self.erasures

    def _arguments(self, kind: Type) -> str:
        inside = "".join(map(self.signature, kind.arguments))
        return f"<{inside}>" if inside else ""


def internal_name(kind: Type) -> str:
    """`android.os.Build.VERSION` -> `android/os/Build$VERSION`; no package means java.lang."""
    parts = kind.name.split(".")
    if len(parts) == 1:
        parts = ["java", "lang", *parts]
    first = next((at for at, part in enumerate(parts) if part[0].isupper()), len(parts) - 1)
    name = "/".join(parts[: first + 1])
    members = parts[first + 1 :]
    inner = kind.member
    while inner is not None:
        members += inner.name.split(".")
        inner = inner.member
    return "$".join((name, *members))


class Reader:
    """Reads one declaration token by token, annotations left out."""

    def __init__(self, text: str) -> None:
        tokens = _TOKEN.findall(text)
        self.deprecated = "@Deprecated" in tokens
        self._tokens = list(_without_annotations(tokens))
        self._at = 0

    def peek(self) -> str:
        """The next token; empty at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def take(self) -> str:
        """The next token, which is passed."""
        token = self.peek()
        self._at += 1
        return token

    def accept(self, token: str) -> bool:
        """Pass this token if it is next."""
        if self.peek() != token:
            return False
        self._at += 1
        return True

    def rest(self, end: str) -> list[str]:
        """All tokens before `end`."""
        tokens = []
        while self.peek() and self.peek() != end:
            tokens.append(self.take())
        return tokens

    def modifiers(self) -> tuple[int, set[str]]:
        """Access flags and the words themselves."""
        words = set()
        access = 0
        while self.peek() in MODIFIERS:
            word = self.take()
            words.add(word)
            access |= MODIFIERS[word]
        return access, words

    def variables(self) -> Iterator[Variable]:
        """`<T extends A & B, U>`, where there is one."""
        if not self.accept("<"):
            return
        while not self.accept(">"):
            name, bounds = self.take(), []
            if self.accept("extends"):
                bounds.append(self.type())
                while self.accept("&"):
                    bounds.append(self.type())
            self.accept(",")
            yield Variable(name, tuple(bounds))

    def types(self) -> Iterator[Type]:
        """Types until something else comes, with or without commas between them."""
        while re.match(r"[\w$]", self.peek()) and self.peek() not in ("implements", "default"):
            yield self.type()
            self.accept(",")

    def type(self) -> Type:
        """One type with its arguments and dimensions."""
        if self.accept("?"):
            for word, sign in (("extends", "+"), ("super", "-")):
                if self.accept(word):
                    bound = self.type()
                    return Type(bound.name, bound.arguments, bound.dimensions, sign, bound.member)
            return Type("?", wildcard="*")
        name, arguments = self.take(), self._arguments()
        member = None
        if self.peek().startswith(".") and self.peek() != "...":
            inner = self.take()
            inner = inner[1:] or self.take()
            member = Type(inner, self._arguments())
        dimensions = 0
        while self.accept("["):
            self.accept("]")
            dimensions += 1
        if self.peek() == "...":
            dimensions += 1
        return Type(name, arguments, dimensions, member=member)

    def _arguments(self) -> tuple[Type, ...]:
        if not self.accept("<"):
            return ()
        arguments = []
        while not self.accept(">"):
            arguments.append(self.type())
            self.accept(",")
        return tuple(arguments)


def _without_annotations(tokens: list[str]) -> Iterator[str]:
    at = 0
    while at < len(tokens):
        if not tokens[at].startswith("@") or tokens[at] == "@interface":
            yield tokens[at]
            at += 1
            continue
        at += 1
        depth = 0
        while at < len(tokens) and (depth or tokens[at] == "("):
            depth += {"(": 1, ")": -1}.get(tokens[at], 0)
            at += 1


class Api:
    """All classes of a signature file."""

    def __init__(self, text: str) -> None:
        self.classes: dict[str, cf.ClassFile] = {}
        self._scopes: dict[str, Scope] = {}
        package = ""
        current: cf.ClassFile | None = None
        for line in map(str.strip, text.splitlines()):
            word, _, rest = line.partition(" ")
            if not line or line.startswith("//"):
                continue
            if word == "package":
                package = Reader(rest).take().replace(".", "/")
            elif line == "}":
                current = None
            elif current is None:
                current = self._open(package, Reader(line))
            elif word in ("field", "enum_constant"):
                current.fields.append(self._field(current, Reader(rest), word))
            elif word in ("ctor", "method"):
                current.methods.append(self._method(current, Reader(rest), word))
        self._link()

    def _open(self, package: str, reader: Reader) -> cf.ClassFile:
        access, _ = reader.modifiers()
        kind, name = reader.take(), f"{package}/{reader.take().replace('.', '$')}"
        outer = name.rpartition("$")[0]
        scope = Scope(None if access & cf.STATIC else self._scopes.get(outer))
        formal = scope.declare(reader.variables())
        parents = list(reader.types()) if reader.accept("extends") else []
        interfaces = list(reader.types()) if reader.accept("implements") else []
        if kind in ("interface", "@interface"):
            access |= cf.INTERFACE | cf.ABSTRACT | (cf.ANNOTATION if kind[0] == "@" else 0)
            interfaces, parents = parents + interfaces, []
            interfaces += [Type("java.lang.annotation.Annotation")] if kind[0] == "@" else []
        elif kind == "enum":
            access |= cf.SUPER | cf.ENUM
            parents = [Type("java.lang.Enum", (Type(name.replace("/", ".").replace("$", ".")),))]
        else:
            access |= cf.SUPER
        parent = parents[0] if parents else Type("Object")
        generic = formal or any(each.arguments for each in (parent, *interfaces))
        signature = formal + "".join(map(scope.signature, (parent, *interfaces)))
        self._scopes[name] = scope
        self.classes[name] = cf.ClassFile(
            name,
            access,
            internal_name(parent),
            [internal_name(each) for each in interfaces],
            signature if generic else None,
            deprecated=reader.deprecated,
        )
        return self.classes[name]

    def _field(self, owner: cf.ClassFile, reader: Reader, word: str) -> cf.Field:
        scope = self._scopes[owner.name]
        access, _ = reader.modifiers()
        if word == "enum_constant":
            access |= cf.ENUM | cf.PUBLIC | cf.STATIC | cf.FINAL
        if owner.access & cf.INTERFACE:
            access |= cf.PUBLIC | cf.STATIC | cf.FINAL
        kind, name = reader.type(), reader.take()
        descriptor = scope.descriptor(kind)
        constant = None
        simple = len(descriptor) == 1 or descriptor == STRING
        if reader.accept("=") and simple and access & cf.STATIC and access & cf.FINAL:
            constant = literal(descriptor, reader.rest(";"))
        signature = scope.signature(kind) if scope.generic(kind) else None
        return cf.Field(access, name, descriptor, signature, constant, reader.deprecated)

    def _method(self, owner: cf.ClassFile, reader: Reader, word: str) -> cf.Method:
        scope = Scope(self._scopes[owner.name])
        access, words = reader.modifiers()
        formal = scope.declare(reader.variables())
        result = Type("void") if word == "ctor" else reader.type()
        name = reader.take()
        arguments = self._arguments(reader)
        if any(variadic for _, variadic in arguments):
            access |= cf.VARARGS
        throws = list(reader.types()) if reader.accept("throws") else []
        if owner.access & cf.INTERFACE:
            access |= cf.PUBLIC | (0 if words & {"default", "static"} else cf.ABSTRACT)
        kinds = [kind for kind, _ in arguments]
        descriptor = f"({''.join(map(scope.descriptor, kinds))}){scope.descriptor(result)}"
        signature = None
        if formal or any(map(scope.generic, (*kinds, result, *throws))):
            inside = "".join(map(scope.signature, kinds))
            signature = f"{formal}({inside}){scope.signature(result)}"
            if any(map(scope.generic, throws)):
                signature += "".join(f"^{scope.signature(each)}" for each in throws)
        return cf.Method(
            access,
            "<init>" if word == "ctor" else name,
            descriptor,
            signature,
            [scope.descriptor(each)[1:-1] for each in throws],
            reader.accept("default"),
            reader.deprecated,
        )

    def _arguments(self, reader: Reader) -> list[tuple[Type, bool]]:
        arguments = []
        reader.accept("(")
        while not reader.accept(")"):
            while reader.peek() in MODIFIERS:
                reader.take()
            kind, variadic = reader.type(), reader.accept("...")
            if reader.peek() not in (",", ")"):
                reader.take()  # the name of the parameter, where one is published
            reader.accept(",")
            arguments.append((kind, variadic))
        return arguments

    def _link(self) -> None:
        """Tell each class of the classes around it and right inside it; complete the enums."""
        for name, each in self.classes.items():
            chain = [name[:at] for at in range(len(name)) if name[at] == "$"] + [name]
            for nested in chain[1:]:
                each.nested[nested] = self.classes[nested].access
            outer = self.classes.get(name.rpartition("$")[0])
            if outer is not None:
                outer.nested[name] = each.access
            if each.access & cf.ENUM:
                known = {method.name for method in each.methods}
                made = {
                    "valueOf": f"({STRING})L{name};",
                    "values": f"()[L{name};",
                }
                for method in made.keys() - known:
                    access = cf.PUBLIC | cf.STATIC
                    each.methods.append(cf.Method(access, method, made[method]))


def literal(descriptor: str, tokens: list[str]) -> cf.Constant | None:
    """The value of a constant, as the signature file writes it."""
    text = "".join(tokens)
    if text in ("true", "false"):
        return text == "true"
    if text[:1] in "\"'":
        value = _ESCAPE.sub(_unescape, text[1:-1])
        return value if descriptor == STRING else ord(value)
    if descriptor in "FD":
        return _floating(text.rstrip("fFdD"))
    return int(text.rstrip("Ll"), 0)


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if len(code) == 5 else _ESCAPES.get(code, code)


def _floating(text: str) -> float:
    """Also `(0.0f/0.0f)` and the infinities, which are written as divisions."""
    division = re.fullmatch(r"\(?(-?[\d.]+)f?/(-?[\d.]+)f?\)?", text)
    if division is None:
        return float(text)
    numerator = float(division[1])
    if numerator == 0:
        return float("nan")
    return float("inf") if numerator > 0 else float("-inf")


def main(source: str, target: str) -> None:
    """Write the jar; what is in it is the same for the same signatures."""
    api = Api(Path(source).read_text(encoding="utf-8"))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as jar:
        for name, each in sorted(api.classes.items()):
            jar.writestr(zipfile.ZipInfo(f"{name}.class"), each.to_bytes(), zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main(*sys.argv[1:3])
