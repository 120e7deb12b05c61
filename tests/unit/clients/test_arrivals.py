from __future__ import annotations

from itertools import pairwise

import pytest

from pytest_disagg.clients.native.arrivals import EARLY_S, ClosedLoop, OpenLoop


def test_closed_loop_hands_out_each_request_once_when_asked() -> None:
    arrivals = ClosedLoop(2)
    arrivals.begin(5.0)
    assert arrivals.take(6.0) == (0, 6.0)
    assert arrivals.next_due() is not None
    assert arrivals.take(7.0) == (1, 7.0)
    assert arrivals.take(8.0) is None
    assert arrivals.next_due() is None


def due_times(rate: float, seed: int, count: int) -> list[float]:
    arrivals = OpenLoop(count, rate, seed)
    arrivals.begin(0.0)
    times: list[float] = []
    while (due := arrivals.next_due()) is not None:
        assert arrivals.take(due) == (len(times), due)
        times.append(due)
    return times


def test_open_loop_is_a_seeded_poisson_process_of_the_rate() -> None:
    times = due_times(50.0, 1, 20000)
    assert times[0] == 0.0
    gaps = [b - a for a, b in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1 / 50, rel=0.03)
    # Exponential gaps have a standard deviation equal to their mean.
    assert (sum((g - mean) ** 2 for g in gaps) / len(gaps)) ** 0.5 == pytest.approx(mean, rel=0.05)
    assert due_times(50.0, 1, 10) == times[:10]
    assert due_times(50.0, 2, 10) != times[:10]


def test_open_loop_keeps_a_request_until_it_is_due_and_its_time_when_it_is_late() -> None:
    arrivals = OpenLoop(2, 1.0, 0)
    arrivals.begin(100.0)
    assert arrivals.take(100.0) == (0, 100.0)
    due = arrivals.next_due()
    assert due is not None
    assert arrivals.take(due - 2 * EARLY_S) is None
    assert arrivals.take(due + 3.0) == (1, due)
