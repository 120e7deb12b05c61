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

    ``effect_percent`` is the change against ``reference``, positive when better, ``interval_percent`` its 95 %
    confidence interval. ``threshold`` is the largest change that is still a pass, in the metric's unit. ``method``
    names the rule (``baseline-csv``, ``night``, ``pooled-nights``, ``change-point``, ``compatible``), ``evidence`` the
    facts in a sentence, ``facts`` in as many lines as it takes. ``p`` is one-sided, None where the rule has none.
    ``point`` is ``con<concurrency>``, with ``<server>/`` before it where the case has several servers.

    A verdict on a metric that does not ``gate`` is shown and never decides. ``open``: more measurements would decide.
    ``first_bad`` and ``last_good`` name runs, the former where a regression began (epoch milliseconds in
    ``first_bad_ms``); ``runs`` are (run id, case) of both, of those whose records say them.
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
    interval_percent: tuple[float, float] | None = None
    p: float | None = None
    gates: bool = True
    open: bool = False
    facts: tuple[str, ...] = ()
    last_good: str = ""
    first_bad: str = ""
    first_bad_ms: int = 0
    runs: tuple[tuple[str, str], ...] = ()

    @property
    def shown(self) -> str:
        """The word as people see it: a metric that does not gate says so."""
        return self.word if self.gates else f"{self.word} (reported only)"

    @property
    def red(self) -> bool:
        return self.gates and self.word in RED


def worst(verdicts: Iterable[Verdict]) -> Word:
    """The worst word among the verdicts that gate; of none at all it is ``insufficient-history``."""
    words = (verdict.word for verdict in verdicts if verdict.gates)
    return max(words, key=WORDS.index, default="insufficient-history")
