"""The verbs of `paredown-agent`: one JSON object on stdout (chat: text), errors are exceptions."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any, NoReturn

from runtime_py import sensors
from runtime_py.bundle import open_bundle
from runtime_py.chat import Conversation
from runtime_py.check import check_bundle
from runtime_py.engines import open_engine
from runtime_py.errors import EXIT_HOLD, EXIT_OK, BadRequestError
from runtime_py.measure import measure
from runtime_py.measure_native import measure_native
from runtime_py.schema import Protocol, dumps, loads, to_json

PROGRAM = "paredown-agent"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadRequestError(message, f"see '{self.prog} --help'")


def parser() -> argparse.ArgumentParser:
    """The command line; a wrong one raises BadRequestError when it is parsed."""
    top = _Parser(prog=PROGRAM, description="Measure, check or talk to a bundle on this machine.")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name, help=text, description=text)
        verb.add_argument("bundle", type=Path, metavar="BUNDLE")
        if name != "info":
            verb.add_argument("--threads", type=int, metavar="N", help="compute threads")
        return verb

    measuring = add("measure", "time one launch; a launch record on stdout")
    measuring.add_argument("--protocol", metavar="JSON|FILE", help="what to run")
    measuring.add_argument("--runner", type=Path, metavar="FILE", help="the native runner")
    add("check", "run the golden cases; a check report on stdout, exit code 1 if one fails")
    chatting = add("chat", "stream text; lines from stdin without --prompt")
    chatting.add_argument("--prompt", metavar="TEXT", help="one prompt, then end")
    chatting.add_argument("-n", type=int, default=128, metavar="TOKENS", help="most new tokens")
    add("info", "the checked manifest and this machine's facts")
    return top


def run(options: argparse.Namespace) -> int:
    """Run one parsed command; the exit status.

    Raises:
        ParedownError: whatever stops the command.
    """
    verbs = {"measure": _measure, "check": _check, "chat": _chat, "info": _info}
    return verbs[options.verb](options)


def _measure(options: argparse.Namespace) -> int:
    protocol = _protocol(options.protocol)
    if options.threads is not None:
        protocol = dataclasses.replace(protocol, threads=options.threads)
    manifest = open_bundle(options.bundle)
    if protocol.engine == "native":
        if options.runner is None:
            raise BadRequestError("the protocol wants the native runner", "give --runner FILE")
        record = measure_native(options.runner, options.bundle, manifest, protocol)
    else:
        record = measure(options.bundle, manifest, protocol)
    _print_json(record)
    return EXIT_OK


def _check(options: argparse.Namespace) -> int:
    manifest = open_bundle(options.bundle)
    report = check_bundle(options.bundle, manifest, _threads(options))
    _print_json(report)
    return EXIT_OK if report.passed else EXIT_HOLD


def _chat(options: argparse.Namespace) -> int:
    if options.n < 1:
        raise BadRequestError(f"-n is {options.n}", "use 1 or more")
    manifest = open_bundle(options.bundle)
    engine = open_engine(options.bundle, manifest, _threads(options))
    conversation = Conversation(options.bundle, manifest, engine)
    if options.prompt is not None:
        _say(conversation, options.prompt, options.n)
        return EXIT_OK
    while True:
        if sys.stdin.isatty():
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return EXIT_OK
        if text := line.rstrip("\r\n"):
            _say(conversation, text, options.n)


def _info(options: argparse.Namespace) -> int:
    manifest = open_bundle(options.bundle)
    _print_json({"manifest": to_json(manifest), "device": to_json(sensors.read_all())})
    return EXIT_OK


def _say(conversation: Conversation, text: str, max_new_tokens: int) -> None:
    for piece in conversation.reply(text, max_new_tokens):
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()


def _protocol(text: str | None) -> Protocol:
    """A protocol from JSON text (starting with '{') or from a file."""
    if text is None:
        return Protocol()
    if text.lstrip().startswith("{"):
        return loads(Protocol, text, "--protocol")
    try:
        content = Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequestError(
            f"cannot read the protocol {text}: {error}", "give JSON text or a file"
        ) from error
    return loads(Protocol, content, text)


def _threads(options: argparse.Namespace) -> int:
    return sensors.available_cores() if options.threads is None else int(options.threads)


def _print_json(value: Any) -> None:
    sys.stdout.write(dumps(value))
