from __future__ import annotations

import pytest

from pytest_disagg.clients.printed import parse, render

SUMMARY: dict[str, float] = {
    "total_requests": 12,
    "successful_requests": 12,
    "failed_requests": 0,
    "duration_s": 2.5,
    "total_input_tokens": 120,
    "total_output_tokens": 48,
    "seq_throughput": 4.8,
    "goodput": 4.4,
    "token_throughput": 19.2,
    "total_token_throughput": 67.2,
    "user_throughput": 33.333,
    "al": 2.31,
    **{
        f"{stat}_{name}": float(10 * i + j)
        for i, name in enumerate(("ttft", "tpot", "itl", "e2el"), start=1)
        for j, stat in enumerate(("mean", "median", "std", "p75", "p90", "p95", "p99"))
    },
}

BLOCK = """\
============ Serving Benchmark Result ============
Total requests:                          12
Successful requests:                     12
Failed requests:                         0
Benchmark duration (s):                  2.50
Total input tokens:                      120
Total generated tokens:                  48
Request throughput (req/s):              4.80
Request goodput (req/s):                 4.40
Output token throughput (tok/s):         19.20
Total Token throughput (tok/s):          67.20
User throughput (tok/s):                 33.33
-----------Avg Decoded Tokens per Iter------------
Mean Avg Decoded Tokens per Iter:        2.31
---------------Time to First Token----------------
Mean TTFT (ms):                          10.00
Median TTFT (ms):                        11.00
Std Dev TTFT (ms):                       12.00
P75 TTFT (ms):                           13.00
P90 TTFT (ms):                           14.00
P95 TTFT (ms):                           15.00
P99 TTFT (ms):                           16.00
-----Time per Output Token (excl. 1st token)------
"""


def test_the_block_is_benchmark_servings() -> None:
    printed = render(SUMMARY)
    assert printed.startswith(BLOCK)
    assert printed.endswith("P99 E2EL (ms):                           46.00\n" + "=" * 50 + "\n")
    assert "FAILED" not in printed


def test_what_is_printed_can_be_parsed_back() -> None:
    names = {"seq_throughput", "token_throughput", "total_token_throughput", "user_throughput", "al"}
    names |= {f"{stat}_{name}" for stat in ("mean", "median", "p99") for name in ("ttft", "tpot", "itl", "e2el")}
    assert parse(render(SUMMARY)) == {name: pytest.approx(SUMMARY[name], abs=0.005) for name in names}


def test_failures_are_marked_and_counted_by_error() -> None:
    printed = render(SUMMARY | {"failed_requests": 3}, errors=["HTTP 500: x", "timeout", "HTTP 500: x"])
    assert "Error type: HTTP 500: x, Count: 2 requests\nError type: timeout, Count: 1 requests\n" in printed
    assert "Failed requests:                         3\n" in printed
    assert "=======================!FAILED REQUESTS!=======================\nTotal failed requests: 3\n" in printed
    assert "!CHECK LOG FOR ERRORS!" in printed


def test_a_metric_without_data_has_no_line() -> None:
    printed = render({"total_requests": 2, "successful_requests": 0, "failed_requests": 2, "duration_s": 1})
    assert "throughput" not in printed
    assert "TTFT" not in printed
    assert parse(printed) == {}


def test_parsing_keeps_first_values_and_skips_what_is_no_number() -> None:
    text = "\n".join(
        [
            "INFO Mean TTFT (ms):     nan",
            "Mean TTFT (ms):                          12.5",
            "Mean TTFT (ms):                          99",
            "Median TPOT (ms):  inf",
            "P99 ITL (ms): 1.2.3",
            "Request throughput (req/s): -1",
            "Peak output token throughput (tok/s): 5",
            "Average Per Iter Device Step Time (ms): 7.25",
            "Stdev Per Iter Device Step Time (ms): 0.5",
        ]
    )
    assert parse(text) == {
        "mean_ttft": 12.5,
        "seq_throughput": -1.0,
        "mean_gen_worker_per_iter_device_step_time": 7.25,
        "std_gen_worker_per_iter_device_step_time": 0.5,
    }
