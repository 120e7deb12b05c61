"""What a series is compared with: its stable segment, and what the reference branch lost since and nobody accepted.

The first level that is known (or was accepted) stays the reference until there is a better one. Nights at a worse level
never become part of it, so no baseline drifts down by itself: a slow slide, too, is compared with where it began.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

from pytest_disagg.verdict.changepoints import CHANCE, Rule, bounds, changepoints
from pytest_disagg.verdict.stats import autocorrelation, mean_and_sd, median_and_spread, t_quantile, t_tail

MIN_NIGHTS = 8
"""Nights from which the spread of a series is known well enough."""
MAX_NIGHTS = 365
"""Nights that are looked back."""
ANCHOR = 5
"""Nights that make a level: fewer neither begin a series nor become its new reference."""
FAR_OUT = 3.0
"""Robust standard deviations beyond which a night is one of a kind (a bad node) and describes nothing."""
WINDOW = 5
"""Nights that are pooled at most, tonight included."""
CERTAIN = 0.001
"""p below which a change point makes a new reference, or makes a night red."""
DOUBTFUL, DOUBTFUL_EFFECT = 1.25, 0.6
"""Standard deviations, and smallest effects, from which a series' end may have lost something."""
POOLED_TAIL = 0.003
"""One-sided p of the pooled nights' test."""


@dataclass(frozen=True)
class Reference:
    """A level, how far single nights lie from it, and how well it is known.

    ``center`` is in the metric's unit, ``spread`` relative to it (0.02 is 2 %). ``nights`` is their number.
    ``correlation`` is that of neighbouring nights, 0 unless it is certain: then measurements of one night say less.
    ``first`` and ``last`` are positions in the series.
    """

    center: float
    spread: float
    nights: int
    correlation: float
    first: int
    last: int
    spread_nights: int

    @property
    def inflation(self) -> float:
        """How much less than independent ones its nights say about its level."""
        return (1 + self.correlation) / (1 - self.correlation)

    def error(self, variance: float) -> float:
        """Relative standard error of a difference to the level, of something with ``variance`` x spread squared."""
        return self.spread * math.sqrt(variance + self.inflation / self.nights)

    def t(self, tail: float) -> float:
        return t_quantile(tail, max(self.spread_nights - 1, 1))

    def loss(self, value: float, sign: int) -> float:
        """Relative loss of a value, positive when worse."""
        return sign * (self.center - value) / abs(self.center) if self.center else 0.0

    def drawn_in(self, loss: float, min_effect: float) -> float:
        """A single night's loss, as far as one night is believed."""
        return min(loss, max(2.5 * self.spread, 1.4 * min_effect))


@dataclass(frozen=True)
class State:
    """The series as it stands. ``reference`` is None where there are too few nights.

    ``regressed`` is the position of the first night of the level at the series' end that is worse and was not
    accepted, None where it ends at the reference; ``current`` is that level, else the reference. ``p`` is the change
    point's, 1 where pooled nights gave it away. ``left_out`` counts nights that are no part of the reference.
    """

    reference: Reference | None
    current: Reference | None
    regressed: int | None = None
    p: float = 1.0
    left_out: int = 0


def state_of(values: Sequence[float], *, sign: int, min_effect: float, accepted: int = 0, tonight: bool) -> State:
    """The state of a series, oldest value first.

    ``accepted`` is the position from which a change was accepted: what lies before it only tells the spread.
    ``tonight``: the last value is that of the run being judged; it counts for the change point, not for the reference.
    """
    known = len(values) - int(tonight)
    if known < MIN_NIGHTS:
        return State(None, None)
    recent = list(values[accepted:])
    pool, tail, p = _walk(recent, sign, min_effect)
    # Nights that may be pooled with tonight are not part of what they are compared with.
    kept = [index for index in pool if index < len(recent) - int(tonight)]
    spare = min(WINDOW - 1, len(kept) - MIN_NIGHTS)
    settled = [index for index in kept if index < len(recent) - int(tonight) - spare] if tonight and spare > 0 else kept
    reference = _describe(recent, settled or kept, min_effect)
    if reference is None:
        return State(None, None)
    if len(kept) < MIN_NIGHTS:
        reference = _carried(reference, values[: accepted + kept[0]], min_effect)
    past = recent[: known - accepted]
    correlation = _correlation(past, reference, tail, spare=max(spare, 0) if tonight else 0)
    reference = replace(reference, correlation=correlation)
    if tail is not None and correlation:
        p = max(p, _p_of_tail(recent, reference, tail))
        tail = tail if p <= CERTAIN else None
    if tail is None and not tonight:
        tail = _fallen(past, reference, sign, min_effect)
    current = _lowered(reference, recent, tail) if tail is not None else reference
    left_out = known - accepted - len(kept)
    moved = replace(reference, first=reference.first + accepted, last=reference.last + accepted)
    return State(moved, current, None if tail is None else tail + accepted, p, left_out)


