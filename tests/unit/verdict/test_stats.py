"""The statistics against scipy's numbers (1.17.1)."""

from __future__ import annotations

import math

import pytest

from pytest_disagg.verdict.stats import (
    autocorrelation,
    discoveries,
    mean_and_sd,
    median_and_spread,
    t_quantile,
    t_tail,
)


@pytest.mark.parametrize(
    ("t", "df", "expected"),
    [
        (0.5, 3, 0.3257239824240755),
        (2.0, 7, 0.042809664281488025),
        (3.3, 25, 0.0014526101068884547),
        (-1.2, 11, 0.8723268587217827),
        (10.0, 2, 0.004926228511662845),
        (40.0, 58, 3.135126156096623e-44),
    ],
)
def test_tail_of_students_t(t: float, df: float, expected: float) -> None:
    assert t_tail(t, df) == pytest.approx(expected, rel=1e-9)


def test_tail_of_students_t_far_out() -> None:
    assert t_tail(math.inf, 5) == 0
    assert t_tail(-math.inf, 5) == 1
    assert t_tail(0.0, 5) == 0.5


@pytest.mark.parametrize(
    ("tail", "df", "expected"),
    [(0.002, 25, 3.169903593559403), (0.008, 7, 3.15677969486054), (0.025, 364, 1.9665025687993642), (0.5, 4, 0.0)],
)
def test_quantile_of_students_t(tail: float, df: float, expected: float) -> None:
    assert t_quantile(tail, df) == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_mean_median_and_spread() -> None:
    assert mean_and_sd([1.0, 2.0, 3.0]) == (2.0, 1.0)
    assert mean_and_sd([5.0]) == (5.0, 0.0)
    assert median_and_spread([1.0, 2.0, 3.0, 4.0, 1000.0]) == pytest.approx((3.0, 1.4826))


def test_discoveries_follow_benjamini_and_hochberg() -> None:
    # scipy.stats.false_discovery_control([0.03, 0.01, 0.04, 0.5]) is [0.0533, 0.04, 0.0533, 0.5].
    assert discoveries([0.03, 0.01, 0.04, 0.5], 0.05) == [False, True, False, False]
    # One that is not small enough by itself is believed because of those that are.
    assert discoveries([0.04, 0.01, 0.03, 0.04], 0.05) == [True, True, True, True]
    assert discoveries([], 0.05) == []


def test_autocorrelation() -> None:
    assert autocorrelation([1.0, -1.0] * 50, 0.0) == pytest.approx(-0.99)
    assert autocorrelation([3.0, 3.0, 3.0], 3.0) == 0.0
