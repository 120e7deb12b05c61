"""The words of a verdict, and what each one must say for itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Word = Literal["pass", "improvement", "insufficient-history", "suspect", "regression", "invalid"]

WORDS: tuple[Word, ...] = ("pass", "improvement", "insufficient-history", "suspect", "regression", "invalid")
"""From the best to the worst."""

RED: frozenset[Word] = frozenset({"regression", "invalid"})


@dataclass(frozen=True)
class Verdict:
    """What was decided about one metric of one point (or, with an empty ``metric``, about the point as a whole).

    ``effect_percent`` is the change against ``reference``, positive when better. ``threshold`` is the largest change
    that is still a pass, in the metric's unit. ``method`` names the rule (``baseline-csv``), ``evidence`` the facts in
    words. ``point`` is ``con<concurrency>``, with ``<server>/`` before it where the case has several servers.
    """

    word: Word
    metric: str = ""
    value: float | None = None
    reference: float | None = None
    effect_percent: float | None = None
    threshold: float | None = None
    method: str = ""
    evidence: str = ""
    case: str = ""
    point: str = ""

    @property
    def red(self) -> bool:
        return self.word in RED


def worst(verdicts: Iterable[Verdict]) -> Word:
    """The worst word among ``verdicts``; of none at all it is ``insufficient-history``: nothing was judged."""
    return max((verdict.word for verdict in verdicts), key=WORDS.index, default="insufficient-history")
