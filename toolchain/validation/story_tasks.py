"""Tasks from the embedded model's own story grammar: every answer follows from the text before.

The stories are of its evaluation split, which neither training nor calibration has seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from toolchain.embedded.grammar import AgreementItem, stories
from toolchain.validation.evidence import GENERATION, KNOWLEDGE, LANGUAGE
from toolchain.validation.items import Choice, ItemTask, Writing

PROBES = {
    "stories_grammar": (LANGUAGE, ("agreement", "pronoun")),
    "stories_facts": (KNOWLEDGE, ("counting", "recall")),
}
"""Task: its kind, and the grammar's kinds of probe. Facts are sums, sizes of animals, and what the
story said of its things."""

WRITTEN = "stories_written"
"""The word that a story must go on with, written instead of chosen."""

STORY_TASKS = (*PROBES, WRITTEN)
STORY_ITEMS = 400
ANSWER_TOKENS = 8


def story_task(name: str, count: int = STORY_ITEMS) -> ItemTask:
    """`count` items of a task in STORY_TASKS, at most one of a kind from a story."""
    if name == WRITTEN:
        probes = islice(_probes(("recall", "counting")), count)
        items = tuple(
            Writing(i.context, (i.right.strip(),), (".", ",", "\n"), ANSWER_TOKENS) for i in probes
        )
        return ItemTask(name, GENERATION, "builtin", items, match="prefix")
    kind, probed = PROBES[name]
    choices = tuple(
        Choice(i.context, (i.right, i.wrong), 0) for i in islice(_probes(probed), count)
    )
    return ItemTask(name, kind, "builtin", choices)


def _probes(kinds: tuple[str, ...]) -> Iterator[AgreementItem]:
    """One probe of each kind from every story that has it, without end."""
    for index, told in enumerate(stories("evaluation")):
        for kind in kinds:
            ready = [item for item in told.items if item.kind == kind]
            if ready:
                yield ready[index % len(ready)]
