"""Text in, text out: tokenizer, chat template and streaming detokenisation over an engine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from runtime_py.engines import Engine
from runtime_py.errors import BadRequestError, BrokenBundleError, MissingError
from runtime_py.generate import generate
from runtime_py.schema import Manifest

_INSTALL = "pip install 'paredown[pi-onnx]'"
_CONTEXT_TOKENS = 8
"""Tokens of the prompt that the detokeniser sees before the first new one."""

Message = dict[str, str]


class TextStream:
    """Turns a stream of token ids into text that never splits a character.

    Byte-level tokenizers spread one character over several tokens; the decoder then ends in
    U+FFFD, and the text is held back until the character is whole. Each piece is decoded after a
    few earlier tokens, because many decoders treat the first token of a text differently.
    """

    def __init__(self, decode: Callable[[list[int]], str], prompt_ids: Sequence[int] = ()) -> None:
        self._decode = decode
        self._pending = list(prompt_ids[-_CONTEXT_TOKENS:])
        self._shown = len(self._pending)

    def push(self, token_id: int) -> str:
        """Append a token; the text that became certain, perhaps none."""
        self._pending.append(token_id)
        text = self._new_text()
        if not text or text.endswith("\ufffd"):
            return ""
        self._pending = self._pending[self._shown :]
        self._shown = len(self._pending)
        return text

    def flush(self) -> str:
        """What is still held back, as the decoder renders it."""
        text = self._new_text()
        self._shown = len(self._pending)
        return text

    def _new_text(self) -> str:
        before = self._decode(self._pending[: self._shown])
        return self._decode(self._pending)[len(before) :]


class Conversation:
    """An engine with its bundle's tokenizer; with a chat template it remembers the turns."""

    def __init__(self, bundle: Path, manifest: Manifest, engine: Engine) -> None:
        self._engine = engine
        self._manifest = manifest
        self._tokenizer = _load_tokenizer(bundle)
        self._config = _tokenizer_config(bundle)
        source = _template_source(bundle, self._config)
        self._template = _compile_template(source) if source is not None else None
        self._messages: list[Message] = []

    def reply(self, text: str, max_new_tokens: int) -> Iterator[str]:
        """Stream the model's answer (or plain continuation) to `text`.

        Raises:
            BadRequestError: the prompt alone fills the context, or the template refuses it.
        """
        asked: list[Message] = [*self._messages, {"role": "user", "content": text}]
        prompt_ids = self._encode(asked if self._template is not None else text)
        room = self._engine.context_length - len(prompt_ids)
        if room < 1:
            raise BadRequestError(
                f"the prompt has {len(prompt_ids)} tokens, the context holds "
                f"{self._engine.context_length}",
                "say less, start anew, or export with a larger --context",
            )
        answer = ""
        for piece in self._stream(prompt_ids, min(max_new_tokens, room)):
            answer += piece
            yield piece
        if self._template is not None:
            self._messages = [*asked, {"role": "assistant", "content": answer}]

    def _stream(self, prompt_ids: list[int], count: int) -> Iterator[str]:
        stream = TextStream(self._tokenizer.decode, prompt_ids)
        eos = self._manifest.eos_token_ids
        for token_id in generate(self._engine, prompt_ids, count, eos):
            if token_id not in eos and (piece := stream.push(token_id)):
                yield piece
        if rest := stream.flush():
            yield rest

    def _encode(self, prompt: str | list[Message]) -> list[int]:
        if isinstance(prompt, list):
            text = self._render(prompt)
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
            return ids or self._start()
        ids = self._tokenizer.encode(prompt).ids
        start = self._start() if self._config.get("add_bos_token") else []
        return ids if start and ids[:1] == start else (start + ids or self._start())

    def _start(self) -> list[int]:
        """BOS, the one prompt that says nothing."""
        bos = self._manifest.bos_token_id
        return [] if bos is None else [bos]

    def _render(self, messages: list[Message]) -> str:
        from jinja2 import TemplateError

        names = ("bos_token", "eos_token", "unk_token", "pad_token")
        special = {name: _token_text(self._config.get(name)) for name in names}
        assert self._template is not None  # noqa: S101 - only called with a template
        try:
            text: str = self._template.render(
                messages=messages, add_generation_prompt=True, **special
            )
        except TemplateError as error:
            raise BadRequestError(f"the bundle's chat template refuses this: {error}") from error
        return text


def _load_tokenizer(bundle: Path) -> Any:
    path = bundle / "tokenizer.json"
    if not path.is_file():
        raise BadRequestError(
            f"{bundle} has no tokenizer.json", "use 'measure' and 'check', which need none"
        )
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingError("chat needs tokenizers, which is not installed", _INSTALL) from error
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise BrokenBundleError(f"{path} is not a tokenizer: {error}") from error


def _tokenizer_config(bundle: Path) -> dict[str, Any]:
    path = bundle / "tokenizer_config.json"
    value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not isinstance(value, dict):
        raise BrokenBundleError(f"{path} is not a JSON object")
    return value


def _template_source(bundle: Path, config: dict[str, Any]) -> str | None:
    """The template file, else the template inside of tokenizer_config.json, else None."""
    path = bundle / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    source = config.get("chat_template")
    return source if isinstance(source, str) else None


def _compile_template(source: str) -> Any:
    """The template in jinja's sandbox: it comes with the model, so it is not trusted."""
    try:
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise MissingError(
            "a bundle with a chat template needs jinja2, which is not installed", _INSTALL
        ) from error

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = time.strftime
    environment.filters["tojson"] = _to_json  # jinja's own escapes what HTML would need
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise BrokenBundleError(f"the bundle's chat template does not parse: {error}") from error


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _token_text(token: Any) -> str:
    """A token in tokenizer_config.json is a string or {"content": string}, or null."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""
