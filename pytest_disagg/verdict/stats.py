"""The little statistics that verdicts need, in plain Python: a process that plays a role must not import numpy.

Agrees with scipy.stats (t, false_discovery_control) to 1e-9 relative; tests/unit/verdict/test_stats.py has its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from statistics import median

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
_TINY = 1e-300
_PRECISION = 1e-14


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; the latter is 0 for fewer than two values."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, 0.0
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def median_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Median and 1.4826 x the median absolute deviation from it."""
    center = median(values)
    return center, MAD_TO_SIGMA * median([abs(value - center) for value in values])


def t_tail(t: float, df: float) -> float:
    """P(T > t) of Student's t with ``df`` degrees of freedom."""
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    half = 0.5 * _beta_ratio(df / 2, 0.5, df / (df + t * t))
    return half if t >= 0 else 1 - half


@lru_cache(maxsize=4096)
def t_quantile(tail: float, df: float) -> float:
    """The t above which a share ``tail`` (0 < tail <= 0.5) of Student's t with ``df`` degrees of freedom lies."""
    low, high = 0.0, 1.0
    while t_tail(high, df) > tail and high < 1e12:
        low, high = high, high * 2
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, df) > tail else (low, middle)
    return high


def normal_tail(z: float) -> float:
    """P(Z > z) of the standard normal distribution."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def t_test(left: Sequence[float], right: Sequence[float]) -> float:
    """Two-sided p of Student's t-test (equal variances) of two samples of at least two values between them.

    Two samples without any spread are certainly different, or not at all.
    """
    (mean_left, sd_left), (mean_right, sd_right) = mean_and_sd(left), mean_and_sd(right)
    df = len(left) + len(right) - 2
    if df < 1:
        return 1.0
    pooled = ((len(left) - 1) * sd_left**2 + (len(right) - 1) * sd_right**2) / df
    error = math.sqrt(pooled * (1 / len(left) + 1 / len(right)))
    difference = abs(mean_left - mean_right)
    if error <= 1e-12 * max(abs(mean_left), abs(mean_right)):
        return 1.0 if difference <= 1e-9 * max(abs(mean_left), abs(mean_right)) else 0.0
    return 2 * t_tail(difference / error, df)


def discoveries(p_values: Sequence[float], q: float) -> list[bool]:
    """Benjamini and Hochberg (1995): which of these tests may be believed at false discovery rate ``q``."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    last = max((rank for rank, index in enumerate(order, 1) if p_values[index] <= q * rank / len(order)), default=0)
    believed = set(order[:last])
    return [index in believed for index in range(len(p_values))]


def autocorrelation(values: Sequence[float], center: float) -> float:
    """Correlation of each value with the next around ``center``; 0 where there is no spread."""
    offsets = [value - center for value in values]
    total = math.fsum(offset * offset for offset in offsets)
    return math.fsum(a * b for a, b in pairwise(offsets)) / total if total > 0 else 0.0


def _beta_ratio(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )  # symmetric in (a, x) and (b, 1 - x)
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1 - front * _fraction(b, a, 1 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    result = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / _away_from_zero(1 + even * d), _away_from_zero(1 + even / c)
        result *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / _away_from_zero(1 + odd * d), _away_from_zero(1 + odd / c)
        result *= d * c
        if abs(d * c - 1) < _PRECISION:
            break
    return result


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
