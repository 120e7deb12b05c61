"""Samples of tools that do not say when their requests started."""

from __future__ import annotations

import pytest

from pytest_disagg.clients.protocol import LoadPoint
from pytest_disagg.clients.tool.times import Request, paced, placed, sample, taking_turns
from pytest_disagg.records.summary import achieved_concurrency, max_in_flight, summarize


def load(concurrency: int) -> LoadPoint:
    return LoadPoint(concurrency, num_prompts=8, isl=8, osl=3, model="m")


def streamed(ttft_s: float = 0.5, gaps_s: tuple[float, ...] = (0.1, 0.2), latency_s: float = 0.0) -> Request:
    return Request(ttft_s, gaps_s, latency_s, prompt_tokens=8, output_tokens=3, asked_tokens=3)


def test_a_sample_says_what_the_tool_said() -> None:
    found = sample(4, streamed(latency_s=0.8), 100.0)
    assert (found.index, found.written_s, found.scheduled_s) == (4, 100.0, 100.0)
    assert found.chunk_s == pytest.approx((100.5, 100.6, 100.8))
    assert found.ttft_s == pytest.approx(0.5)
    assert found.tpot_s == pytest.approx(0.15)
    assert found.e2el_s == pytest.approx(0.8)
    assert (found.ok, found.status, found.usage_reported) == (True, 200, True)


def test_an_answer_in_one_piece_has_no_first_token() -> None:
    found = sample(0, Request(None, (), 0.7, 8, 3, 3), 1.0)
    assert (found.first_s, found.chunk_s, found.tpot_s) == (None, (), None)
    assert found.e2el_s == pytest.approx(0.7)


def test_a_failed_request_enters_no_latency_and_no_token() -> None:
    found = sample(0, Request(0.5, (0.1,), 0.0, 8, 2, 3, status=500, error="HTTP 500: x"), 1.0)
    assert (found.first_s, found.last_s, found.chunk_s, found.output_tokens) == (None, None, (), 0)
    assert (found.ok, found.status) == (False, 500)


def test_requests_take_turns_in_order() -> None:
    # Two places: 0 and 1 at once, 2 when 1 is over, 3 when 0 is, 4 when 3 is.
    assert taking_turns([3.0, 1.0, 5.0, 1.0, 1.0], 2, 6.0) == [0.0, 0.0, 1.0, 3.0, 4.0]


def test_time_that_no_request_took_lowers_the_concurrency() -> None:
    requests = [streamed(latency_s=1.0) for _ in range(8)]

    def concurrency(duration_s: float) -> float:
        samples = placed(requests, load(2), duration_s=duration_s, began_s=50.0)
        assert min(each.written_s for each in samples) == 50.0
        assert max(each.done_s for each in samples) == pytest.approx(50.0 + duration_s, abs=0.01)
        return achieved_concurrency(samples) or 0.0

    assert concurrency(4.0) == pytest.approx(2.0, abs=0.01)
    # Half the time went by between requests: by Little's law 8 s of requests in 8 s are a concurrency of one.
    assert concurrency(8.0) == pytest.approx(1.1, abs=0.1)


def test_a_duration_too_short_for_its_requests_leaves_no_pause() -> None:
    assert taking_turns([1.0, 1.0, 1.0], 1, 2.0) == [0.0, 1.0, 2.0]
    assert taking_turns([], 4, 2.0) == []


def test_more_places_than_requests() -> None:
    assert taking_turns([1.0, 2.0], 8, 2.0) == [0.0, 0.0]


def test_a_rate_is_even() -> None:
    assert paced([1.0, 1.0, 2.0], 6.0) == [0.0, 2.0, 4.0]
    assert paced([1.0], 6.0) == [0.0]
    assert paced([], 6.0) == []


def test_the_places_are_never_overbooked() -> None:
    requests = [streamed(latency_s=0.8 + 0.1 * (i % 7)) for i in range(50)]
    samples = placed(requests, load(4), duration_s=20.0, began_s=0.0)
    assert max_in_flight(samples) == 4
    summary = summarize(samples, duration_s=20.0, gpus=0, slo_ms={})
    assert summary["seq_throughput"] == pytest.approx(2.5)
