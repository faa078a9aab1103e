"""Writes the table of general categories that the Java tokenizer carries.

    python tests/android/unicode_runs.py

The categories are asked of the `tokenizers` that is installed, character by character, because the
Unicode version of its regex engine is what splits text. A JVM and each Android have another one.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from tokenizers import Regex, normalizers

CATEGORIES = [
    "Lu",
    "Ll",
    "Lt",
    "Lm",
    "Lo",
    "Mn",
    "Mc",
    "Me",
    "Nd",
    "Nl",
    "No",
    "Pc",
    "Pd",
    "Ps",
    "Pe",
    "Pi",
    "Pf",
    "Po",
    "Sm",
    "Sc",
    "Sk",
    "So",
    "Zs",
    "Zl",
    "Zp",
    "Cc",
    "Cf",
    "Co",
    "Cn",
]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabc"
TARGET = (
    Path(__file__)
    .parents[2]
    .joinpath("android_demo/core/src/main/java/dev/paredown/core/tokenizer/regex/CategoryRuns.java")
)
SURROGATES = range(0xD800, 0xE000)

HEADER = """package dev.paredown.core.tokenizer.regex;

/**
 * General categories of all code points, as runs; written by tests/android/unicode_runs.py.
 *
 * <p>A run is a letter (its category, in the order of {@link Unicode#CATEGORIES}) and how many code
 * points it has, no number for one.
 */
final class CategoryRuns {
    static final String TEXT = ""
"""


def categories() -> list[str]:
    """The category of each code point as tokenizers sees it; `Cn` for surrogates."""
    text = "".join(chr(code) for code in range(0x110000) if code not in SURROGATES)
    found = ["Cn"] * 0x110000
    for category in CATEGORIES[:-1]:
        others = normalizers.Replace(Regex(rf"\p{{{category}}}"), "").normalize_str(text)
        for character in set(text).difference(others):
            found[ord(character)] = category
    return found


def runs(found: list[str]) -> str:
    """The text of the table."""
    parts = []
    for category, run in groupby(found):
        count = sum(1 for _ in run)
        parts.append(LETTERS[CATEGORIES.index(category)] + (str(count) if count > 1 else ""))
    return "".join(parts)


def java(text: str) -> str:
    """The source file."""
    lines = [text[start : start + 84] for start in range(0, len(text), 84)]
    body = "\n".join(f'            + "{line}"' for line in lines)
    return f"{HEADER}{body};\n\n    private CategoryRuns() {{}}\n}}\n"


if __name__ == "__main__":
    TARGET.write_text(java(runs(categories())), encoding="utf-8")
