"""Small tokenizers of the kinds that the supported families use, trained in a second or two."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    processors,
    trainers,
)
from tokenizers import pre_tokenizers as pre

TEXT = [
    "The cat sat on the mat, didn't it? We've seen 1234567 of them; I'LL say so.",
    "\u00c4pfel und \u00d6l kosten 3,50 \u20ac. "
    "\u4f60\u597d\u4e16\u754c \u0645\u0631\u062d\u0628\u0627 \U0001f600 \U0001f468\u200d\U0001f469",
    "def f(x):\n    return x + 1  # comment\n\n\tprint('  spaces   ')\r\n",
    "once upon a time there was a little girl named Lily and she was happy happy happy",
] * 4

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def _byte_level(splitter: pre.PreTokenizer, normalizer: Any = None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=420, show_progress=False, initial_alphabet=pre.ByteLevel.alphabet()
        ),
    )
    tokenizer.add_special_tokens(["<s>", "</s>", "<|eot|>", "<|im_start|>"])
    return tokenizer


def _split(pattern: str) -> pre.PreTokenizer:
    return pre.Sequence(
        [
            pre.Split(Regex(pattern), "isolated"),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _gpt2() -> Tokenizer:
    tokenizer = _byte_level(pre.ByteLevel(add_prefix_space=True))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_tokens(
        [
            AddedToken("<mask>", lstrip=True, special=True),
            AddedToken("<word>", single_word=True, normalized=False),
            AddedToken("<both>", lstrip=True, rstrip=True, normalized=False),
            AddedToken("   ", normalized=False),
        ]
    )
    return tokenizer


def _llama3() -> Tokenizer:
    tokenizer = _byte_level(_split(LLAMA3))
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<s> $A </s>",
                special_tokens=[
                    ("<s>", tokenizer.token_to_id("<s>")),
                    ("</s>", tokenizer.token_to_id("</s>")),
                ],
            ),
        ]
    )
    state = json.loads(tokenizer.to_str())
    state["model"]["ignore_merges"] = True
    return Tokenizer.from_str(json.dumps(state))


def _qwen2() -> Tokenizer:
    tokenizer = _byte_level(_split(QWEN2), normalizers.NFC())
    tokenizer.add_tokens([AddedToken("<norm>\u00c5", normalized=True), AddedToken("<norm>")])
    return tokenizer


def _smollm() -> Tokenizer:
    return _byte_level(
        pre.Sequence([pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)])
    )


def _fallback(*, fuse_unk: bool, alphabet: int = 60, drop: str = "", **parts: Any) -> Tokenizer:
    """SentencePiece-style BPE: merges are learned on words that begin with the visible space."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    trained.pre_tokenizer = pre.Split("\u2581", "merged_with_next")
    trained.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=600,
            limit_alphabet=alphabet,
            show_progress=False,
            special_tokens=["<unk>", "<s>", "</s>", *BYTES],
        ),
    )
    state = json.loads(trained.to_str())
    state["model"].update(unk_token="<unk>", fuse_unk=fuse_unk, byte_fallback=True)  # noqa: S106
    if drop:
        vocab = state["model"]["vocab"]
        vocab[drop[:-1] + "?"] = vocab.pop(drop)
    state["added_tokens"] = state["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    for name, part in {"normalizer": None, "pre_tokenizer": None, **parts}.items():
        setattr(tokenizer, name, part)
    return tokenizer


def _llama2() -> Tokenizer:
    tokenizer = _fallback(
        fuse_unk=True,
        normalizer=normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        ),
        decoder=decoders.Sequence(
            [
                decoders.Replace("\u2581", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.add_tokens(
        [
            AddedToken("<norm>", normalized=True),
            AddedToken("<|eot|>", rstrip=True, normalized=False),
        ]
    )
    return tokenizer


def _llama2_metaspace() -> Tokenizer:
    return _fallback(
        fuse_unk=True,
        pre_tokenizer=pre.Metaspace(prepend_scheme="first", split=False),
        decoder=decoders.Sequence(
            [
                decoders.Replace("\u2581", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        ),
    )


def _gemma() -> Tokenizer:
    return _fallback(
        fuse_unk=True,
        normalizer=normalizers.Replace(" ", "\u2581"),
        pre_tokenizer=pre.Split(" ", "merged_with_previous"),
        decoder=decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
        ),
    )


def _unknown() -> Tokenizer:
    """A byte has no token, so some characters are unknown; decoded by a Metaspace."""
    return _fallback(
        fuse_unk=False,
        drop="<0xF0>",
        pre_tokenizer=pre.Metaspace(prepend_scheme="always"),
        decoder=decoders.Metaspace(prepend_scheme="always"),
    )


def _unknown_fused() -> Tokenizer:
    return _fallback(
        fuse_unk=True,
        drop="<0xE4>",
        pre_tokenizer=pre.Metaspace(prepend_scheme="never"),
        decoder=decoders.Metaspace(prepend_scheme="never"),
    )


MADE: dict[str, Callable[[], Tokenizer]] = {
    "gpt2": _gpt2,
    "llama3": _llama3,
    "qwen2": _qwen2,
    "o200k": lambda: _byte_level(_split(O200K)),
    "smollm": _smollm,
    "fallback-llama2": _llama2,
    "fallback-metaspace": _llama2_metaspace,
    "fallback-gemma": _gemma,
    "unknown": _unknown,
    "unknown-fused": _unknown_fused,
}


def make(name: str) -> Tokenizer:
    """A tokenizer of `MADE`."""
    return MADE[name]()
