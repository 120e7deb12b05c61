"""One value, or a night's several, against the series it belongs to. Pure, and of plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from pytest_disagg.verdict.night import Night, judge_night
from pytest_disagg.verdict.reference import MAX_NIGHTS, State, doubtful_ends, state_of
from pytest_disagg.verdict.types import Word

ALIKE = 0.67
"""Share of tonight's loss that a night right before it has if it belongs to the same regression."""
MENDED = 2.0
"""Standard errors by which a night has to be better than a regressed level to be called mended."""
NIGHT, POOLED, CHANGE_POINT = "night", "pooled-nights", "change-point"


@dataclass(frozen=True)
class Finding:
    """``night`` is None where the history is too short. ``open``: another measurement would decide."""

    word: Word
    state: State
    night: Night | None = None
    method: str = NIGHT
    open: bool = False

    @property
    def p(self) -> float | None:
        if self.night is None:
            return None
        return self.state.p if self.method == CHANGE_POINT else self.night.p


def judge_values(
    past: Sequence[float],
    tonight: Sequence[float],
    *,
    sign: int,
    min_effect: float,
    change: bool = False,
    accepted: int = 0,
    remeasure: int = 0,
) -> Finding:
    """Judge ``tonight``'s measurements (at least one) against the nights before, oldest first.

    ``sign`` is 1 where larger is better, else -1. ``change``: tonight measured a change to the branch whose nights
    these are: it is compared with where that branch stands now, and no nights are pooled with it; what the branch's
    last nights may have lost as well is a suspicion, not blamed on the change. ``accepted`` is the position of the
    first night at a level that was accepted. ``remeasure``: how many more measurements can be had.
    """
    dropped = max(0, len(past) - MAX_NIGHTS)
    recent, accepted = past[dropped:], max(0, accepted - dropped)
    values = recent if change else [*recent, median(tonight)]
    state = state_of(values, sign=sign, min_effect=min_effect, accepted=accepted, tonight=not change)
    against = state.current if change else state.reference
    if state.reference is None or against is None:
        return Finding("insufficient-history", state)
    before = () if change else recent[accepted:]
    night = judge_night(against, tonight, sign=sign, min_effect=min_effect, before=before, remeasure=remeasure)
    if night.decision == "worse" and change and state.regressed is None:
        for lowered, begin in doubtful_ends(state.reference, recent, sign=sign, min_effect=min_effect):
            again = judge_night(lowered, tonight, sign=sign, min_effect=min_effect, remeasure=remeasure)
            if again.decision != "worse":
                return Finding("suspect", replace(state, current=lowered, regressed=begin), again)
    if night.decision == "worse":
        return Finding("regression", state, night, POOLED if night.pooled > 1 else NIGHT)
    if not change and state.regressed is not None and state.current is not None:
        lost = state.reference.loss(state.current.center, sign)
        if night.loss > min(lost / 2, lost - MENDED * night.error):
            doubt = night.loss <= lost / 2 and remeasure > 0
            return Finding("suspect" if doubt else "regression", state, night, CHANGE_POINT, open=doubt)
    if night.decision == "open":
        return Finding("suspect", state, night, open=remeasure > 0)
    return Finding("improvement" if night.decision == "better" else "pass", state, night)


def turn(found: Finding, past: Sequence[float], sign: int) -> tuple[int | None, int]:
    """Of a regression: the position of the last night at the reference's level (None: there is none), and of the first
    below it (``len(past)``: tonight)."""
    reference, night = found.state.reference, found.night
    begin = found.state.regressed
    if reference is None or night is None:
        return None, len(past)
    if begin is None or begin >= len(past):
        begin = len(past) - (night.pooled - 1)
        while begin > 0 and reference.loss(past[begin - 1], sign) > ALIKE * night.loss:
            begin -= 1
    good = (index for index in range(begin - 1, -1, -1) if reference.loss(past[index], sign) < night.loss / 2)
    return next(good, None), begin
