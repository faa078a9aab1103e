"""An engine without packages or a model: a seeded rule, to test the loops around engines."""

from __future__ import annotations

from collections.abc import Sequence

from runtime_py.engines import check_tokens


class Row(list[float]):
    """Logits of one position; answers to indexing and `argmax` as a numpy vector does."""

    def argmax(self) -> int:
        """Index of the first largest logit."""
        return max(range(len(self)), key=self.__getitem__)


class FakeEngine:
    """After token t at position p the largest logit is at (seed + 31·t + 7·p) mod vocab_size.

    The logit of token v is minus its cyclic distance to that token, so all of them are different
    from the best and the margin is 1.
    """

    name = "fake"
    load_ns = 1

    def __init__(self, vocab_size: int = 64, context_length: int = 32, seed: int = 0) -> None:
        self.versions = {"fake": "1"}
        self.vocab_size = vocab_size
        self.context_length = context_length
        self._seed = seed
        self._position = 0

    @property
    def position(self) -> int:
        """Tokens appended since the last reset."""
        return self._position

    def prefill(self, token_ids: Sequence[int]) -> list[Row]:
        """Append S tokens; S rows of vocab_size logits."""
        check_tokens(token_ids, self._position, self.vocab_size, self.context_length)
        rows = [self._row(token, self._position + i) for i, token in enumerate(token_ids)]
        self._position += len(token_ids)
        return rows

    def prefill_last(self, token_ids: Sequence[int]) -> Row:
        """Append S tokens; vocab_size logits after the last."""
        return self.prefill(token_ids)[-1]

    def step(self, token_id: int) -> Row:
        """Append one token; vocab_size logits."""
        return self.prefill([token_id])[0]

    def rewind(self, position: int) -> None:
        """Keep the first `position` tokens."""
        self._position = position

    def reset(self) -> None:
        """Forget everything."""
        self._position = 0

    def _row(self, token_id: int, position: int) -> Row:
        best = (self._seed + 31 * token_id + 7 * position) % self.vocab_size
        return Row(-float((best - v) % self.vocab_size) for v in range(self.vocab_size))
