"""Words of the story grammar: closed lists, so that a small model can learn every one of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    """A character: the name decides the pronouns."""

    name: str
    female: bool

    def pronoun(self, form: str) -> str:
        """The word for `form`, a key of FEMININE, that suits this person."""
        return FEMININE[form] if self.female else form

    def wrong(self, form: str) -> str:
        """The same form in the other gender."""
        return form if self.female else FEMININE[form]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FEMININE = {
    "he": "she",
    "his": "her",
    "himself": "herself",
    "boy": "girl",
    "He": "She",
    "His": "Her",
}
"""Masculine form to feminine form."""

PEOPLE = tuple(
    Person(name, female)
    for female, names in (
        (False, "Tom Ben Max Sam Leo Jack Tim Dan Finn Noah Paul Carl Hugo Oscar Adam Luke"),
        (True, "Mia Lily Anna Sara Emma Lucy Zoe Nina Ella Ruth Clara Ivy Rosa Maya Jane Kate"),
    )
    for name in names.split()
)

NUMBERS = _words("zero one two three four five six seven eight nine ten eleven twelve")
COLOURS = _words("red blue green yellow white black brown pink silver purple gray golden")
PLACES = _words("park garden forest beach farm market river school lake hill zoo castle")
CONTAINERS = _words("box basket bag drawer chest jar bucket cupboard suitcase pot")
TOYS = _words("ball kite doll drum boat train robot hat scarf key lamp book ring cup bell")
COUNTED = _words(
    "apple pear berry egg shell stone flower leaf nut button coin cookie stick feather"
)
SCENERY = _words(
    "tree house fence bench wall chair table window door bridge gate rock bush tower wagon"
)
LOOKS = _words("old new big small clean dirty shiny wet dusty heavy pretty broken")
FOODS = _words("soup bread cake rice pie cheese fish salad toast corn")
SHOPPING = _words("milk bread eggs rice honey cheese salt tea butter soap")
ROOMS = _words("kitchen bedroom attic cellar hall shed")

SOUNDS = {
    "dog": "bark",
    "cat": "meow",
    "duck": "quack",
    "bird": "sing",
    "cow": "moo",
    "frog": "croak",
    "pig": "grunt",
    "mouse": "squeak",
    "goose": "honk",
    "lion": "roar",
}
"""Animal to the verb for its sound."""
BY_SIZE = _words("ant mouse frog duck cat dog goat cow elephant whale")
"""Animals from the smallest to the biggest."""

_PLURALS = {"leaf": "leaves", "mouse": "mice", "goose": "geese"}
_PASTS = dict(
    pair.partition("/")[::2]
    for pair in _words(
        "have/had go/went see/saw find/found put/put take/took give/gave say/said run/ran eat/ate"
        " drink/drank fall/fell feel/felt come/came think/thought tell/told buy/bought lose/lost"
        " know/knew make/made sing/sang sleep/slept keep/kept get/got begin/began hurt/hurt"
        " hide/hid bring/brought stand/stood hug/hugged do/did shine/shone leave/left"
    )
)


def plural(noun: str) -> str:
    """The plural of a noun of this lexicon."""
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun.endswith(("x", "sh", "ch", "s")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def conjugate(verb: str, many: bool, past: bool) -> str:
    """The third person of `verb`: plural if `many`, in the past or the present tense."""
    if verb == "be":
        return ("were" if many else "was") if past else ("are" if many else "is")
    if past:
        return _past(verb)
    if many:
        return verb
    if verb == "have":
        return "has"
    return verb + "es" if verb in ("go", "do") else plural(verb)


def _past(verb: str) -> str:
    if verb in _PASTS:
        return _PASTS[verb]
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + "ed"
