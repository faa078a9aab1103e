"""A tokenizer.json in the words of GGUF's `tokenizer.ggml` keys.

Two kinds are known: SentencePiece-style BPE with byte fallback (`llama`) and byte-level BPE
(`gpt2`), the latter with the ways of splitting text that llama.cpp has a name for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolchain.errors import BadRequestError

if TYPE_CHECKING:
    from gguf import GGUFWriter

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

SPLITS = {
    ("byte-level regex",): "gpt-2",
    ("single digits", "byte-level regex"): "smollm",
    (rf"{_CONTRACTIONS}|\p{{N}}{{1,3}}|{_REST}",): "llama-bpe",
    (rf"{_CONTRACTIONS}|\p{{N}}|{_REST}",): "qwen2",
}
"""llama.cpp's name (`tokenizer.ggml.pre`) by the steps that split text into words."""

BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class Vocabulary:
    """What the file says about text; lists are by token id, as long as the embedding."""

    model: str
    """`llama` or `gpt2`."""
    pre: str
    tokens: list[str]
    kinds: list[int]
    """gguf.TokenType."""
    scores: list[float]
    """Of `llama`: a merge of higher score comes first. Empty for `gpt2`."""
    merges: list[str]
    """Of `gpt2`, first merge first. Empty for `llama`."""
    space_prefix: bool
    """Whether text gets a space in front."""
    bos: int | None
    eos: list[int]
    unknown: int | None
    adds_bos: bool
    adds_eos: bool
    chat_template: str | None


def read_vocabulary(
    tokenizer_json: str,
    *,
    size: int,
    name: str,
    special_ids: tuple[int | None, list[int]],
    letter_ids: list[int],
    chat_template: object,
) -> Vocabulary:
    """Translate a tokenizer.json.

    Args:
        tokenizer_json: its text.
        size: rows of the embedding; ids without a token become unused ones.
        name: the model's name, for the message.
        special_ids: BOS and EOS ids.
        letter_ids: how the tokenizer encodes a letter, which shows what it puts around a text.
        chat_template: of the tokenizer, if a text.

    Raises:
        BadRequestError: a tokenizer of another kind.
    """
    tokenizer = json.loads(tokenizer_json)
    model = tokenizer["model"]
    if model.get("type") != "BPE":
        raise _unknown(name, f"a {model.get('type')} tokenizer")
    merges = [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    tokens, kinds = _tokens(tokenizer, size)
    fallback = bool(model.get("byte_fallback"))
    if not merges and not fallback:
        raise _unknown(name, "a BPE tokenizer without merges")
    unknown = model.get("unk_token")
    bos, eos = special_ids
    return Vocabulary(
        model="llama" if fallback else "gpt2",
        pre="default" if fallback else _split_name(tokenizer, name),
        tokens=tokens,
        kinds=kinds,
        scores=_scores(tokens, merges) if fallback else [],
        merges=[] if fallback else [" ".join(merge) for merge in merges],
        space_prefix=fallback and _prepends_space(tokenizer),
        bos=bos,
        eos=eos,
        unknown=tokens.index(unknown) if unknown in tokens else None,
        adds_bos=letter_ids[0] == bos,
        adds_eos=letter_ids[-1] in eos,
        chat_template=chat_template if isinstance(chat_template, str) else None,
    )


def write_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary) -> None:
    """Add the keys to the file's metadata."""
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    else:
        writer.add_token_merges(vocabulary.merges)
    writer.add_add_space_prefix(vocabulary.space_prefix)
    writer.add_add_bos_token(vocabulary.adds_bos)
    writer.add_add_eos_token(vocabulary.adds_eos)
    for add, token_id in (
        (writer.add_bos_token_id, vocabulary.bos),
        (writer.add_eos_token_id, next(iter(vocabulary.eos), None)),
        (writer.add_eot_token_id, next(iter(vocabulary.eos[1:]), None)),
        (writer.add_unk_token_id, vocabulary.unknown),
    ):
        if token_id is not None:
            add(token_id)
    if vocabulary.chat_template is not None:
        writer.add_chat_template(vocabulary.chat_template)


def _tokens(tokenizer: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    from gguf import TokenType

    model = tokenizer["model"]
    tokens = [f"[PAD{index}]" for index in range(size)]
    kinds = [TokenType.UNUSED] * size
    known = [(index, token, TokenType.NORMAL) for token, index in model["vocab"].items()]
    for added in tokenizer.get("added_tokens") or []:
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        known.append((added["id"], added["content"], kind))
    for index, token, kind in known:
        if index < size:  # what has no row in the embedding cannot be said
            is_byte = model.get("byte_fallback") and BYTE_TOKEN.fullmatch(token)
            tokens[index], kinds[index] = token, TokenType.BYTE if is_byte else kind
    unknown = model.get("unk_token")
    if unknown in tokens:
        kinds[tokens.index(unknown)] = TokenType.UNKNOWN
    return tokens, [int(kind) for kind in kinds]


def _scores(tokens: list[str], merges: list[tuple[str, ...]]) -> list[float]:
    """Each token's place by the first merge that makes it: llama.cpp knows tokens, not merges."""
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(merges):
        ranks.setdefault("".join(pair), rank)
    return [-float(ranks.get(token, len(merges) + 1)) for token in tokens]


def _split_name(tokenizer: dict[str, Any], name: str) -> str:
    steps = tuple(_split_steps(tokenizer.get("pre_tokenizer"), name))
    if steps not in SPLITS:
        raise _unknown(name, "a tokenizer whose way of splitting text llama.cpp has no name for")
    return SPLITS[steps]


def _prepends_space(tokenizer: dict[str, Any]) -> bool:
    parts = [*_flat(tokenizer.get("normalizer")), *_flat(tokenizer.get("pre_tokenizer"))]
    return any(
        part["type"] == "Prepend"
        or (part["type"] == "Metaspace" and part.get("prepend_scheme", "always") != "never")
        for part in parts
    )


def _split_steps(pre_tokenizer: dict[str, Any] | None, name: str) -> Iterator[str]:
    for part in _flat(pre_tokenizer):
        if part["type"] == "ByteLevel":
            if part.get("add_prefix_space"):
                raise _unknown(name, "a byte-level tokenizer that puts a space before text")
            if part.get("use_regex", True):
                yield "byte-level regex"
        elif part["type"] == "Digits" and part.get("individual_digits"):
            yield "single digits"
        else:
            yield str(part.get("pattern", {}).get("Regex") or part["type"])


def _flat(part: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A normalizer or pre-tokenizer, or each step of a sequence of them."""
    if part is None:
        return
    if part["type"] == "Sequence":
        for step in part.get("normalizers") or part.get("pretokenizers") or []:
            yield from _flat(step)
    else:
        yield part


def _unknown(name: str, what: str) -> BadRequestError:
    return BadRequestError(
        f"{name} has {what}, which a GGUF file of paredown cannot hold",
        "known: byte-level BPE as in GPT-2, SmolLM, Llama 3 and Qwen 2, BPE with byte fallback",
    )