def doubtful_ends(
    reference: Reference, values: Sequence[float], *, sign: int, min_effect: float
) -> Iterator[tuple[Reference, int]]:
    """The levels of the last one, two, ... nights that lie below the reference, if not yet for certain, and where each
    begins."""
    losses = [reference.loss(value, sign) for value in values[-WINDOW:]]
    for count in range(1, min(WINDOW, len(values) - 1) + 1):
        if losses[-count] <= 0:
            return
        mean = sum(losses[-count:]) / count
        if mean > max(DOUBTFUL * reference.spread / math.sqrt(count), DOUBTFUL_EFFECT * min_effect):
            begin = len(values) - count
            yield _lowered(reference, values, begin), begin


def _walk(values: Sequence[float], sign: int, min_effect: float) -> tuple[list[int], int | None, float]:
    """Positions at the reference's level, the first position of a worse level at the end, and its p."""
    points = changepoints(values, Rule(min_effect=0.8 * min_effect))
    segments = bounds(points, len(values))
    while len(segments) > 1 and segments[0][1] - segments[0][0] < ANCHOR:
        segments = segments[1:]
        points = points[1:]
    pool = list(range(*segments[0]))
    level = median(values[index] for index in pool)
    tail: int | None = None
    certainty = 1.0
    for point, (begin, end) in zip(points, segments[1:], strict=True):
        loss = sign * (level - median(values[begin:end])) / abs(level) if level else 0.0
        if loss > 0.8 * min_effect:
            if tail is None:
                tail, certainty = begin, point.p
            if loss < min_effect or certainty > CERTAIN:
                tail = None
            continue
        tail = None
        if loss > -0.8 * min_effect:
            pool += range(begin, end)
        elif end - begin >= MIN_NIGHTS and point.p <= CERTAIN:
            pool = list(range(begin, end))
            level = median(values[begin:end])
    return pool, tail, certainty if tail is not None else 1.0


def _describe(values: Sequence[float], positions: Sequence[int], min_effect: float) -> Reference | None:
    """Mean and standard deviation of the values at those positions, without those that lie far out."""
    if not positions:
        return None
    chosen = [values[index] for index in positions]
    center, spread = median_and_spread(chosen)
    close = [value for value in chosen if spread == 0 or abs(value - center) <= FAR_OUT * spread]
    mean, sd = mean_and_sd(close)
    if mean == 0:
        return None
    return Reference(
        center=mean,
        spread=max(sd / abs(mean), min_effect / 3),
        nights=len(close),
        correlation=0.0,
        first=positions[0],
        last=positions[-1],
        spread_nights=len(close),
    )


def _correlation(past: Sequence[float], reference: Reference, tail: int | None, *, spare: int) -> float:
    """Correlation of neighbouring nights around the reference's level and, from ``tail`` on, around that of the tail; 0
    unless it is more than chance. Nights that left the level and came back count: that is what a drift looks like. The
    last ``spare`` nights do not, where they are at no level yet."""
    far = FAR_OUT * reference.spread * abs(reference.center)
    lower = median(past[tail:]) if tail is not None and tail < len(past) else reference.center
    offsets = []
    for index, value in enumerate(past[: len(past) - spare] if tail is None else past):
        offset = value - (reference.center if tail is None or index < tail else lower)
        offsets.append(min(max(offset, -far), far))
    found = autocorrelation(offsets, 0.0)
    return min(found, 0.9) if found * math.sqrt(len(offsets)) > CHANCE else 0.0


def _p_of_tail(values: Sequence[float], reference: Reference, tail: int) -> float:
    """Two-sided p of the tail's difference to the reference, of nights that resemble their neighbours; corrected for
    the places at which it might have begun."""
    loss = abs(reference.loss(median(values[tail:]), 1))
    error = reference.error(reference.inflation / (len(values) - tail))
    return min(1.0, 2 * t_tail(loss / error, max(reference.spread_nights - 1, 1)) * len(values))


def _carried(reference: Reference, before: Sequence[float], min_effect: float) -> Reference:
    """The reference with the spread that the series had before, where its own nights are too few to tell."""
    older = _describe(before, range(len(before)), min_effect)
    if older is None or older.nights < reference.nights:
        return reference
    return replace(reference, spread=max(older.spread, min_effect / 3), spread_nights=max(older.nights, 2))


def _fallen(past: Sequence[float], reference: Reference, sign: int, min_effect: float) -> int | None:
    """Where the last nights, pooled, begin to lie below the reference; None where they do not."""
    losses = [reference.drawn_in(reference.loss(value, sign), min_effect) for value in past]
    found = None
    for count in range(2, min(WINDOW, len(past) - 1) + 1):
        mean = sum(losses[-count:]) / count
        limit = max(reference.t(POOLED_TAIL) * reference.error(reference.inflation / count), min_effect)
        if mean > limit and min(losses[-count:]) > 0:
            found = len(past) - count
    return found


def _lowered(reference: Reference, values: Sequence[float], tail: int) -> Reference:
    """The level that the series has from ``tail`` on, with the reference's spread."""
    level = median(values[tail:])
    return replace(reference, center=level, nights=len(values) - tail, first=tail, last=len(values) - 1)
