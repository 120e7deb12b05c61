"""TensorRT-LLM's rule against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone

import pytest

from pytest_disagg.records.metrics import METRICS
from pytest_disagg.records.points import group
from pytest_disagg.verdict.compatible import (
    EXEMPT,
    baseline_of,
    exempt,
    fields_of,
    info,
    judge,
    lines,
    matching,
    quantile,
    rolling_means,
)
from pytest_disagg.verdict.decide import Grounds, decide, stated
from pytest_disagg.verdict.history import MemoryHistory

Record = dict[str, str | int | float | bool]
NOON = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)
UTC = timezone.utc


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def document(day: int, **fields: str | int | float | bool) -> Record:
    """A valid post-merge document of a day of June 2026, made at noon or at ``hour``."""
    hour = float(fields.pop("hour", 12))
    return {
        "s_test_case_name": "e2e-x-con8",
        "s_test_list": "disagg-e2e-x",
        "s_gpu_type": "GB200",
        "s_runtime": "multi_node_disagg_server",
        "s_branch": "main",
        "s_run_id": f"d{day}h{hour:g}",
        "l_concurrency": 8,
        "b_is_valid": True,
        "b_is_post_merge": True,
        "b_is_baseline": False,
        "ts_created": ms(NOON + timedelta(days=day - 1, hours=hour - 12)),
        **fields,
    }


def throughputs(*values: float) -> list[Record]:
    return [document(day, d_token_throughput=value) for day, value in enumerate(values, 1)]


def latencies(*values: float) -> list[Record]:
    return [document(day, d_median_ttft=value) for day, value in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([7.0], 0.95, 7.0), ([10.0, 20.0], 0.95, 19.5), ([10.0, 20.0], 0.05, 10.5), ([4.0, 1.0, 3.0, 2.0], 0.5, 2.5)],
)
def test_quantiles_interpolate_between_ranks(values: Sequence[float], share: float, expected: float) -> None:
    assert quantile(values, share) == pytest.approx(expected)


def test_rolling_means_are_of_days() -> None:
    history = [
        document(1, d_token_throughput=100.0),
        document(2, hour=3, d_token_throughput=80.0),
        document(2, hour=20, d_token_throughput=120.0),
        document(3, d_token_throughput=130.0),
        document(5, d_token_throughput=70.0),
        {**document(9, d_token_throughput=9999.0), "ts_created": 0},
    ]
    # Days 100, 100, 130, 70; a day without a document is no day of the window.
    assert rolling_means(history, "d_token_throughput", zone=UTC) == [100.0, 100.0, 110.0, 100.0]


def test_days_are_local_ones() -> None:
    history = [document(1, hour=23, d_token_throughput=100.0), document(2, hour=1, d_token_throughput=200.0)]
    assert rolling_means(history, "d_token_throughput", zone=UTC) == [100.0, 150.0]
    assert rolling_means(history, "d_token_throughput", zone=timezone(timedelta(hours=2))) == [150.0]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        # One day: its own mean.
        ("token_throughput", (1000.0,), 1000.0),
        # Rolling means 1000, 1050, 1100, 1200; P95 is between the last two, 0.85 of the way.
        ("token_throughput", (1000.0, 1100.0, 1200.0, 1300.0), 1185.0),
        # Rolling means 50, 45, 40, 30; P5 is 0.15 of the way from 30 to 40.
        ("median_ttft", (50.0, 40.0, 30.0, 20.0), 31.5),
        # TPOT stands in that pipeline's list of what is better when larger: P95 of 10, 15.
        ("median_tpot", (10.0, 20.0), 14.75),
    ],
)
def test_baselines_that_are_computed(name: str, values: Sequence[float], expected: float) -> None:
    history = [document(day, **{f"d_{name}": value}) for day, value in enumerate(values, 1)]
    value, source = baseline_of(METRICS[name], history, zone=UTC)
    assert value == pytest.approx(expected)
    assert source is None


def test_a_baseline_that_the_newest_document_states_goes_before() -> None:
    history = throughputs(1000.0, 1000.0, 1000.0)
    history[0]["d_baseline_token_throughput"] = 500.0
    history[1] |= {"d_baseline_token_throughput": 900.0, "d_threshold_pre_merge_token_throughput": 0.2}
    value, source = baseline_of(METRICS["token_throughput"], history, zone=UTC)
    assert (value, source) == (900.0, history[1])
    (line,) = lines(document(9, d_token_throughput=719.9), history, post_merge=False, zone=UTC)
    assert (line.baseline, line.threshold, line.regressed) == (900.0, 0.2, True)
    (post,) = lines(document(9, d_token_throughput=719.9), history, post_merge=True, zone=UTC)
    assert post.threshold == 0.05


@pytest.mark.parametrize("stated_value", [0.0, -1.0])
def test_a_stated_baseline_that_is_not_positive_is_computed_instead(stated_value: float) -> None:
    history = throughputs(1000.0)
    history[0]["d_baseline_token_throughput"] = stated_value
    assert baseline_of(METRICS["token_throughput"], history, zone=UTC) == (1000.0, None)


def test_a_baseline_that_is_not_positive_judges_nothing() -> None:
    assert baseline_of(METRICS["token_throughput"], throughputs(0.0, 0.0)) == (None, None)
    assert baseline_of(METRICS["token_throughput"], []) == (None, None)


@pytest.mark.parametrize(
    ("name", "value", "post_merge", "expected"),
    [
        ("token_throughput", 950.0, True, False),  # exactly at the limit of 5 %
        ("token_throughput", 949.9, True, True),
        ("token_throughput", 900.0, False, False),  # exactly at the limit of 10 %
        ("token_throughput", 899.9, False, True),
        ("token_throughput", 2000.0, True, False),
        ("median_ttft", 1050.0, True, False),
        ("median_ttft", 1050.1, True, True),
        ("median_ttft", 1100.0, False, False),
        ("median_ttft", 1100.1, False, True),
        ("median_ttft", 10.0, True, False),
    ],
)
def test_limits_are_strict_in_both_directions(name: str, value: float, post_merge: bool, expected: bool) -> None:
    history = [document(1, **{f"d_{name}": 1000.0})]
    (line,) = lines(document(2, **{f"d_{name}": value}), history, post_merge=post_merge, zone=UTC)
    assert line.regressed is expected


def test_text_and_difference() -> None:
    new = document(2, d_token_throughput=900.0, d_median_ttft=110.0)
    found = lines(new, [document(1, d_token_throughput=1000.0, d_median_ttft=100.0)], post_merge=True, zone=UTC)
    assert info(new, found).splitlines() == [
        "Regression in e2e-x-con8:",
        "  token_throughput: value=900.00 baseline=1000.00 threshold=5.00% diff=-10.00%",
        "  median_ttft: value=110.00 baseline=100.00 threshold=5.00% diff=-10.00%",
    ]
    assert info(new, []) == ""


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        ({}, True),
        ({"b_is_valid": False}, False),
        ({"b_is_post_merge": False}, False),
        ({"b_is_baseline": True}, False),
        ({"s_branch": "other"}, False),
        ({"s_gpu_type": "H100"}, False),
        ({"s_runtime": ""}, False),
        ({"ts_created": ms(datetime(2026, 3, 30, 0, 0, tzinfo=UTC))}, True),
        ({"ts_created": ms(datetime(2026, 3, 29, 23, 59, tzinfo=UTC))}, False),
    ],
)
def test_what_is_compared(fields: Mapping[str, str | int | bool], taken: bool) -> None:
    # 90 days before 28 June is 30 March; its midnight begins the range.
    found = matching(document(28), [{**document(1), **fields}], branch="main")
    assert bool(found) is taken


def verdicts(new: Record, history: Sequence[Record]) -> dict[str, str]:
    (point,) = group([new])
    return {each.metric: each.word for each in judge(point, history, branch="main", zone=UTC)}


def change(**fields: str | int | float | bool) -> Record:
    return document(20, b_is_post_merge=False, s_branch="feature", s_run_id="mine", **fields)


def test_only_a_change_is_red_and_only_for_its_gates() -> None:
    history = [document(1, d_token_throughput=1000.0, d_median_ttft=100.0)]
    assert verdicts(change(d_token_throughput=899.0, d_median_ttft=500.0), history)["token_throughput"] == "regression"
    (point,) = group([change(d_token_throughput=1000.0, d_median_ttft=500.0)])
    assert not any(each.red for each in judge(point, history, branch="main", zone=UTC))
    after = document(20, d_token_throughput=899.0)
    assert verdicts(after, history) == {"token_throughput": "suspect"}


def test_a_change_is_exempt_where_the_branch_misses_the_gate_itself() -> None:
    history = throughputs(1000.0, 1000.0, 1000.0, 1000.0, 700.0)
    assert exempt(history, zone=UTC)
    (point,) = group([change(d_token_throughput=600.0)])
    (verdict,) = judge(point, history, branch="main", zone=UTC)
    assert verdict.word == "suspect"
    assert verdict.evidence.endswith(EXEMPT)
    assert not exempt(throughputs(1000.0, 1000.0, 950.0), zone=UTC)
    assert not exempt([], zone=UTC)


def test_without_history_nothing_is_judged() -> None:
    assert verdicts(change(d_token_throughput=1.0), []) == {"": "insufficient-history"}


def test_after_a_merge_the_baselines_are_kept_in_the_record() -> None:
    new = document(20, d_token_throughput=940.0)
    grounds = Grounds(history=MemoryHistory(throughputs(1000.0, 1000.0)), policy="compatible")
    judged = decide(grounds, [new])
    fields = stated(grounds, judged.verdicts, new)
    assert fields == {
        "b_is_regression": True,
        "s_regression_info": "Regression in e2e-x-con8:\n"
        "  token_throughput: value=940.00 baseline=1000.00 threshold=5.00% diff=-6.00%",
        "d_baseline_token_throughput": 1000.0,
        "d_threshold_post_merge_token_throughput": 0.05,
        "d_threshold_pre_merge_token_throughput": 0.10,
    }
    assert judged.word == "suspect"
    before = fields_of(judged.verdicts, {**new, "b_is_post_merge": False})
    assert not any(key.startswith("d_") for key in before)


def test_gen_only_gates_on_device_step_time() -> None:
    step = "d_mean_gen_worker_per_iter_device_step_time"
    history = [document(1, s_benchmark_mode="gen_only", **{step: 10.0, "d_token_throughput": 1000.0})]
    slow = change(s_benchmark_mode="gen_only", **{step: 11.1, "d_token_throughput": 1.0})
    found = {each.metric: each for each in judge(group([slow])[0], history, branch="main", zone=UTC)}
    assert found["mean_gen_worker_per_iter_device_step_time"].red
    assert not found["token_throughput"].red
