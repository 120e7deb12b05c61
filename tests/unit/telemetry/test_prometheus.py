"""Pages of metrics: what is kept of them, whatever is in their labels."""

from __future__ import annotations

import pytest

from pytest_disagg.engines.sim.metrics import render
from pytest_disagg.telemetry import prometheus
from pytest_disagg.telemetry.prometheus import cumulative, name_of, parse

PAGE = """\
# HELP vllm:num_requests_running Number of requests "running", {really}.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a b"} 3.0
vllm:num_requests_running{engine="1",model_name="a b"} 4.0
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{model_name="m"} 1.5e+06 1395066363000
# TYPE vllm:prompt_tokens_created gauge
vllm:prompt_tokens_created{model_name="m"} 1.79e+09
# TYPE ttft_seconds histogram
ttft_seconds_bucket{le="0.1"} 1.0 # {trace_id="} 9"} 0.05
ttft_seconds_bucket{le="+Inf"} 2.0
ttft_seconds_sum 0.3
ttft_seconds_count 2.0
# TYPE gc_seconds summary
gc_seconds{quantile="0.5"} 0.1
gc_seconds_sum 4.0
gc_seconds_count 7.0
# TYPE build info
build_info{version="1"} 1.0
untyped_thing 5
"""


def test_gauges_counters_sums_and_counts_are_kept_and_nothing_else() -> None:
    assert parse(PAGE).values == {
        'vllm:num_requests_running{engine="0",model_name="a b"}': 3.0,
        'vllm:num_requests_running{engine="1",model_name="a b"}': 4.0,
        'vllm:prompt_tokens_total{model_name="m"}': 1_500_000.0,
        "ttft_seconds_sum": 0.3,
        "ttft_seconds_count": 2.0,
        "gc_seconds_sum": 4.0,
        "gc_seconds_count": 7.0,
        "untyped_thing": 5.0,
    }


def test_labels_may_hold_braces_quotes_and_exemplars_follow_values() -> None:
    page = parse('x{path="/a}b\\"c d",k="#"} 7\ny_total{a="1"} 8 # {trace_id="abc"} 0.5 1.0\n')
    assert page.values == {'x{path="/a}b\\"c d",k="#"}': 7.0, 'y_total{a="1"}': 8.0}
    assert [name_of(series) for series in page.values] == ["x", "y_total"]


def test_a_counter_of_openmetrics_is_a_counter_and_its_birth_is_nothing() -> None:
    page = parse("# TYPE tokens counter\ntokens_total 5.0\ntokens_created 1.7e9\n# EOF\n")
    assert page.values == {"tokens_total": 5.0}


def test_what_is_not_finite_and_what_is_no_sample_is_left_out() -> None:
    assert parse("a NaN\nb +Inf\nc -Inf\nd 1\n{} 3\n5 6\nno-dash 2\ne\n").values == {"d": 1.0}
    assert parse('[{"iter": 1, "x": 2}]').seen == 0


def test_of_too_many_series_the_first_are_kept_and_the_others_counted() -> None:
    page = parse("".join(f'x{{i="{i}"}} {i}\n' for i in range(7)), max_series=3)
    assert list(page.values.values()) == [0.0, 1.0, 2.0]
    assert (page.left_out, page.seen) == (4, 7)


def test_of_a_page_that_is_too_long_no_line_is_read_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MAX_CHARS", len("a 1\nb 12"))
    assert parse("a 1\nb 1234\nc 5\n").values == {"a": 1.0}


def test_the_page_of_a_simulated_server_is_read_whole() -> None:
    values = {"sim_requests_running": 3, "sim_iterations_total": 12}
    assert parse(render(values)).values == values


def test_counters_are_told_by_their_names() -> None:
    assert all(map(cumulative, ("a_total", "ttft_seconds_sum", "ttft_seconds_count")))
    assert not cumulative("vllm:num_requests_running")
