"""What the quality gates measured, kept in the verdict so that anyone can decide again from it."""

from __future__ import annotations

from dataclasses import dataclass, field

LANGUAGE, KNOWLEDGE, GENERATION = "language", "knowledge", "generation"
KINDS = (LANGUAGE, KNOWLEDGE, GENERATION)
"""What a task asks for: form (grammar, cloze), facts and reasoning, or text of its own."""


@dataclass(frozen=True)
class DocumentScore:
    """One document (a cluster): sums over its scored tokens, in nats."""

    tokens: int
    dense_nll: float
    artifact_nll: float


@dataclass(frozen=True)
class PairedCounts:
    """How two models answered the same items."""

    items: int
    dense_right: int
    artifact_right: int
    lost: int
    """Dense right, artifact wrong (n10)."""
    gained: int
    """Dense wrong, artifact right (n01)."""

    @property
    def difference(self) -> float:
        """Δ = (gained - lost)/items: artifact's accuracy minus the dense model's."""
        return (self.gained - self.lost) / self.items


@dataclass(frozen=True)
class TaskResult:
    """One paired task: what was asked, how both answered, and Tango's one-sided bounds of Δ."""

    name: str
    kind: str
    """One of KINDS."""
    source: str
    """`builtin`, `lm-eval`, or the file."""
    metric: str
    """What makes an answer right, such as `acc`."""
    counts: PairedCounts
    margin: float
    lower: float
    upper: float
    outcome: str
    items_needed: int | None
    chance: float | None
    """Accuracy of guessing; null where an answer cannot be guessed."""


@dataclass(frozen=True)
class WrittenText:
    """One greedy continuation."""

    ids: list[int]
    circles: bool
    cut_short: bool
    drifted: bool

    @property
    def sound(self) -> bool:
        """Nothing is wrong with its form."""
        return not (self.circles or self.cut_short or self.drifted)


@dataclass(frozen=True)
class WrittenTexts:
    """Greedy continuations of both models; `counts` are of sound ones."""

    counts: PairedCounts
    margin: float
    lower: float
    upper: float
    outcome: str
    items_needed: int | None
    identical: int
    first_divergence: list[int]
    """Tokens that both wrote alike, by prompt."""
    circles: int
    """Artifact's texts that run in circles."""
    cut_short: int
    drifted: int


@dataclass(frozen=True)
class Evidence:
    """The numbers behind G2."""

    documents: list[DocumentScore] = field(default_factory=list)
    tasks: list[TaskResult] = field(default_factory=list)
    texts: WrittenTexts | None = None
    """Null where no text was asked for."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time: `dense_text`, `artifact_text`, and by task; what was remembered counts as 0."""
