from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean, median, pstdev

import pytest

from pytest_disagg.errors import UsageError
from pytest_disagg.records.sample import RequestSample
from pytest_disagg.records.summary import achieved_concurrency, max_in_flight, percentile, summarize


def request(
    written_s: float,
    chunk_s: Sequence[float],
    *,
    done_s: float | None = None,
    tokens: int | None = None,
    error: str = "",
    scheduled_s: float | None = None,
    decoded: float | None = None,
) -> RequestSample:
    return RequestSample(
        index=0,
        scheduled_s=written_s if scheduled_s is None else scheduled_s,
        written_s=written_s,
        first_s=chunk_s[0] if chunk_s else None,
        last_s=chunk_s[-1] if chunk_s else None,
        done_s=done_s if done_s is not None else chunk_s[-1],
        chunk_s=tuple(chunk_s),
        prompt_tokens=10,
        output_tokens=len(chunk_s) if tokens is None else tokens,
        asked_tokens=4,
        usage_reported=True,
        status=200,
        error=error,
        decoded_per_iter=decoded,
    )


@pytest.mark.parametrize(("p", "value"), [(0, 1.0), (25, 1.75), (50, 2.5), (75, 3.25), (99, 3.97), (100, 4.0)])
def test_percentiles_are_linear_between_ranks(p: float, value: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], p) == pytest.approx(value)
    assert percentile([7.0], p) == 7.0


def test_percentiles_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
    with pytest.raises(ValueError, match="outside"):
        percentile([1.0], 101)


def test_every_metric_of_a_load() -> None:
    samples = [
        request(0.0, [0.1, 0.2, 0.3], tokens=5, scheduled_s=-0.1, decoded=2.0),
        request(0.5, [0.7, 0.8], tokens=2, decoded=3.0),
        request(0.0, [0.1], done_s=1.0, error="HTTP 500"),
    ]
    s = summarize(samples, duration_s=2.0, gpus=4, slo_ms={})
    assert (s["total_requests"], s["successful_requests"], s["failed_requests"]) == (3, 2, 1)
    assert (s["total_input_tokens"], s["total_output_tokens"], s["duration_s"]) == (20, 7, 2.0)
    assert s["seq_throughput"] == pytest.approx(1.0)
    assert s["token_throughput"] == pytest.approx(3.5)
    assert s["total_token_throughput"] == pytest.approx(13.5)
    assert s["output_token_throughput_per_gpu"] == pytest.approx(3.5 / 4)
    assert s["total_token_throughput_per_gpu"] == pytest.approx(13.5 / 4)
    assert s["user_throughput"] == pytest.approx(mean([5 / 0.3, 2 / 0.3]))
    ttft, tpot, itl, e2el = [100, 200], [200 / 4, 100], [100, 100, 100], [300, 300]
    for name, values in (("ttft", ttft), ("tpot", tpot), ("itl", itl), ("e2el", e2el), ("scheduled_ttft", [200, 200])):
        assert s[f"mean_{name}"] == pytest.approx(mean(values))
        assert s[f"median_{name}"] == pytest.approx(median(values))
        assert s[f"std_{name}"] == pytest.approx(pstdev(values), abs=1e-9)
        assert s[f"p99_{name}"] == pytest.approx(percentile(sorted(values), 99))
    assert s["output_token_throughput_per_user"] == pytest.approx(1000 / 75)
    assert s["al"] == pytest.approx(2.5)
    assert "goodput" not in s


def test_no_data_is_no_metric() -> None:
    failed = [request(0.0, [], done_s=1.0, error="x")]
    s = summarize(failed, duration_s=1.0, gpus=1, slo_ms={})
    assert set(s) == {
        "total_requests",
        "successful_requests",
        "failed_requests",
        "duration_s",
        "total_input_tokens",
        "total_output_tokens",
        "achieved_concurrency",
        "max_in_flight",
    }
    silent = summarize([request(0.0, [], done_s=1.0)], duration_s=1.0, gpus=1, slo_ms={})
    assert "token_throughput" not in silent
    assert "user_throughput" not in silent
    one = summarize([request(0.0, [0.5])], duration_s=0.0, gpus=0, slo_ms={})
    assert not [name for name in one if "tpot" in name or "itl" in name or ("throughput" in name and name[0] != "u")]
    assert summarize([], duration_s=0.0, gpus=0, slo_ms={"ttft": 1})["total_requests"] == 0
    for summary in (s, silent, one):
        assert all(math.isfinite(value) for value in summary.values())


def test_a_request_without_tokens_lowers_the_speed_of_users() -> None:
    s = summarize([request(0.0, [0.5, 1.0]), request(0.0, [], done_s=1.0)], duration_s=1.0, gpus=0, slo_ms={})
    assert s["user_throughput"] == pytest.approx(1.0)


def test_goodput_needs_every_limit_met() -> None:
    samples = [
        request(0.0, [0.1, 0.2]),  # TTFT 100 ms, TPOT 100 ms
        request(0.0, [0.3, 0.4]),  # TTFT too long
        request(0.0, [0.1, 0.9]),  # TPOT too long
        request(0.0, [0.1]),  # one token: TPOT counts as 0
        request(0.0, [0.1, 0.2], error="x"),
        request(0.0, [], done_s=1.0),  # nothing to judge
    ]
    limits = {"ttft_ms": 200.0, "tpot": 150.0}
    s = summarize(samples, duration_s=2.0, gpus=0, slo_ms=limits)
    assert s["goodput"] == pytest.approx(2 / 2.0)
    assert s["goodput_ratio"] == pytest.approx(2 / 6)
    assert summarize(samples, duration_s=2.0, gpus=0, slo_ms={"e2el": 1.0})["goodput"] == 0.0
    with pytest.raises(UsageError, match="'itl'"):
        summarize(samples, duration_s=2.0, gpus=0, slo_ms={"itl": 1.0})


def test_achieved_concurrency_leaves_out_the_drain_and_nothing_else() -> None:
    steady = [request(0.0, [1.0]), request(1.0, [2.0]), request(0.0, [2.0]), request(2.0, [3.0]), request(2.0, [9.0])]
    assert achieved_concurrency(steady) == pytest.approx(2.0)
    pause = [request(0.0, [1.0]), request(3.0, [4.0])]
    assert achieved_concurrency(pause) == pytest.approx(2 / 4)
    one_wave = [request(0.0, [10.0]), request(1.0, [12.0])]
    assert achieved_concurrency(one_wave) == pytest.approx((10 + 9) / 10)
    assert achieved_concurrency([]) is None
    assert achieved_concurrency([request(1.0, [], done_s=1.0, error="no connection")]) is None


def test_a_slot_that_goes_on_at_once_does_not_count_twice() -> None:
    assert max_in_flight([request(0.0, [1.0]), request(1.0, [2.0]), request(0.5, [1.5])]) == 2
    assert max_in_flight([]) == 0


def test_a_limit_on_what_was_not_streamed_gives_no_goodput() -> None:
    whole = [replace(request(0.0, [], done_s=1.0, tokens=8), last_s=1.0)]
    assert "goodput" not in summarize(whole, duration_s=1.0, gpus=0, slo_ms={"ttft": 500.0})
    assert summarize(whole, duration_s=1.0, gpus=0, slo_ms={"e2el": 2000.0})["goodput"] == 1.0
