"""What greedy text looks like: where it first leaves the dense model's, and whether it is sound.

A text is sound unless it runs in circles, ends at once, or slips into another script. No answer is
known here, so that any held-out text will do; whether what is said is right, tasks must tell.
"""

from __future__ import annotations

import statistics
import unicodedata
from collections.abc import Sequence

from toolchain.progress import SILENT, Progress, track
from toolchain.validation.evidence import PairedCounts, WrittenText, WrittenTexts
from toolchain.validation.paired import paired_test
from toolchain.validation.scoring import TextScorer
from toolchain.validation.verdict import PASS, Finding, GateResult, Measure

TITLE = "greedy text"
PROMPT_TOKENS = 24
NEW_TOKENS = 48
GRAM = 4
MOST_REPEATED = 0.5
"""A text circles if more than this share of its 4-grams has been written before."""
FEWEST_TOKENS = 4
"""A text that ends of itself before it has so many tokens was cut short."""
MOST_FOREIGN = 0.1
"""A text has drifted if more than this share of its letters is of scripts that the prompts lack."""


def prompts_of(documents: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    """The starts of `count` documents, spread evenly: a third of each, PROMPT_TOKENS at most."""
    count = min(count, len(documents))
    chosen = [documents[int(i * len(documents) / count)] for i in range(count)]
    return [list(d[: max(2, min(PROMPT_TOKENS, len(d) // 3))]) for d in chosen]


def write_texts(
    scorer: TextScorer, prompts: Sequence[Sequence[int]], progress: Progress = SILENT
) -> list[WrittenText]:
    """The greedy continuation of each prompt and what is wrong with it."""
    scripts = scripts_of("".join(scorer.tokenizer.decode(list(p)) for p in prompts))

    def ended(written: list[int]) -> bool:
        return written[-1] in scorer.eos_token_ids

    texts = []
    for prompt in track(prompts, progress, "Writing text", len(prompts)):
        room = scorer.tokens.context_length - NEW_TOKENS
        ids = scorer.tokens.greedy(list(prompt)[-max(room, 1) :], NEW_TOKENS, ended)
        text = str(scorer.tokenizer.decode(ids, skip_special_tokens=True))
        texts.append(
            WrittenText(
                ids=ids,
                circles=repeated_share(ids) > MOST_REPEATED,
                cut_short=ended(ids) and len(ids) <= FEWEST_TOKENS,
                drifted=foreign_share(text, scripts) > MOST_FOREIGN,
            )
        )
    return texts


def repeated_share(ids: Sequence[int]) -> float:
    """Share of the 4-grams that were written before; 0 for a text too short to tell."""
    grams = [tuple(ids[i : i + GRAM]) for i in range(len(ids) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if len(grams) > GRAM else 0.0


def scripts_of(text: str) -> set[str]:
    """Scripts of the letters of a text, as Unicode names them (LATIN, CYRILLIC, CJK)."""
    return {_script(letter) for letter in text if letter.isalpha()}


def foreign_share(text: str, scripts: set[str]) -> float:
    """Share of the letters (and undecodable bytes) of a text that are of no script in `scripts`.

    The last character may be a cut one and does not count.
    """
    letters = [c for c in text[:-1] if c.isalpha() or c == "\N{REPLACEMENT CHARACTER}"]
    return sum(_script(c) not in scripts for c in letters) / len(letters) if letters else 0.0


def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split()[0]


def compare_texts(
    dense: Sequence[WrittenText], artifact: Sequence[WrittenText], margin: float, alpha: float
) -> WrittenTexts:
    """Hold both models' texts against each other, prompt by prompt."""
    pairs = [(d.sound, a.sound) for d, a in zip(dense, artifact, strict=True)]
    counts = PairedCounts(
        items=len(pairs),
        dense_right=sum(d for d, _ in pairs),
        artifact_right=sum(a for _, a in pairs),
        lost=pairs.count((True, False)),
        gained=pairs.count((False, True)),
    )
    test = paired_test(counts, margin, alpha)
    return WrittenTexts(
        counts=counts,
        margin=margin,
        lower=test.lower,
        upper=test.upper,
        outcome=test.outcome,
        items_needed=test.items_needed,
        identical=sum(d.ids == a.ids for d, a in zip(dense, artifact, strict=True)),
        first_divergence=[
            first_divergence(d.ids, a.ids) for d, a in zip(dense, artifact, strict=True)
        ],
        circles=sum(a.circles for a in artifact),
        cut_short=sum(a.cut_short for a in artifact),
        drifted=sum(a.drifted for a in artifact),
    )


def first_divergence(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens before the first that differs, or all of the shorter text."""
    for index, (ours, theirs) in enumerate(zip(one, other, strict=False)):
        if ours != theirs:
            return index
    return min(len(one), len(other))


def generation_gate(found: WrittenTexts, alpha: float) -> GateResult:
    """G2 of the greedy texts."""
    counts = found.counts
    rule = (
        f"at {1 - alpha:.4g} confidence at most {found.margin:.4g} of all texts more than the "
        "dense model's run in circles, end at once or slip into another script: Tango's lower "
        "bound > -margin"
    )
    faults = f"{found.circles} run in circles, {found.cut_short} end at once, {found.drifted} drift"
    sentence = (
        f"{counts.artifact_right} of {counts.items} texts are sound, the dense model's "
        f"{counts.dense_right} ({faults}); {found.identical} are the dense model's own, the others "
        f"leave it after {_median(found)} tokens (median)"
    )
    measures = {
        "texts": Measure(counts.items),
        "sound_difference": Measure(counts.difference, None, found.lower, found.upper),
        "identical_texts": Measure(found.identical),
        "first_divergence_tokens": Measure(_median(found)),
        "texts_in_circles": Measure(found.circles),
        "texts_cut_short": Measure(found.cut_short),
        "texts_drifted": Measure(found.drifted),
        "texts_needed": Measure(found.items_needed),
    }
    finding = Finding("sound text", found.outcome == PASS, sentence)
    return GateResult("G2", TITLE, rule, found.outcome, sentence, [finding], measures)


def _median(found: WrittenTexts) -> float:
    return float(statistics.median(found.first_divergence))
