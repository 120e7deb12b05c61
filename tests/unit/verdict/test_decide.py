"""Records against baseline, history and policy together: words, evidence, and what may never be called a pass."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pytest_disagg.config.blocks import MetricRules, VerdictBlock
from pytest_disagg.errors import ConfigError, UsageError
from pytest_disagg.records.metrics import DEVICE_STEP
from pytest_disagg.records.record import Value
from pytest_disagg.verdict.accepted import Acceptance
from pytest_disagg.verdict.baseline import parse
from pytest_disagg.verdict.decide import Grounds, decide, stated, undecided
from pytest_disagg.verdict.history import HistoryError, MemoryHistory, SeriesKey
from pytest_disagg.verdict.judge import Judged
from pytest_disagg.verdict.policy import RULES_FIELD, check_block, policy_of
from pytest_disagg.verdict.types import Verdict
from tests.unit.verdict.series import DAY_MS, FIRST_MS, Record, noise, record, records

CLEAN = records(noise(30))


def judged(history: Sequence[Record], *tonight: Record, **grounds: object) -> Judged:
    return decide(Grounds(history=MemoryHistory(history), **grounds), tonight)  # type: ignore[arg-type]


def only(result: Judged) -> Verdict:
    (verdict,) = result.verdicts
    return verdict


def test_a_pass_says_what_it_rests_on() -> None:
    verdict = only(judged(CLEAN, record(40, 100.0)))
    assert (verdict.word, verdict.metric, verdict.method) == ("pass", "token_throughput", "night")
    assert verdict.interval_percent is not None
    low, high = verdict.interval_percent
    assert low < (verdict.effect_percent or 0) < high
    assert "the level of 25 runs since 2026-05-28" in verdict.evidence
    assert any("policy post, branch main: 30 runs" in fact for fact in verdict.facts)


def test_a_regression_names_last_good_and_first_bad() -> None:
    history = [*CLEAN, *records(noise(5, level=94, seed=2), first=30)]
    verdict = only(judged(history, *(record(40, 94.0, l_repeat=i) for i in range(3))))
    assert verdict.word == "regression"
    assert verdict.last_good.startswith("run run29, 000000000000, 2026-06-26")
    assert verdict.first_bad.startswith("run run30")
    assert verdict.first_bad_ms == FIRST_MS + 30 * DAY_MS
    assert verdict.last_good in verdict.evidence


def test_the_run_itself_and_later_ones_are_no_history() -> None:
    later = records(noise(30, level=80, seed=3), first=50)
    own = [record(40, 100.0, l_repeat=index) for index in range(1, 9)]
    verdict = only(judged([*CLEAN, *own, *later], record(40, 100.0)))
    assert (verdict.word, any("30 runs in the series" in fact for fact in verdict.facts)) == ("pass", True)


@pytest.mark.parametrize(
    "fields",
    [
        {"b_is_valid": False},
        {"b_rehearsal": True},
        {"b_is_baseline": True},
        {"b_git_dirty": True},
        {"s_trigger_mr_id": "7"},
        {"s_branch": "feature"},
        {"s_gpu_type": "H100"},
        {"s_cluster": "other"},
        {"s_node_group": "rack2"},
        {"s_engine": "sim"},
        {"l_concurrency": 16},
    ],
)
def test_what_is_no_reference(fields: Mapping[str, str | int | bool]) -> None:
    others = [{**each, **fields} for each in CLEAN]
    assert only(judged(others, record(40, 50.0))).word == "insufficient-history"


def test_an_unreadable_history_is_no_pass_even_with_a_baseline() -> None:
    class Broken:
        def series(self, key: SeriesKey) -> Sequence[Mapping[str, Value]]:
            raise HistoryError("disk on fire")

    baseline = parse(Path("b.csv"), "test_name,throughput,latency\ndisagg-e2e-x/con8,100,\n")
    for grounds in (Grounds(baseline, Broken()), Grounds(baseline, unreadable="disk on fire")):
        result = decide(grounds, [record(40, 100.0)])
        assert [each.word for each in result.verdicts] == ["pass", "insufficient-history"]
        assert result.word == "insufficient-history"
        assert "disk on fire" in result.verdicts[1].evidence


def test_a_short_history_does_not_take_the_baselines_verdict_away() -> None:
    baseline = parse(Path("b.csv"), "test_name,throughput,latency\ndisagg-e2e-x/con8,100,\n")
    result = judged(CLEAN[:3], record(40, 100.0), baseline=baseline)
    assert (result.word, only(result).method) == ("pass", "baseline-csv")
    assert "3 runs of main in its history, expected 8" in result.notes[0]
    assert judged(CLEAN[:3], record(40, 100.0)).word == "insufficient-history"


def test_where_neither_can_judge_both_say_why() -> None:
    baseline = parse(Path("b.csv"), "test_name,throughput,latency\nsomething-else,100,\n")
    result = judged(CLEAN[:3], record(40, 100.0), baseline=baseline)
    assert {each.word for each in result.verdicts} == {"insufficient-history"}
    assert [each.evidence.partition(" ")[0] for each in result.verdicts] == ["no", "token_throughput:"]


def test_both_say_what_they_found() -> None:
    baseline = parse(Path("b.csv"), "test_name,throughput,latency\ndisagg-e2e-x/con8,120,\n")
    result = judged(CLEAN, record(40, 100.0), baseline=baseline)
    assert {each.method: each.word for each in result.verdicts} == {"baseline-csv": "regression", "night": "pass"}
    assert result.word == "regression"


def test_gen_only_is_judged_on_device_step_time_alone() -> None:
    step = f"mean_{DEVICE_STEP}"
    fields: Record = {"s_benchmark_mode": "gen_only", "d_token_throughput": 100.0}
    history = [each | fields for each in records(noise(30, level=10), metric=step)]
    tonight = record(40, 13.0, metric=step) | fields | {"d_token_throughput": 1.0}
    verdict = only(judged(history, tonight))
    assert (verdict.metric, verdict.word) == (step, "regression")


def test_thresholds_and_roles_of_the_case_file() -> None:
    block = VerdictBlock(metrics={"token_throughput": MetricRules(min_effect=0.2)})
    tonight = [record(40, 92.0, l_repeat=index) for index in range(3)]
    assert only(judged(CLEAN, *tonight)).word == "regression"
    assert only(judged(CLEAN, *tonight, block=block)).word == "pass"
    reported = judged(CLEAN, *tonight, block=VerdictBlock(metrics={"token_throughput": MetricRules(role="report")}))
    assert only(reported).shown == "regression (reported only)"
    assert not only(reported).red
    before = VerdictBlock(metrics={"token_throughput": MetricRules(pre_merge_min_effect=0.2)})
    assert only(judged(CLEAN, *tonight, block=before)).word == "regression"
    assert only(judged(CLEAN, *tonight, block=before, policy="pre")).word == "pass"


def test_a_record_keeps_the_rules_that_it_was_judged_by() -> None:
    block = VerdictBlock(remeasure=2, metrics={"token_throughput": MetricRules(min_effect=0.2)})
    tonight = record(40, 92.0)
    result = judged(CLEAN, tonight, block=block)
    fields = stated(Grounds(block=block), result.verdicts, tonight)
    assert json.loads(str(fields[RULES_FIELD]))["remeasure"] == 2
    again = [{**tonight, **fields, "l_repeat": index} for index in range(3)]
    assert only(judged(CLEAN, *again)).word == "pass"
    assert policy_of(None, again[0]).remeasure == 2


def test_an_unknown_metric_in_the_block_is_an_error_with_a_suggestion() -> None:
    block = VerdictBlock(metrics={"median_tfft": MetricRules()})
    with pytest.raises(ConfigError, match=r"verdict\.metrics\.median_tfft.*did you mean 'median_ttft'"):
        check_block(block, Path("x.yaml"))


def test_functional_only_stages_are_never_red() -> None:
    baseline = parse(Path("b.csv"), "test_name,throughput,latency\ndisagg-e2e-x/con8,200,\n")
    tonight = record(40, 80.0, s_stage_name="GB200-FUNCTIONAL-ONLY-1")
    result = judged(CLEAN, tonight, baseline=baseline)
    assert {each.word for each in result.verdicts} == {"suspect"}
    assert not any(each.red for each in result.verdicts)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "post"),
        ({"s_branch": ""}, "post"),
        ({"s_branch": "feature"}, "pre"),
        ({"s_branch": "feature", "b_is_post_merge": True}, "post"),
        ({"s_trigger_mr_id": "12"}, "pre"),
        ({"b_git_dirty": True}, "pre"),
    ],
)
def test_policy_by_what_the_build_says(fields: Record, expected: str) -> None:
    assert policy_of(None, record(1, 1.0) | fields).name == expected


def test_a_run_after_a_merge_is_compared_with_its_own_branch() -> None:
    release = [{**each, "s_branch": "release", "d_token_throughput": 50.0 + i % 3} for i, each in enumerate(CLEAN)]
    tonight = record(40, 51.0, s_branch="release", b_is_post_merge=True)
    assert only(judged([*CLEAN, *release], tonight)).word == "pass"


def test_an_unknown_policy_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="post, pre, compatible, baseline"):
        judged(CLEAN, record(40, 1.0), policy="strict")


def test_an_accepted_change_is_green_and_says_so() -> None:
    history = [*CLEAN, *records(noise(6, level=94, seed=2), first=30)]
    tonight = [record(40, 94.0, l_repeat=index) for index in range(3)]
    accepted = Acceptance(
        date="2026-06-28",
        case="disagg-e2e-x",
        point="con8",
        metric="token_throughput",
        since_ms=FIRST_MS + 30 * DAY_MS,
        reason="slower sampler",
    )
    assert only(judged(history, *tonight)).word == "regression"
    verdict = only(judged(history, *tonight, accepted=(accepted,)))
    assert verdict.word == "pass"
    assert "a change was accepted on 2026-06-28: slower sampler" in verdict.facts
    elsewhere = Acceptance(**{**accepted.__dict__, "point": "con16"})
    assert only(judged(history, *tonight, accepted=(elsewhere,))).word == "regression"


def test_a_change_is_not_blamed_for_what_the_branch_lost() -> None:
    history = [*CLEAN, *records(noise(6, level=94, seed=2), first=30)]
    same = [record(40, 94.0, l_repeat=index, s_trigger_mr_id="5") for index in range(3)]
    verdict = only(judged(history, *same))
    assert verdict.word == "pass"
    assert "main itself is below 100" in verdict.evidence
    assert verdict.evidence.endswith("which nobody accepted: not blamed on this change")
    worse = [record(40, 88.0, l_repeat=index, s_trigger_mr_id="5") for index in range(3)]
    assert only(judged(history, *worse)).word == "regression"


def test_of_many_metrics_one_doubtful_regression_is_a_suspicion() -> None:
    latencies = ("median_ttft", "mean_ttft", "median_tpot", "mean_tpot", "median_itl", "mean_itl", "median_e2el")
    names = ("token_throughput", "total_token_throughput", *latencies)
    block = VerdictBlock(metrics={name: MetricRules(role="gate", min_effect=0.03) for name in names})
    series = {name: noise(30, sigma=0.03, seed=seed) for seed, name in enumerate(names)}
    history = [
        {**record(day, 100.0), **{f"d_{name}": values[day] for name, values in series.items()}} for day in range(30)
    ]
    tonight = {**record(40, 100.0), **{f"d_{name}": 100.0 for name in names}}
    low = [{**tonight, "d_token_throughput": 94.9, "l_repeat": index} for index in range(6)]
    found = {each.metric: each for each in judged(history, *low, block=block).verdicts}
    alone = VerdictBlock(metrics={name: MetricRules(role="report") for name in names[1:]})
    single = {each.metric: each for each in judged(history, *low, block=alone).verdicts}
    assert single["token_throughput"].word == "regression"
    assert found["token_throughput"].word == "suspect"
    assert "one of 9 metrics" in found["token_throughput"].evidence


def test_percentiles_with_too_few_samples_are_not_judged() -> None:
    block = VerdictBlock(metrics={"p99_ttft": MetricRules(role="gate")})
    history = records(noise(30), metric="p99_ttft")
    verdict = only(judged(history, record(40, 200.0, metric="p99_ttft", s_low_n="p99_ttft"), block=block))
    assert verdict.word == "insufficient-history"


def test_undecided_asks_for_more_of_either_kind() -> None:
    open_ = decide(Grounds(history=MemoryHistory(CLEAN)), [record(40, 95.0)], remeasure=5)
    assert undecided(open_, 0)
    baseline = parse(Path("b.csv"), "test_name,throughput,latency\ndisagg-e2e-x/con8,200,\n")
    by_csv = decide(Grounds(baseline), [record(40, 95.0)], remeasure=5)
    assert [undecided(by_csv, repeated) for repeated in (0, 1, 2)] == [True, True, False]
    assert not undecided(decide(Grounds(history=MemoryHistory(CLEAN)), [record(40, 100.0)], remeasure=5), 0)


def test_rehearsals_and_invalid_points_are_not_judged_by_history() -> None:
    assert judged(CLEAN, record(40, 10.0, b_rehearsal=True)).verdicts == ()
    verdict = only(judged(CLEAN, record(40, 10.0, b_is_valid=False, s_invalid_reason="client too slow")))
    assert (verdict.word, verdict.evidence) == ("invalid", "client too slow")


def test_the_policy_baseline_looks_at_no_history() -> None:
    assert only(judged(CLEAN, record(40, 10.0), policy="baseline")).method == "baseline-csv"
