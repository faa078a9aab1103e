"""The story grammar keeps its own rules, whatever the seed; checked by reading the text alone."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from toolchain.embedded import agreement_items, documents, scenes
from toolchain.embedded.grammar import KINDS, Teller, story
from toolchain.embedded.lexicon import COLOURS, CONTAINERS, NUMBERS, PEOPLE, ROOMS, SOUNDS, TOYS

SEEDS = st.integers(0, 2**32).map(str)
FEMALE = {person.name: person.female for person in PEOPLE}
GENDERED = {"he": False, "his": False, "himself": False, "she": True, "her": True, "herself": True}
IRREGULAR_PLURALS = {"mice", "geese"}
SUBJECT = re.compile(
    r"[Tt]he (?:(?:little|big|hungry|funny) )?(\w+) (?:near|behind|beside|under|next to|in front of"
    r"|that (?:stand|stands|stood) beside) the \w+ (\w+)"
)
SINGULAR_VERBS = {"is", "was", "looks", "wants"}
PLURAL_VERBS = {"are", "were", "look", "want"}
NUMBER = f"({'|'.join(NUMBERS[1:])})"


def is_plural(noun: str) -> bool:
    return noun.endswith("s") or noun in IRREGULAR_PLURALS


def sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.?!])\s", text)


def told(seed: str, *parts: Callable[[Teller], None]) -> str:
    """The text of the given scenes after an opening, without the opening."""
    teller = Teller(random.Random(seed))  # noqa: S311
    scenes.opening(teller)
    start = len(teller.story().text)
    for part in parts:
        part(teller)
    return teller.story().text[start:].strip()


@given(SEEDS)
def test_same_seed_same_story(seed: str) -> None:
    assert story(seed) == story(seed)


@given(SEEDS)
def test_every_pronoun_has_the_gender_of_the_person_it_means(seed: str) -> None:
    meant: bool | None = None
    for sentence in sentences(story(seed).text):
        settled = False
        for word in re.findall(r"[A-Za-z]+", sentence):
            if word in FEMALE and not settled:
                meant, settled = FEMALE[word], True
            elif word.lower() in GENDERED:
                assert GENDERED[word.lower()] == meant, sentence
                settled = True


@given(SEEDS)
def test_verbs_agree_with_their_subject_and_not_with_the_noun_between(seed: str) -> None:
    text = told(seed, scenes.scenery, scenes.animals, scenes.door)
    clauses = SUBJECT.findall(text)
    assert clauses
    for noun, verb in clauses:
        allowed = PLURAL_VERBS if is_plural(noun) else SINGULAR_VERBS
        past = verb.endswith("ed") or verb not in PLURAL_VERBS | SINGULAR_VERBS
        assert past or verb in allowed, (noun, verb, text)


@given(SEEDS)
def test_animals_make_their_own_sound(seed: str) -> None:
    text = told(seed, scenes.animals)
    (sound,) = set(re.findall("|".join([*SOUNDS.values(), "sang"]), text))
    (animal,) = (a for a, s in SOUNDS.items() if s == sound or (s, sound) == ("sing", "sang"))
    subject = re.search(r"[Tt]he (?:(?:little|big|hungry|funny) )?(\w+)", text)
    assert subject is not None
    plurals = {"mouse": "mice", "goose": "geese"}
    assert subject.group(1) in (animal, plurals.get(animal, animal + "s"))


@given(SEEDS)
def test_gathered_things_add_up(seed: str) -> None:
    text = told(seed, scenes.gathering, scenes.ending)
    match = re.search(rf"\b{NUMBER} .*?\b{NUMBER} more.*?\b{NUMBER}\b", text)
    assert match is not None, text
    first, second, total = (NUMBERS.index(word) for word in match.groups())
    assert first + second == total, text
    later = [NUMBERS.index(word) for word in re.findall(rf"\b{NUMBER}\b", text[match.end() :])]
    assert set(later) <= {total}, text


@given(SEEDS)
def test_shared_things_subtract(seed: str) -> None:
    text = told(seed, scenes.sharing)
    start, given_away, rest = (
        NUMBERS.index(word) for word in re.findall(rf"\b{NUMBER}\b", text.lower())
    )
    assert start - given_away == rest > 0, text


@given(SEEDS)
def test_a_hidden_toy_is_found_where_it_was_put(seed: str) -> None:
    text = told(seed, scenes.hiding, scenes.ending)
    hidden = sentences(text)
    first, last = " ".join(hidden[:2]), " ".join(hidden[3:-1])
    for words in (COLOURS, TOYS, CONTAINERS, ROOMS):
        before = [w for w in re.findall(r"\w+", first) if w in words]
        after = [w for w in re.findall(r"\w+", last) if w in words]
        assert len(set(before)) == 1, text
        assert set(before) <= set(after) or not after, text
        assert set(after) <= set(before), text


@given(SEEDS)
def test_text_is_clean(seed: str) -> None:
    text = story(seed).text
    assert 40 <= len(text.split()) <= 220
    assert re.search(r"[\[\]{}<>|]|  |\ba [aeiou]|\ban [^aeiou]", text) is None, text
    for sentence in sentences(text):
        assert re.match(r'"?[A-Z]', sentence) and sentence.rstrip('"').endswith((".", "?")), text


@given(SEEDS)
def test_minimal_pairs_stand_in_their_story(seed: str) -> None:
    written = story(seed)
    for item in written.items:
        assert written.text.startswith(item.context + item.right)
        assert item.right != item.wrong
        assert not (item.right.startswith(item.wrong) and item.kind == "counting")
        assert item.kind in KINDS


@given(st.sampled_from(["train", "calibration", "evaluation"]), st.integers(0, 12))
def test_a_document_depends_on_its_split_and_index_alone(split: str, count: int) -> None:
    assert documents(split, count) == documents(split, 15)[:count]


def test_splits_are_disjoint() -> None:
    splits = [set(documents(split, 400)) for split in ("train", "calibration", "evaluation")]
    assert all(len(split) == 400 for split in splits)
    assert len(set.union(*splits)) == 1200


def test_items_come_from_evaluation_stories_in_equal_shares() -> None:
    items = agreement_items(41)
    counts = [sum(item.kind == kind for item in items) for kind in KINDS]
    assert counts == [11, 10, 10, 10]
    texts = documents("evaluation", 60)
    assert all(any(t.startswith(item.context + item.right) for t in texts) for item in items)
