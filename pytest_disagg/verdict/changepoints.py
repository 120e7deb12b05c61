"""Change points of a series: E-divisive split, then merge by t-test. Deterministic.

The split is that of Matteson and James (2014): the place that maximises the energy distance between what lies left and
right of it. As in Hunter (Fleming et al. 2023, now Apache Otava) its significance comes from a t-test instead of
permutations, weakly first and within windows, so that a change hidden behind another is found, and strictly when
neighbours are merged. Unlike there, windows are halves of each other down to :data:`SHORTEST_WINDOW` values, the
p-value is corrected for the number of places that were looked at, values far from their neighbourhood are drawn in
before they are tested (one bad night is no change), a series whose neighbours resemble each other counts for as many
values as it has independent ones, and a cut is placed anew once its neighbours are known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from pytest_disagg.verdict.stats import autocorrelation, mean_and_sd, median_and_spread, t_tail

WEAK = 10.0
"""How much weaker the test is while splitting than when neighbours are merged."""
SHORTEST_WINDOW = 24
WINDOW_SIZES = 4
CHANCE = 1.64
"""Correlation x sqrt(length) that chance exceeds in one of twenty independent series."""


@dataclass(frozen=True)
class Rule:
    """When two neighbouring segments differ.

    ``p``: two-sided p-value, corrected for the places looked at. ``min_segment``: values on each side.
    ``min_effect``: smallest change of the mean, relative to the mean before (0.03 is 3 %). ``min_shift``: the same in
    standard deviations of the segments. ``clip``: how far, in robust standard deviations of its segment, a value may
    lie out before it is drawn in.
    """

    p: float = 0.005
    min_segment: int = 3
    min_effect: float = 0.0
    min_shift: float = 0.8
    clip: float = 3.0


@dataclass(frozen=True)
class ChangePoint:
    """``index`` is the first value of the new segment; ``before`` and ``after`` are the means on both sides."""

    index: int
    before: float
    after: float
    p: float

    @property
    def effect(self) -> float:
        """Relative change, infinite from 0."""
        return (self.after - self.before) / abs(self.before) if self.before else math.inf


def changepoints(values: Sequence[float], rule: Rule | None = None) -> list[ChangePoint]:
    """The change points of ``values``, in order."""
    rule = rule or Rule()
    cuts: set[int] = set()
    for begin, end in _windows(len(values)):
        _split(values, begin, end, rule, cuts)
    found = [point.index for point in _merge(values, sorted(cuts), rule)]
    return _merge(values, _placed_anew(values, found, rule), rule)


def bounds(points: Sequence[ChangePoint], length: int) -> list[tuple[int, int]]:
    """The segments [begin, end) that change points cut ``length`` values into."""
    return list(pairwise([0, *(point.index for point in points), length]))


def _windows(length: int) -> Iterator[tuple[int, int]]:
    """The whole, then windows of halved length that overlap by half."""
    for halvings in range(WINDOW_SIZES):
        size = length >> halvings
        if halvings and size < SHORTEST_WINDOW:
            return
        step = max(size // 2, 1)
        for begin in range(0, length - size + step, step):
            start = min(begin, length - size)
            yield start, start + size


def _split(values: Sequence[float], begin: int, end: int, rule: Rule, cuts: set[int]) -> None:
    """Add every place within [begin, end) where a weak test sees a change."""
    if end - begin < 2 * rule.min_segment:
        return
    cut = begin + _best(values[begin:end], rule.min_segment)
    if _compare(values[begin:cut], values[cut:end], rule, weak=True).p > min(WEAK * rule.p, 0.5):
        return
    cuts.add(cut)
    _split(values, begin, cut, rule, cuts)
    _split(values, cut, end, rule, cuts)


def _best(values: Sequence[float], edge: int) -> int:
    """The cut, at least ``edge`` from either end, at which the energy distance between both sides, weighted by their
    sizes, is largest. Quadratic in the number of values."""
    count = len(values)
    left_sums = list(accumulate(sum(abs(here - other) for other in values[:i]) for i, here in enumerate(values)))
    right_sums = list(
        accumulate(sum(abs(values[i] - other) for other in values[i + 1 :]) for i in range(count - 1, -1, -1))
    )
    every = left_sums[-1]
    best, where = -math.inf, edge
    for left in range(edge, count - edge + 1):
        right = count - left
        inside_left, inside_right = left_sums[left - 1], right_sums[right - 1]
        distance = 2 * (every - inside_left - inside_right) / (left * right)
        distance -= 2 * inside_left / (left * (left - 1)) if left > 1 else 0.0
        distance -= 2 * inside_right / (right * (right - 1)) if right > 1 else 0.0
        score = distance * left * right
        if score > best:
            best, where = score, left
    return where


def _merge(values: Sequence[float], cuts: list[int], rule: Rule) -> list[ChangePoint]:
    """Take away the least certain cut until all that are left are certain and large enough."""
    left = list(cuts)
    while True:
        edges = [0, *left, len(values)]
        points = [
            _compare(values[before:cut], values[cut:after], rule, cut)
            for before, cut, after in zip(edges, edges[1:], edges[2:], strict=False)
        ]
        doubtful = [point for point in points if point.p > rule.p or abs(point.effect) < rule.min_effect]
        if not doubtful:
            return points
        left.remove(max(doubtful, key=lambda point: (point.p, -abs(point.effect))).index)


def _placed_anew(values: Sequence[float], cuts: Sequence[int], rule: Rule) -> list[int]:
    """Each cut where it divides best what lies between its neighbours."""
    placed: list[int] = []
    for position, cut in enumerate(cuts):
        begin = placed[-1] if placed else 0
        end = cuts[position + 1] if position + 1 < len(cuts) else len(values)
        fits = end - begin >= 2 * rule.min_segment
        placed.append(begin + _best(values[begin:end], rule.min_segment) if fits else cut)
    return sorted(set(placed))


def _compare(
    left: Sequence[float], right: Sequence[float], rule: Rule, index: int = 0, *, weak: bool = False
) -> ChangePoint:
    """Both sides' means, and the corrected p-value of their difference; 1 where it is too small to matter.

    The ``weak`` test takes values for independent: while segments are not known yet, the changes between them look
    like correlation.
    """
    tamed = [_drawn_in(side, rule.clip) for side in (left, right)]
    (before, sd_left), (after, sd_right) = map(mean_and_sd, tamed)
    count = len(left) + len(right)
    pooled = ((len(left) - 1) * sd_left**2 + (len(right) - 1) * sd_right**2) / max(count - 2, 1)
    sd = math.sqrt(pooled)
    difference = abs(after - before)
    if difference <= 1e-9 * max(abs(before), abs(after)) or difference < rule.min_shift * sd:
        return ChangePoint(index, before, after, 1.0)
    if sd <= 1e-12 * max(abs(before), abs(after)):
        return ChangePoint(index, before, after, 0.0)
    share = 1.0 if weak else _independent(tamed, (before, after))
    error = sd * math.sqrt((1 / len(left) + 1 / len(right)) / share)
    p = 2 * t_tail(difference / error, max((count - 2) * share, 1.0))
    return ChangePoint(index, before, after, min(1.0, p * max(count - 2 * rule.min_segment + 1, 1)))


def _drawn_in(values: Sequence[float], clip: float) -> list[float]:
    center, spread = median_and_spread(values)
    if spread == 0:
        return list(values)
    return [min(max(value, center - clip * spread), center + clip * spread) for value in values]


def _independent(sides: Sequence[Sequence[float]], centers: Sequence[float]) -> float:
    """The share of the values that are independent, from as much correlation of neighbours as is certain."""
    offsets = [value - center for side, center in zip(sides, centers, strict=True) for value in side]
    certain = autocorrelation(offsets, 0.0) - CHANCE / math.sqrt(len(offsets))
    certain = min(max(certain, 0.0), 0.9)
    return (1 - certain) / (1 + certain)
