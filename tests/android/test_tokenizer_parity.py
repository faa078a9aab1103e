"""The Java tokenizer against Hugging Face's tokenizers, on real and on random text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jvm_text import JvmText, Refused
from made_tokenizers import MADE, make
from tokenizers import Tokenizer

pytest_plugins = ("android_fixtures",)

EMBEDDED = Path(__file__).parents[2] / "toolchain" / "embedded" / "model" / "tokenizer.json"
COMMON: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.too_slow],
}
CHUNK = 200_000
"""Characters of one encoding: as a whole, so that long words and the cache are part of it."""


class Pair:
    """The same tokenizer.json on both sides."""

    def __init__(self, jvm: JvmText, path: Path) -> None:
        self._jvm = jvm
        self._path = str(path)
        self._reference = Tokenizer.from_file(str(path))
        jvm.ask("open", path=self._path)

    def check(self, texts: list[str], *, special: bool = True) -> list[list[int]]:
        """Ids, and what they are decoded to, are equal; the ids."""
        rows = self.check_encoding(texts, special=special)
        self.check_decoding(rows)
        return rows

    def check_encoding(self, texts: list[str], *, special: bool = True) -> list[list[int]]:
        """Ids are equal; the ids."""
        answer = self._jvm.ask("encode", path=self._path, texts=texts, special=special)
        encodings = self._reference.encode_batch_fast(texts, add_special_tokens=special)
        for text, mine, theirs in zip(texts, answer["ids"], encodings, strict=True):
            assert mine == theirs.ids, (self._path, text[:200])
        return [encoding.ids for encoding in encodings]

    def check_decoding(self, rows: list[list[int]], *, streamed: bool = True) -> None:
        """Decoding is equal, with and without special tokens; pieces make up the whole."""
        answer = self._jvm.ask("decode", path=self._path, rows=rows, streams=streamed)
        for key, skip in (("all", False), ("shown", True)):
            theirs = [self._reference.decode(row, skip_special_tokens=skip) for row in rows]
            assert answer[key] == theirs, (self._path, key)
        for pieces, whole in zip(answer["pieces"], answer["shown"], strict=False):
            assert "".join(pieces) == whole, (self._path, pieces)
        assert len(answer["pieces"]) == (len(rows) if streamed else 0)

    def pieces(self, ids: list[int]) -> list[str]:
        """What a stream shows after each token, and at the end."""
        answer = self._jvm.ask("decode", path=self._path, rows=[ids], streams=True)
        pieces: list[str] = answer["pieces"][0]
        return pieces

    def vocabulary(self) -> int:
        return self._reference.get_vocab_size(with_added_tokens=True)


@pytest.fixture(scope="module")
def jvm(java_classes: Path) -> Iterator[JvmText]:
    with JvmText(java_classes) as process:
        yield process


@pytest.fixture(scope="module")
def pairs(jvm: JvmText, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """One pair for the embedded model and for each kind that is trained here."""
    folder = tmp_path_factory.mktemp("tokenizers")
    found = {"embedded": Pair(jvm, EMBEDDED)}
    for name in MADE:
        path = folder / f"{name}.json"
        make(name).save(str(path))
        found[name] = Pair(jvm, path)
    return found


@pytest.mark.assets
@pytest.mark.parametrize("model", ["stories260K", "stories3M", "embedded"])
def test_all_text_of_the_assets(jvm: JvmText, assets: Path, model: str) -> None:
    """Every text file of the assets, whole: encoded, decoded and streamed as the reference does."""
    path = EMBEDDED if model == "embedded" else assets / "models" / model / "tokenizer.json"
    pair = Pair(jvm, path)
    files = sorted((assets / "data").iterdir())
    assert len(files) >= 6
    for file in files:
        text = file.read_text(encoding="utf-8")
        rows = pair.check_encoding([text[at : at + CHUNK] for at in range(0, len(text), CHUNK)])
        pair.check_decoding(rows, streamed=False)
        pair.check_decoding([rows[0][:20_000]])


@pytest.mark.assets
def test_made_tokenizers_on_text_of_the_assets(pairs: dict[str, Pair], assets: Path) -> None:
    """A slice of each file through each kind of tokenizer."""
    for file in sorted((assets / "data").iterdir()):
        text = file.read_text(encoding="utf-8")[-6_000:]
        for pair in pairs.values():
            pair.check([text])


SPECIAL_TEXT = st.sampled_from(
    [
        "<s>",
        "</s>",
        "<unk>",
        "<|eot|>",
        "<|im_start|>",
        "<mask>",
        "<word>",
        "<both>",
        "<norm>",
        "<0x41>",
    ]
)
SCRIPTS = st.sampled_from(
    [
        "\u4f60\u597d\u3002",
        "\u0645\u0631\u062d\u0628\u0627",
        "\u05e9\u05dc\u05d5\u05dd",
        "e\u0301a\u0308\u0323",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\U0001f1e9\U0001f1ea",
        "\u1100\u1161\u11a8",
        "\ud55c",
        "don't I'LL we'\u017fve",
        "12345 \u0661\u0662\u00bd",
        "\u2028\u3000\u00a0\u1680",
        "\r\n\r\n",
        "  \t  ",
        "\u2581a \u2581",
        "\x00\x1f\x7f\x85",
        "\u212b\u2126\ufb01",
        "\u01c5\u02b0\u0e01\u0e33",
        "_-=+ (a) [b]",
        "\ufffd",
        "a/b\\c\n/",
        "\u0378\U000e0001\U0010ffff",
    ]
)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
WORDS = st.sampled_from([" the", "cat", " Sat", "ning", " 3", "!", "\n", " ", "'s", "N'T", "the"])
TEXT = st.lists(SPECIAL_TEXT | SCRIPTS | ANY_TEXT | WORDS, max_size=8).map("".join)


@settings(max_examples=60, **COMMON)
@given(texts=st.lists(TEXT, min_size=4, max_size=8), special=st.booleans())
def test_random_text(pairs: dict[str, Pair], texts: list[str], special: bool) -> None:
    for pair in pairs.values():
        pair.check(texts, special=special)


@settings(max_examples=60, **COMMON)
@given(data=st.data())
def test_random_ids(pairs: dict[str, Pair], data: st.DataObject) -> None:
    """Decoding of ids that no text has: halves of characters, unknown ids, special tokens."""
    for name, pair in pairs.items():
        ids = st.integers(0, pair.vocabulary() + 3)
        rows = data.draw(st.lists(st.lists(ids, max_size=12), min_size=1, max_size=3))
        # Rows of byte tokens that are no UTF-8 are shown as they come; see Stage.ByteFallback.
        pair.check_decoding(rows, streamed=not name.startswith("fallback"))


def test_every_character_that_python_knows(pairs: dict[str, Pair]) -> None:
    """Which class each character is in, seen by how words with it are split."""
    import unicodedata

    known = [
        c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cs", "Cn", "Co")
    ]
    assert len(known) > 140_000
    texts = []
    for start in range(0, len(known), 4000):
        texts.append("".join(f"{c}a {c}1" for c in known[start : start + 4000]))
    for name in ("smollm", "o200k"):
        pairs[name].check_encoding(texts)


def test_a_stream_never_shows_half_a_character(pairs: dict[str, Pair]) -> None:
    """One piece per token: nothing until the last byte, then the character."""
    text = "\u20ac\U0001f600"
    for pair in pairs.values():
        ids = pair.check([text], special=False)[0]
        assert not any("\ufffd" in piece for piece in pair.pieces(ids))


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("a model of type WordPiece", {}, {"type": "WordPiece"}),
    ("dropout", {}, {"dropout": 0.5}),
    ("end_of_word_suffix", {}, {"end_of_word_suffix": "</w>"}),
    ("truncation", {"truncation": {"max_length": 8}}, {}),
    ("a normalizer of type Lowercase", {"normalizer": {"type": "Lowercase"}}, {}),
    (
        "a pre-tokenizer of type BertPreTokenizer",
        {"pre_tokenizer": {"type": "BertPreTokenizer"}},
        {},
    ),
    (
        "the property \\p{Greek}",
        {
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"Regex": r"\p{Greek}+"},
                "behavior": "Isolated",
                "invert": False,
            }
        },
        {},
    ),
    (
        "a repeated group",
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "(ab)+"}, "content": ""}},
        {},
    ),
    (
        "a post-processor of type RobertaProcessing",
        {"post_processor": {"type": "RobertaProcessing"}},
        {},
    ),
    ("a decoder of type CTC", {"decoder": {"type": "CTC"}}, {}),
    ("unknown key", {"novelty": 1}, {}),
    ("unknown key", {}, {"novelty": 1}),
]


@pytest.mark.parametrize(("named", "change", "model"), REFUSED)
def test_what_is_not_supported_is_refused_by_name(
    jvm: JvmText, tmp_path: Path, named: str, change: dict[str, Any], model: dict[str, Any]
) -> None:
    tokenizer = json.loads(EMBEDDED.read_text(encoding="utf-8"))
    tokenizer.update(change)
    tokenizer["model"].update(model)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(Refused) as caught:
        jvm.ask("open", path=str(path))
    assert named in str(caught.value)
