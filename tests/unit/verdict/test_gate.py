"""The gate: each way in which a measurement cannot be trusted is found, with number and limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_disagg.config.blocks import Gate
from pytest_disagg.verdict.gate import (
    Finding,
    GateResult,
    PointFacts,
    combine,
    evaluate,
    low_n,
    missing_points,
    needed_samples,
)

GOOD = PointFacts(
    point="con8",
    concurrency=8,
    num_prompts=64,
    ok=64,
    failed=0,
    output_tokens=2048,
    asked_tokens=2048,
    achieved_concurrency=7.9,
    lag_p99_ms=1.0,
    cpu_ratio=0.2,
)


def test_a_good_measurement_passes() -> None:
    result = evaluate(GOOD, Gate())
    assert result.ok
    assert result.kind is None


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"ok": 60}, "invalid", "con8: found 60 requests, expected 64"),
        ({"ok": 0}, "invalid", "con8: found 0 requests, expected 64"),
        (
            {"ok": 63, "failed": 1, "errors": ["HTTP 500"]},
            "functional",
            "con8: 1 of 64 requests failed (success 98.4375 %, expected at least 100 %): 1 x HTTP 500",
        ),
        ({"output_tokens": 0}, "invalid", "con8: 64 requests succeeded with 0 output tokens, expected tokens"),
        (
            {"empty_requests": 3},
            "invalid",
            "con8: 3 of 64 successful requests have 0 output tokens, expected 0 such requests",
        ),
        (
            {"output_tokens": 2000},
            "invalid",
            "con8: 2000 output tokens of 2048 asked (97.6562 %), expected at least 100 %",
        ),
        (
            {"output_tokens": 2100},
            "invalid",
            "con8: 2100 output tokens of 2048 asked (102.539 %), expected at most 101 %",
        ),
        (
            {"achieved_concurrency": 7.1},
            "invalid",
            "con8: achieved concurrency 7.10, expected at least 7.2 (90 % of 8)",
        ),
        ({"achieved_concurrency": None}, "invalid", "con8: achieved concurrency is unknown, expected 8"),
        (
            {"lag_p99_ms": 50.5},
            "invalid",
            "con8: the client was the bottleneck: event-loop lag p99 50.5 ms, expected at most 50 ms",
        ),
        (
            {"cpu_ratio": 0.99},
            "invalid",
            "con8: the client was the bottleneck: 0.99 CPU seconds per second, expected at most 0.95",
        ),
        (
            {"device_step_rows": (12, 0)},
            "invalid",
            "con8: found no device step rows of GEN_1, expected some of every GEN server",
        ),
        ({"device_step_problem": "g.log is not there"}, "invalid", "con8: g.log is not there"),
    ],
)
def test_what_is_found(change: dict[str, Any], kind: str, text: str) -> None:
    result = evaluate(replace(GOOD, **change), Gate())
    assert [finding.text for finding in result.findings] == [text]
    assert result.kind == kind


@pytest.mark.parametrize(
    "change",
    [
        {"output_tokens": 1000, "ignore_eos": False},
        {"output_tokens": 1000, "usage_reported": False},
        {"achieved_concurrency": 2.0, "paced": True},
        {"lag_p99_ms": None, "cpu_ratio": None},
        {"lag_p99_ms": 50.0, "cpu_ratio": 0.95, "achieved_concurrency": 7.2},
        {"device_step_rows": (12, 7)},
    ],
)
def test_what_is_no_finding(change: dict[str, Any]) -> None:
    assert evaluate(replace(GOOD, **change), Gate()).ok


def test_limits_come_from_the_case() -> None:
    lenient = Gate(min_success_ratio=0.9, min_concurrency_ratio=0.5, min_output_ratio=0.9)
    facts = replace(GOOD, ok=60, failed=4, achieved_concurrency=4.0, output_tokens=1900)
    assert evaluate(facts, lenient).ok
    assert not evaluate(facts, Gate()).ok


def test_no_success_at_all_is_functional_whatever_the_limit() -> None:
    facts = replace(GOOD, ok=0, failed=64, output_tokens=0, errors=["a"] * 60 + ["b", "c", "d\nmore", "e"])
    result = evaluate(facts, Gate(min_success_ratio=0.0))
    assert result.kind == "functional"
    assert result.findings[0].text.endswith(": 60 x a; 1 x b; 1 x c; 2 other errors")
    assert len(result.findings) == 1, "tokens and concurrency of nothing are no findings of their own"


def test_percentiles_without_enough_samples_are_not_judged() -> None:
    metrics = dict.fromkeys(
        ("mean_ttft", "median_ttft", "p75_ttft", "p90_ttft", "p95_ttft", "p99_ttft", "p99_itl"), 1.0
    )
    facts = replace(GOOD, metrics=metrics, samples={"itl": 100})
    assert low_n(facts, 1) == ("p99_ttft",)
    assert low_n(facts, 5) == ("p95_ttft", "p99_ttft", "p99_itl")
    result = evaluate(facts, Gate())
    assert result.ok, "few samples spoil the percentile, not the measurement"
    assert result.low_n == ("p99_ttft",)
    assert [needed_samples(quantile, 1) for quantile in (0.5, 0.75, 0.9, 0.95, 0.99)] == [2, 4, 10, 20, 100]


def test_device_steps_count_rows() -> None:
    name = "p99_gen_worker_per_iter_device_step_time"
    facts = replace(GOOD, metrics={name: 1.0}, device_step_rows=(100, 99))
    assert low_n(facts, 1) == (name,)
    assert low_n(replace(facts, device_step_rows=(100, 100)), 1) == ()


def test_every_requested_point_must_be_there() -> None:
    assert missing_points(["con4", "con8"], ["con8", "con4"]) == ()
    found = missing_points(["con4", "con8"], ["con4"])
    assert [each.kind for each in found] == ["invalid"]
    assert found[0].text == "con8: not measured, expected every requested concurrency (measured: con4)"


def test_several_points_together() -> None:
    bad = GateResult((Finding("invalid", "x"),), ("p99_ttft",))
    worse = GateResult((Finding("functional", "y"),), ("p99_ttft", "p95_ttft"))
    together = combine([GateResult(), bad, worse])
    assert [finding.text for finding in together.findings] == ["x", "y"]
    assert together.kind == "functional"
    assert together.low_n == ("p99_ttft", "p95_ttft")
    assert combine([]).ok
