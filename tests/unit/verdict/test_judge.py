"""Judging: regressions are red, improvements are said, and nothing is passed over in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.errors import ConfigError
from pytest_disagg.verdict.baseline import Baseline, parse
from pytest_disagg.verdict.judge import Judged, judge
from pytest_disagg.verdict.types import RED, WORDS, Verdict, worst

Record = dict[str, str | int | float | bool]
LONG = "network_name,perf_case_name,test_name,threshold,absolute_threshold,metric_type,perf_metric\n"


def record(case: str = "c", concurrency: int = 8, **fields: str | float | bool) -> Record:
    return {"s_case_id": case, "l_concurrency": concurrency, "s_benchmark_mode": "e2e", **fields}


def wide(*rows: str) -> Baseline:
    return parse(Path("b.csv"), "\n".join(["test_name,throughput,latency", *rows]) + "\n")


def long(*rows: str) -> Baseline:
    return parse(Path("b.csv"), LONG + "\n".join(rows) + "\n")


def words(judged: Judged) -> dict[str, str]:
    return {verdict.metric: verdict.word for verdict in judged.verdicts}


@pytest.mark.parametrize(
    ("throughput", "latency", "expected"),
    [
        (100.0, 50.0, ("pass", "pass")),
        (90.0, 55.0, ("pass", "pass")),
        (89.9, 55.1, ("regression", "regression")),
        (110.0, 45.0, ("pass", "pass")),
        (110.1, 44.9, ("improvement", "improvement")),
    ],
)
def test_wide(throughput: float, latency: float, expected: tuple[str, str]) -> None:
    judged = judge(wide("c/con8,100,50"), [record(d_token_throughput=throughput, d_median_e2el=latency)])
    assert words(judged) == dict(zip(("token_throughput", "median_e2el"), expected, strict=True))


def test_records_of_trtllm_are_known_by_their_own_fields() -> None:
    theirs: Record = {"s_test_list": "disagg-e2e-x", "s_test_case_name": "e2e-x-con8_iter1", "l_concurrency": 8}
    theirs |= {"d_token_throughput": 80.0}
    for name in ("disagg-e2e-x", "disagg-e2e-x/con8", "e2e-x-con8_iter1"):
        assert words(judge(wide(f"{name},100,"), [theirs])) == {"token_throughput": "regression"}
    del theirs["s_test_list"]
    assert judge(wide("e2e-x-con8_iter1,100,"), [theirs]).word == "regression"


def test_records_that_name_no_case_are_counted() -> None:
    judged = judge(wide("c,100,"), [{"l_concurrency": 8, "d_token_throughput": 80.0}], whole_file=True)
    assert judged.notes == ("1 records name no case (s_case_id) and are not judged", "b.csv:2: no result: c")


def test_what_is_wrong_with_a_wide_row_is_said_once() -> None:
    judged = judge(wide("gone,100,50"), [record()], whole_file=True)
    assert judged.notes == ("b.csv:2: no result: gone",)


def test_the_threshold_of_the_wide_form_is_an_option() -> None:
    records = [record(d_token_throughput=80.0)]
    assert judge(wide("c,100,"), records).word == "regression"
    assert judge(wide("c,100,"), records, threshold=0.2).word == "pass"


def test_latency_of_a_gen_only_case_is_its_device_step_time() -> None:
    step = "mean_gen_worker_per_iter_device_step_time"
    measured = {**record(s_benchmark_mode="gen_only", d_median_e2el=9.0), f"d_{step}": 12.0}
    assert words(judge(wide("c,,10"), [measured])) == {step: "regression"}


def test_tolerance_is_the_larger_term_relative_to_the_baseline() -> None:
    """100 +- max(5, 10): a sum of both terms, or a share of the new value, would let 88.5 pass."""
    baseline = long("n,c,t,-0.1,5,TOKEN_THROUGHPUT,100")
    assert judge(baseline, [record(d_token_throughput=90.0)]).word == "pass"
    assert judge(baseline, [record(d_token_throughput=89.0)]).word == "regression"
    slower = long("n,c,t,0.1,5,MEDIAN_TTFT,20")
    assert judge(slower, [record(d_median_ttft=25.0)]).word == "pass"
    assert judge(slower, [record(d_median_ttft=25.1)]).word == "regression"


def test_a_slower_tpot_is_a_regression() -> None:
    judged = judge(long("n,c,t,0.1,0,MEDIAN_TPOT,10"), [record(d_median_tpot=12.0)])
    assert judged.word == "regression"
    assert judged.verdicts[0].effect_percent == pytest.approx(-20.0)


def test_a_verdict_says_what_it_rests_on() -> None:
    (verdict,) = judge(wide("# x", "c/con8,100,"), [record(d_token_throughput=120.0)]).verdicts
    assert (verdict.word, verdict.value, verdict.reference, verdict.threshold) == ("improvement", 120.0, 100.0, 10.0)
    assert verdict.effect_percent == pytest.approx(20.0)
    assert (verdict.case, verdict.point, verdict.method) == ("c", "con8", "baseline-csv")
    expected = "token_throughput 120 tok/s against 100 (b.csv:3), lower by at most 10 passes"
    assert verdict.evidence == expected


def test_of_repeats_the_median_is_judged() -> None:
    records = [record(l_repeat=i, d_token_throughput=value) for i, value in enumerate((100.0, 98.0, 20.0))]
    judged = judge(wide("c,100,"), records)
    assert [(verdict.word, verdict.value) for verdict in judged.verdicts] == [("pass", 98.0)]


def test_a_case_without_a_row_has_insufficient_history() -> None:
    judged = judge(wide("other,100,"), [record(d_token_throughput=1.0)])
    assert [verdict.word for verdict in judged.verdicts] == ["insufficient-history"]
    assert "no row of b.csv" in judged.verdicts[0].evidence
    assert judged.notes == (), "rows of other cases are nobody's business in a run of one case"
    assert judge(None, [record()]).word == "insufficient-history"


def test_a_row_without_a_result_is_reported() -> None:
    baseline = wide("c/con8,100,", "c/con16,100,", "other,100,")
    records = [record(d_token_throughput=100.0)]
    assert judge(baseline, records).notes == ("b.csv:3: no result: c/con16",)
    whole = judge(baseline, records, whole_file=True)
    assert whole.notes == ("b.csv:3: no result: c/con16", "b.csv:4: no result: other")


def test_a_metric_that_the_record_lacks_is_reported() -> None:
    judged = judge(wide("c,100,50"), [record(d_token_throughput=100.0)])
    assert words(judged) == {"token_throughput": "pass"}
    assert judged.notes == ("b.csv:2: no result: c/con8 has no median_e2el",)


def test_a_row_that_means_several_points_judges_none() -> None:
    records = [record(concurrency=each, d_token_throughput=1.0) for each in (4, 8)]
    judged = judge(wide("c,100,"), records)
    assert {verdict.word for verdict in judged.verdicts} == {"insufficient-history"}
    assert judged.notes == ("b.csv:2: c means several points (con4, con8); name one",)


def test_an_unknown_metric_is_reported() -> None:
    judged = judge(long("n,c,t,0.1,0,NO_SUCH,1", "n,other,t,0.1,0,NO_SUCH,1"), [record()])
    assert judged.notes == ("b.csv:2: metric_type 'NO_SUCH' is no known metric: c",)


def test_an_invalid_measurement_is_never_a_regression() -> None:
    records = [
        record(d_token_throughput=1.0, b_is_valid=False, s_invalid_reason="0 tokens"),
        record(d_token_throughput=1.0, l_repeat=1),
    ]
    for baseline in (wide("c,100,"), None):
        judged = judge(baseline, records)
        assert [(verdict.word, verdict.evidence) for verdict in judged.verdicts] == [("invalid", "0 tokens")]


def test_percentiles_of_few_samples_are_not_judged() -> None:
    baseline = long("n,c,t,0.1,0,P99_TTFT,1", "n,c,t,0.1,0,MEDIAN_TTFT,1")
    judged = judge(baseline, [record(d_p99_ttft=9.0, d_median_ttft=1.0, s_low_n="p95_ttft,p99_ttft")])
    assert words(judged) == {"p99_ttft": "insufficient-history", "median_ttft": "pass"}
    assert "too few samples" in judged.verdicts[0].evidence


def test_rehearsals_are_not_judged() -> None:
    judged = judge(wide("c,100,"), [record(d_token_throughput=1.0, b_rehearsal=True)])
    assert judged.verdicts == ()
    assert judged.notes == ("1 records of rehearsals are not judged",)


def test_two_references_for_one_metric_are_an_error() -> None:
    with pytest.raises(ConfigError, match=r"b\.csv:3: c/con8: found a second reference .*expected one only \(line 2\)"):
        judge(wide("c,100,", "c/con8,90,"), [record(d_token_throughput=1.0)])


def test_the_worst_word_decides() -> None:
    assert worst([]) == "insufficient-history"
    assert [worst([Verdict("pass"), Verdict(word)]) for word in WORDS] == list(WORDS)
    assert worst([Verdict("regression"), Verdict("invalid"), Verdict("improvement")]) == "invalid"
    assert {word for word in WORDS if Verdict(word).red} == set(RED) == {"regression", "invalid"}
