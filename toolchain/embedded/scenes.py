"""The scenes of the story grammar; `toolchain.embedded.grammar` describes their markup.

A scene may leave sentences for the end of the story in `later` (what must be recalled) and a moral
in `morals` (what follows from the events).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from toolchain.embedded.lexicon import (
    BY_SIZE,
    COLOURS,
    CONTAINERS,
    COUNTED,
    FOODS,
    LOOKS,
    NUMBERS,
    PLACES,
    ROOMS,
    SCENERY,
    SHOPPING,
    SOUNDS,
    TOYS,
    plural,
)

if TYPE_CHECKING:
    from toolchain.embedded.grammar import Teller


def opening(t: Teller) -> None:
    """Who, where, and what the place looks like."""
    t.slots["place"], t.slots["place2"] = t.fresh(PLACES), t.fresh(PLACES)
    t.tell(
        t.pick(
            "Once there was a little [A.boy] named [A].",
            "There was once a [A.boy] called [A].",
            "This is a story about a [A.boy] named [A].",
        )
    )
    t.tell(
        t.pick(
            "One morning [A.he!] <go> to the [place] with a friend named [B].",
            "[A.He!] <live> near the [place], and [A.his!] best friend <be> [B].",
            "One day [A.he!] <walk> to the [place] to meet a friend called [B].",
            "[A.He!] <love> the [place] and often <play> there with [B].",
        )
    )
    scenery(t)


def scenery(t: Teller) -> None:
    """One or two sentences in which the subject and the nearest noun may differ in number."""
    t.noun("s", SCENERY)
    t.noun("o", SCENERY)
    t.slots["look"] = t.fresh(LOOKS)
    t.slots["look2"] = t.fresh(LOOKS)
    t.tell(
        t.pick(
            "The [s] near the [o] <be:s!> [look].",
            "The [s] behind the [o] <be:s!> [look] and [look2].",
            "The [s] that <stand:s!> beside the [o] <be:s!> [look].",
            "The [s] in front of the [o] <look:s!> [look], but the [o] <be:o!> [look2].",
            "[A] <think> that the [s] next to the [o] <be:s!> very [look].",
        )
    )
    if t.rng.random() < 0.4:
        t.tell(
            t.pick(
                "{pronoun:[s_It]|[s_not_It]} <belong:s!> to a farmer who <live> far away.",
                "{pronoun:[s_It]|[s_not_It]} <be:s!> made of wood.",
                "Nobody <know> why the [s] <be:s!> so [look].",
            )
        )


def hiding(t: Teller) -> None:
    """A toy is put away; where it is comes back at the end."""
    _toy(t)
    t.slots["box"], t.slots["box2"] = t.fresh(CONTAINERS), t.fresh(CONTAINERS)
    t.slots["room"], t.slots["room2"] = t.fresh(ROOMS), t.fresh(ROOMS)
    t.tell(t.pick("[A] <have> a [colour] [toy].", "[A] <find> a [colour] [toy] on the ground."))
    t.tell(
        t.pick(
            "[A.He!] <put> the [toy] into the [box] in the [room].",
            "[A.He!] <hide> the [toy] in the [box] that <be> in the [room].",
        )
    )
    t.tell(t.pick("The [box2] in the [room2] <be> empty.", "The [box2] <stay> in the [room2]."))
    t.postpone(
        t.pick(
            "Later [A] <want> the [toy] again. [A.He!] <look> into the {recall:[box]|[box2]} in the"
            " {recall:[room]|[room2]}, and there <be> the {recall:[colour]|[colour2]} [toy].",
            '"Where <=be> the [toy]?" <ask> [B]. "It <=be> in the {recall:[box]|[box2]}," <say>'
            " [A]. [A.He!] <go> to the {recall:[room]|[room2]} and <bring> the"
            " {recall:[colour]|[colour2]} [toy].",
        )
    )
    t.morals.append("If you put a thing in its place, you will find it again.")


def swapping(t: Teller) -> None:
    """Two toys change hands; who holds which comes back at the end."""
    _toy(t)
    t.slots["toy3"], t.slots["colour3"] = t.fresh(TOYS), t.fresh(COLOURS)
    t.tell("[A] <bring> a [colour] [toy]. [B] <bring> a [colour3] [toy3].")
    t.tell(
        t.pick(
            "[A] <like> the [toy3], and [B] <like> the [toy]. So they <trade+>.",
            "[A] <want> the [toy3] very much. They <decide+> to swap.",
        )
    )
    t.tell("Now [A] <have> the {recall:[toy3]|[toy]} and [B] <have> the {recall:[toy]|[toy3]}.")
    t.postpone(
        t.pick(
            "[A] <carry> the {recall:[colour3]|[colour]} [toy3] home.",
            "[B] <play> with the {recall:[colour]|[colour3]} [toy] all evening.",
        )
    )
    t.morals.append("A fair trade makes both friends happy.")


def _toy(t: Teller) -> None:
    t.slots["toy"] = t.fresh(TOYS)
    t.slots["colour"], t.slots["colour2"] = t.fresh(COLOURS), t.fresh(COLOURS)


def _number(t: Teller, slot: str, value: int) -> None:
    t.slots[slot] = NUMBERS[value]
    t.slots[slot + "_not"] = NUMBERS[
        value - 1 if value == 12 or t.rng.random() < 0.5 else value + 1
    ]
    t.many[slot] = value != 1
    t.slots[slot + "_things"] = plural(t.slots["thing"]) if value != 1 else t.slots["thing"]


def gathering(t: Teller) -> None:
    """Counting up: some and some more."""
    t.slots["thing"] = t.fresh(COUNTED)
    t.slots["things"] = plural(t.slots["thing"])
    t.slots["others"] = plural(t.fresh(COUNTED))
    first, second = t.rng.randint(1, 6), t.rng.randint(1, 5)
    _number(t, "n", first)
    _number(t, "m", second)
    _number(t, "sum", first + second)
    t.tell(
        t.pick(
            "[A] <have> [n] [n_things]. [B] <give> [m] more to [A].",
            "[A] <find> [n] [n_things] in the grass. Then [A.he!] <find> [m] more.",
            "There <be:n!> [n] [n_things] on the ground. [A] <bring> [m] more.",
        )
    )
    t.tell(
        t.pick(
            "Now there <be+> {counting:[sum]|[sum_not]} [things].",
            "[A] <count> the [things]. There <be+> {counting:[sum]|[sum_not]}.",
            '"We have {counting:[sum]|[sum_not]} [things] now," <say> [B].',
        )
    )
    t.postpone(
        t.pick(
            "[A] <show> the {counting:[sum]|[sum_not]} {recall:[things]|[others]} to [B].",
            "The {counting:[sum]|[sum_not]} [things] <be+> still there.",
        )
    )
    t.morals.append("Little by little, a little becomes a lot.")


def sharing(t: Teller) -> None:
    """Counting down: some are given away or eaten."""
    t.slots["thing"] = t.fresh(COUNTED)
    t.slots["things"] = plural(t.slots["thing"])
    start = t.rng.randint(4, 12)
    given = t.rng.randint(1, min(start - 2, 6))
    _number(t, "n", start)
    _number(t, "m", given)
    _number(t, "rest", start - given)
    t.tell(
        t.pick(
            "[B] <have> no [things], but [A] <have> [n].",
            "[A] <carry> [n] [things] in a small bag.",
            "[A] <buy> [n] [things] from an old man.",
        )
    )
    if t.rng.random() < 0.6:
        t.tell("[A] <give> [m] to [B] and <keep> {counting:[rest]|[rest_not]}.")
        t.morals.append("Sharing makes a friend happy.")
    else:
        t.tell("[A] <lose> [m] on the way, so only {counting:[rest]|[rest_not]} <be+> left.")
        t.morals.append("Look after your things.")


def rain(t: Teller) -> None:
    """Bad weather has its effects, unless one is ready for it."""
    t.tell(t.pick("Then it <begin> to rain.", "Dark clouds <come+>, and soon it <rain>."))
    if t.rng.random() < 0.5:
        t.slots["ready"], t.slots["other"] = t.rng.sample(["umbrella", "house", "tent", "cave"], 2)
        t.tell(
            "[A] <have> an umbrella. They both <stay+> under the umbrella and <be+> dry."
            if t.slots["ready"] == "umbrella"
            else "[A] <see> a [ready]. They <run+> into the {recall:[ready]|[other]} and <stay+>"
            " dry."
        )
        t.morals.append("It is good to be ready for rain.")
        return
    t.tell(
        t.pick(
            "[A] <have> no umbrella, so [A.his!] clothes <be+> wet.",
            "[A] <get> very wet because [A.he!] <have> no umbrella.",
        )
    )
    t.tell(
        t.pick(
            "The clothes near the fire <be+> soon dry again.",
            "[B] <bring> a warm towel, and soon [A] <be> dry again.",
        )
    )
    t.morals.append("Take an umbrella when the sky is dark.")


def fall(t: Teller) -> None:
    """A fall hurts, and the friend comforts."""
    victim, helper = t.rng.sample("AB", 2)
    part = t.pick("knee", "hand", "foot", "arm")
    high = t.pick("tree", "wall", "rock", "ladder")
    t.slots |= {"part": part, "high": high}
    t.slots["part2"] = t.rng.choice([w for w in ("knee", "hand", "foot", "arm") if w != part])
    t.tell(
        f"[{victim}] <climb> a [high]. [{victim}.He!] <do> not hold on"
        f" and <fall>. [{victim}.He!] <hurt> [{victim}.his!] [part]."
    )
    t.tell(
        t.pick(
            f"[{victim}] <cry>. [{helper}] <run> to help and <put> a cold cloth on the"
            " {recall:[part]|[part2]}.",
            f"[{helper}] <notice> the cry and <hug> [{victim}]. Soon the {{recall:[part]|[part2]}}"
            " <feel> better.",
        )
    )
    t.postpone(f"[{victim}] still <look> at [{victim}.his!] {{recall:[part]|[part2]}}.")
    t.morals.append("Be careful when you climb.")


def hunger(t: Teller) -> None:
    """Hungry people eat, thirsty people drink."""
    who = t.pick("A", "B")
    if t.rng.random() < 0.3:
        t.tell(f"The sun <shine>, and [{who}] <be> thirsty. [{who}.He!] <drink> a cup of water.")
        t.tell(f"After that [{who}] <be> not thirsty any more.")
        return
    t.slots["food"], t.slots["food2"] = t.fresh(FOODS), t.fresh(FOODS)
    t.tell(
        t.pick(
            f"[{who}] <be> hungry. [{who}.He!] <have> some [food] but no [food2].",
            f"At noon [{who}] <be> very hungry. There <be> [food] on the table, but no [food2].",
        )
    )
    t.tell(
        t.pick(
            f"[{who}.He!] <eat> the {{recall:[food]|[food2]}} and <be> full.",
            f"So [{who}.he!] <eat> the {{recall:[food]|[food2]}} and <thank> [{who}.his!] mother.",
        )
    )
    t.morals.append("Good food makes you strong.")


def animals(t: Teller) -> None:
    """Animals make their own sounds, in number and kind."""
    names = tuple(SOUNDS)
    sound = SOUNDS[t.noun("pet", names)]
    t.noun("beast", names)
    t.slots["size"] = t.pick("little", "big", "hungry", "funny")
    t.tell(
        t.pick(
            "The [pet] near the [beast] <be:pet!> [size].",
            "[A] <see> the [size] [pet] that <follow:pet!> the [beast].",
            "The [size] [pet] beside the [beast] <want:pet!> to play.",
        )
    )
    t.tell(
        f"The [pet] <{sound}:pet!> loudly, and the [beast] <run:beast!> away."
        if t.rng.random() < 0.5
        else "{pronoun:[pet_It]|[pet_not_It]}" + f" <{sound}:pet!> all day long."
    )
    t.morals.append("Be kind to animals.")


def sizes(t: Teller) -> None:
    """Three animals in order of size: the biggest and the smallest follow."""
    low, middle, high = sorted(t.rng.sample(range(len(BY_SIZE)), 3))
    t.slots |= {"low": BY_SIZE[low], "middle": BY_SIZE[middle], "high": BY_SIZE[high]}
    t.tell(
        t.pick(
            "[B] <tell> a tale of the [low], the [middle] and the [high].",
            "[A] <open> a book about the [high], the [low] and the [middle].",
            "They <talk+> about the [middle], the [high] and the [low].",
        )
    )
    t.tell(
        t.pick(
            "The biggest of the three <be> the {recall:[high]|[low]}.",
            "The smallest of the three <be> the {recall:[low]|[high]}.",
            "The [middle] <be> bigger than the {recall:[low]|[high]}.",
            "The [middle] <be> smaller than the {recall:[high]|[low]}.",
        )
    )


def shopping(t: Teller) -> None:
    """A list is bought and unpacked in the same order."""
    goods = t.rng.sample(SHOPPING, 4)
    t.slots |= dict(zip(("g1", "g2", "g3", "g4"), goods, strict=True))
    t.tell(
        t.pick(
            "[A]'s mother <need> [g1], [g2] and [g3].",
            "[A] <have> to buy [g1], [g2] and [g3].",
        )
    )
    t.tell(t.pick("They <go+> to the shop.", "The shops on the street <be+> open."))
    t.postpone(
        "At home [A] <take> out the {recall:[g1]|[g4]}, the {recall:[g2]|[g4]} and the"
        " {recall:[g3]|[g4]}."
    )
    t.morals.append("Helping at home is good.")


def door(t: Teller) -> None:
    """Each key opens the door of its own colour."""
    t.slots["key1"], t.slots["key2"] = t.fresh(COLOURS), t.fresh(COLOURS)
    t.noun("gift", SCENERY)
    t.slots["look3"] = t.fresh(LOOKS)
    t.tell("They <see+> a [key1] door and a [key2] door.")
    mine, other = t.rng.sample(["key1", "key2"], 2)
    t.tell(
        f"[A] <have> a [{mine}] key, so [A.he!] <open> the {{recall:[{mine}]|[{other}]}} door."
        f" The {{recall:[{other}]|[{mine}]}} door <stay> closed."
    )
    t.tell("Inside, the [gift] under the lamps <be:gift!> [look3].")
    t.morals.append("The right key opens the right door.")


def making(t: Teller) -> None:
    """Somebody makes something alone, or both together."""
    t.slots["made"] = t.pick("house", "bridge", "castle", "garden", "tower", "picture")
    t.slots["not_made"] = t.pick("song", "wagon", "cake")
    if t.rng.random() < 0.5:
        who = t.pick("A", "B")
        t.tell(
            f"[{who}] <make> a little [made]. [{who}.He!] <do> it all by [{who}.himself!] and"
            f" <be> proud of [{who}.his!] {{recall:[made]|[not_made]}}."
        )
    else:
        t.tell(
            "[A] and [B] <make+> a little [made]. They <do+> it {pronoun:themselves|himself}"
            " and <be+> proud of the {recall:[made]|[not_made]}."
        )
    t.morals.append("Good work takes time.")


def ending(t: Teller) -> None:
    """What was left for later, the way home, and a moral that the events allow."""
    t.rng.shuffle(t.later)
    for marked in t.later:
        t.write(marked)
    t.tell(
        t.pick(
            "In the evening [A] <go> home from the {recall:[place]|[place2]} and <sleep> well.",
            "[A] and [B] <be+> tired and happy. They <leave+> the {recall:[place]|[place2]}.",
            "At night [A] <dream> of the {recall:[place]|[place2]}.",
            "[A] <say> goodbye to [B] and <walk> home. [A.He!] <be> happy.",
        )
    )
    if t.morals:
        t.tell(t.rng.choice(t.morals))


MIDDLE: tuple[Callable[[Teller], None], ...] = (
    hiding,
    swapping,
    gathering,
    sharing,
    rain,
    fall,
    hunger,
    animals,
    sizes,
    shopping,
    door,
    making,
)
"""Scenes between the opening and the ending, in no order."""
