"""One run's measurements against a reference: pass, measure again, or red. Pure.

A sequential test: a first value that is merely lower is measured again on the same deployment, and the median decides
as soon as it can, or when the budget is used up. Measurements of one night share what differs between nights, so their
median counts for less than as many nights would. The nights before are pooled with tonight, which finds what no single
night can; but tonight has to agree, and a lone night far out is believed only so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from pytest_disagg.verdict.reference import DOUBTFUL, DOUBTFUL_EFFECT, POOLED_TAIL, WINDOW, Reference
from pytest_disagg.verdict.stats import t_tail

Decision = Literal["clear", "open", "worse", "better"]

EARLY_TAIL = 0.002
"""One-sided p at which a median of three or more is worse before the budget is used up."""
LAST_TAIL = 0.012
"""The same when it is."""
LOOKS = 3
"""Measurements before anything is called worse, where more can be had."""
UNCONFIRMED_SPREADS = 3.5
UNCONFIRMED_EFFECTS = 2.0
"""What a run that cannot be measured again must exceed: standard errors, and smallest effects."""
FIRST_LOOK = DOUBTFUL
LATER_LOOKS = 0.6
"""Standard deviations of the median above which another measurement is asked for."""
LOOK_EFFECT = DOUBTFUL_EFFECT
"""The same in smallest effects."""
SHARED = 0.1
"""Share of a night's variance that all its measurements have in common, where nothing more is known."""
WIDE = 4.0
"""Spread of one night's measurements, in standard deviations, above which three of them decide nothing yet."""
AGREES = 0.67
"""Share of the pooled loss that tonight has to show itself."""
POOLED_LOOK = 0.67
"""Share of the pooled test's limit from which tonight is measured again."""
# Variance of a normal sample's median of n, times n; beyond that it is pi / 2.
_MEDIAN_VARIANCE = {1: 1.0, 2: 1.0, 3: 1.35, 4: 1.19, 5: 1.43, 6: 1.29, 7: 1.47}
_ASYMPTOTIC = 1.571


@dataclass(frozen=True)
class Night:
    """What a night's measurements say. ``loss``, ``limit`` and ``error`` are relative; ``loss`` is positive when worse.

    ``pooled`` is the number of nights that decided, tonight included (1: tonight alone). ``measurements`` are
    tonight's. ``decision`` ``open`` asks for another measurement; where none can be had it is a suspicion.
    """

    decision: Decision
    loss: float
    limit: float
    error: float
    p: float
    pooled: int
    measurements: int


def judge_night(
    reference: Reference,
    values: Sequence[float],
    *,
    sign: int,
    min_effect: float,
    before: Sequence[float] = (),
    remeasure: int,
) -> Night:
    """Judge tonight's ``values`` (at least one).

    ``before`` are the nights before on the same branch, oldest first, empty where they measured something else.
    ``remeasure`` is how many more measurements there may still be.
    """
    count = len(values)
    loss = reference.loss(median(values), sign)
    variance = _variance(count, max(SHARED, reference.correlation))
    error = reference.error(variance)
    wide = count >= LOOKS and (max(values) - min(values)) / abs(reference.center) > WIDE * reference.spread
    decides = count >= LOOKS and (remeasure <= 0 or not wide)
    limit = max(reference.t(LAST_TAIL if remeasure <= 0 else EARLY_TAIL) * error, min_effect)
    if count < LOOKS:
        limit = max(UNCONFIRMED_SPREADS * error, UNCONFIRMED_EFFECTS * min_effect)
        decides = remeasure <= 0
    p = t_tail(abs(loss) / error, max(reference.spread_nights - 1, 1))
    if decides and loss > limit:
        return Night("worse", loss, limit, error, p, 1, count)
    nights = _pooled(reference, loss, count, variance, sign, min_effect, before)
    for pooled in nights if decides and count >= LOOKS else ():
        if pooled.loss > pooled.limit:
            return pooled
    gain_limit = max(reference.t(EARLY_TAIL) * error, min_effect)
    if -loss > gain_limit:
        return Night("better", loss, gain_limit, error, p, 1, count)
    noise = reference.spread * (1 / count) ** 0.5
    doubtful = loss > max((FIRST_LOOK if count == 1 else LATER_LOOKS) * noise, LOOK_EFFECT * min_effect)
    doubtful |= any(each.loss > max(POOLED_LOOK * each.limit, LOOK_EFFECT * min_effect) for each in nights)
    if doubtful and remeasure > 0:
        return Night("open", loss, limit, error, p, 1, count)
    if doubtful and count < LOOKS and loss > max(reference.t(LAST_TAIL) * error, min_effect):
        # Nobody may measure again: beyond what would have been confirmed, short of what needs no confirmation.
        return Night("open", loss, limit, error, p, 1, count)
    return Night("clear", loss, limit, error, p, 1, count)


def _pooled(
    reference: Reference,
    loss: float,
    count: int,
    variance: float,
    sign: int,
    min_effect: float,
    before: Sequence[float],
) -> list[Night]:
    """Tonight with the last one, two, ... nights before it; those that tonight agrees with."""
    tonight = reference.drawn_in(loss, min_effect) if count < LOOKS else loss
    found = []
    total = tonight
    for nights in range(2, min(WINDOW, len(before) + 1) + 1):
        total += reference.drawn_in(reference.loss(before[1 - nights], sign), min_effect)
        mean = total / nights
        correlated = min(reference.inflation, nights - 1)
        error = reference.error(((nights - 1) * correlated + variance) / nights**2)
        limit = max(reference.t(POOLED_TAIL) * error, min_effect)
        if loss > AGREES * mean:
            p = t_tail(abs(mean) / error, max(reference.spread_nights - 1, 1))
            found.append(Night("worse", mean, limit, error, p, nights, count))
    return found


def _variance(count: int, shared: float) -> float:
    """Variance of the median of ``count`` measurements of one night, in units of one night's."""
    own = _MEDIAN_VARIANCE.get(count, _ASYMPTOTIC) / count
    return shared + (1 - shared) * own
