"""A small story grammar: deterministic English with agreement, names, counting, cause and recall.

A story is a row of scenes about one hero and one friend. Scenes are templates in a small markup:

    [key]           the value of a slot; [A] and [B] are the hero's and the friend's name
    [A.He]          the pronoun of a person (also .he .his .himself .boy); [A.He!] is a probe
    <walk>          a verb for one subject in the story's tense; <walk+> for many;
                    <walk:s> for the number of slot s; <=be> in the present tense (speech);
                    a trailing ! makes a probe where a noun of the other number stands before it
    {kind:right|wrong}   a probe: `right` is written, `wrong` is remembered

A probe is a place where the text before decides the next word, so every story carries its own
minimal pairs. Pronouns keep one rule: a sentence that names a person before any he/she word turns
to that person; any other sentence stays with the person before; its he/she words mean that person.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from toolchain.embedded import scenes
from toolchain.embedded.lexicon import PEOPLE, Person, conjugate, plural

SPLITS = {"evaluation": (0,), "calibration": (1,), "train": (2, 3)}
"""Split to the residues of a story's hash that belong to it: no story can be in two splits."""
KINDS = ("agreement", "pronoun", "counting", "recall")
"""What a probe tests."""
SCENES_PER_STORY = (2, 3)

_SLOT = re.compile(r"\[(\w+)(?:\.(\w+)(!?))?\]")
_VERB = re.compile(r"<(=?)(\w+?)(\+|:\w+)?(!?)>")
_PROBE = re.compile(r"\{(\w+):([^|}]*)\|([^|}]*)\}")


@dataclass(frozen=True)
class AgreementItem:
    """A minimal pair: after `context`, `right` must be more likely than `wrong`."""

    kind: str
    context: str
    right: str
    wrong: str


@dataclass(frozen=True)
class Story:
    """A text and the minimal pairs inside it, in order."""

    text: str
    items: tuple[AgreementItem, ...]


class Teller:
    """Writes one story: holds the slots, the tense and what has to come back later."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.past = rng.random() < 0.6
        hero, friend = rng.sample(PEOPLE, 2)
        self.people: dict[str, Person] = {"A": hero, "B": friend}
        self.slots: dict[str, str] = {"A": hero.name, "B": friend.name}
        self.many: dict[str, bool] = {}
        self.later: list[str] = []
        self.morals: list[str] = []
        self._used: set[str] = set()
        self._text = ""
        self._items: list[AgreementItem] = []

    def pick(self, *options: str) -> str:
        """One of the options, uniformly."""
        return self.rng.choice(options)

    def fresh(self, words: tuple[str, ...]) -> str:
        """A word that no earlier call of this story returned, so that recall has one answer."""
        word = self.rng.choice([w for w in words if w not in self._used])
        self._used.add(word)
        return word

    def noun(self, slot: str, words: tuple[str, ...]) -> str:
        """Fill `slot` with a fresh noun in a random number; verbs <...:slot> agree with it.

        Returns the noun's singular.
        """
        many = self.rng.random() < 0.5
        word = self.fresh(words)
        self.slots[slot] = plural(word) if many else word
        self.slots[slot + "_It"] = "They" if many else "It"
        self.slots[slot + "_not_It"] = "It" if many else "They"
        self.many[slot] = many
        return word

    def tell(self, template: str) -> None:
        """Append `template`, expanded, to the story."""
        self.write(self._expand(template))

    def postpone(self, template: str) -> None:
        """Keep `template`, expanded with the slots of now, for the end of the story."""
        self.later.append(self._expand(template))

    def write(self, marked: str) -> None:
        """Append expanded text, taking out its probes."""
        if self._text:
            self._text += " "
        end = 0
        for probe in _PROBE.finditer(marked):
            self._text += marked[end : probe.start()]
            kind, right, wrong = probe.groups()
            context = self._text.rstrip(" ")
            gap = self._text[len(context) :]
            self._items.append(AgreementItem(kind, context, gap + right, gap + wrong))
            self._text += right
            end = probe.end()
        self._text += marked[end:]

    def story(self) -> Story:
        """What has been told so far."""
        return Story(self._text, tuple(self._items))

    def _expand(self, template: str) -> str:
        return _SLOT.sub(self._slot, _VERB.sub(self._verb, template))

    def _slot(self, match: re.Match[str]) -> str:
        key, form, probed = match.groups()
        if form is None:
            return self.slots[key]
        person = self.people[key]
        if probed:
            return f"{{pronoun:{person.pronoun(form)}|{person.wrong(form)}}}"
        return person.pronoun(form)

    def _verb(self, match: re.Match[str]) -> str:
        present, verb, number, probed = match.groups()
        many = self.many[number[1:]] if number and number != "+" else bool(number)
        past = self.past and not present
        right, wrong = conjugate(verb, many, past), conjugate(verb, not many, past)
        nouns = {key for key, _, _ in _SLOT.findall(match.string[: match.start()])}
        attracted = any(self.many.get(key, many) != many for key in nouns)
        return (
            f"{{agreement:{right}|{wrong}}}" if probed and attracted and right != wrong else right
        )


def story(seed: str) -> Story:
    """The story of a seed."""
    rng = random.Random(seed)  # noqa: S311 - text, not secrets
    teller = Teller(rng)
    scenes.opening(teller)
    for scene in rng.sample(scenes.MIDDLE, rng.choice(SCENES_PER_STORY)):
        scene(teller)
    scenes.ending(teller)
    return teller.story()


def stories(split: str) -> Iterator[Story]:
    """The endless stream of stories of a split; story i depends on the split and i alone."""
    residues = SPLITS[split]
    index = 0
    while True:
        draw = 0
        candidate = story(f"{split}/{index}/{draw}")
        while _residue(candidate.text) not in residues:
            draw += 1
            candidate = story(f"{split}/{index}/{draw}")
        yield candidate
        index += 1


def documents(split: str, count: int) -> list[str]:
    """The first `count` stories of a split, one string each, without special tokens.

    Args:
        split: "train", "calibration" or "evaluation"; no text is in two of them.
        count: how many stories.
    """
    return [told.text for told, _ in zip(stories(split), range(count), strict=False)]


def agreement_items(count: int) -> list[AgreementItem]:
    """`count` minimal pairs from the evaluation stories, the kinds in turn.

    A story gives at most one pair of each kind, so that the pairs of a kind are independent.
    """
    quota = {kind: len(range(i, count, len(KINDS))) for i, kind in enumerate(KINDS)}
    found: list[AgreementItem] = []
    for index, told in enumerate(stories("evaluation")):
        if not any(quota.values()):
            break
        for kind in KINDS:
            ready = [item for item in told.items if item.kind == kind]
            if ready and quota[kind]:
                found.append(ready[index % len(ready)])
                quota[kind] -= 1
    return found


def _residue(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[0] % 4
