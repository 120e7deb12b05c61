"""The highest concurrency within an SLO, from points that are measured, valid, and evidence."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_disagg.errors import UsageError
from pytest_disagg.verdict.history import SeriesKey
from pytest_disagg.verdict.latest import names_of, needed, newest
from pytest_disagg.verdict.slo import UNUSABLE, Answer, answers, parse_slo

CASE = "disagg-e2e-x"
SLO = {"ttft": 500.0, "tpot": 40.0}


def record(concurrency: int, ttft: float = 100.0, tpot: float = 10.0, **fields: Any) -> dict[str, Any]:
    return {
        "s_run_id": "r1",
        "s_case_id": CASE,
        "s_client_name": f"con{concurrency}",
        "s_benchmark_mode": "e2e",
        "s_gpu_type": "h100",
        "l_concurrency": concurrency,
        "l_repeat": 0,
        "b_is_valid": True,
        "ts_created": 1000,
        "d_p99_ttft": ttft,
        "d_p99_tpot": tpot,
        "d_median_ttft": ttft / 2,
        "d_median_tpot": tpot / 2,
        "d_output_token_throughput_per_gpu": 10.0 * concurrency,
        "d_output_token_throughput_per_user": 1000.0 / concurrency,
        **fields,
    }


def answer(*records: dict[str, Any], slo: dict[str, float] | None = SLO, statistic: str = "p99") -> Answer:
    (found,) = answers(records, slo, statistic)
    return found


def test_the_highest_that_keeps_it_and_what_breaks_it_first() -> None:
    found = answer(record(8), record(1), record(16, tpot=44), record(32, ttft=900, tpot=41))
    assert found.best is not None
    assert found.best.label == "con8"
    assert found.best.metrics["output_token_throughput_per_gpu"] == 80.0
    assert found.breaks == "con16: P99 TPOT 44 ms over 40 ms"
    assert found.limits == "p99 TTFT <= 500 ms, p99 TPOT <= 40 ms"
    assert found.notes == ()


def test_the_worse_of_two_limits_is_named() -> None:
    assert answer(record(1), record(32, ttft=900, tpot=41)).breaks == "con32: P99 TTFT 900 ms over 500 ms"


def test_exactly_at_the_limit_keeps_it() -> None:
    assert answer(record(8, ttft=500, tpot=40)).best is not None
    assert answer(record(8, ttft=500.001)).best is None


def test_a_curve_that_is_not_monotonic_is_said() -> None:
    found = answer(record(1), record(4, ttft=600), record(8), record(16, ttft=700))
    assert found.best is not None
    assert (found.best.label, [point.label for point in found.below]) == ("con8", ["con4"])
    assert found.breaks.startswith("con16")
    assert any("not monotonic" in note and "con4: P99 TTFT 600 ms" in note for note in found.notes)


def test_no_point_within() -> None:
    found = answer(record(4, ttft=501), record(8, ttft=502))
    assert found.best is None
    assert found.breaks.startswith("con4")
    assert "no measured point keeps the SLO" in found.notes


def test_all_within_says_that_the_limit_was_not_found() -> None:
    assert any("the limit may be higher" in note for note in answer(record(4), record(8)).notes)


def test_a_percentile_with_too_few_samples_is_no_evidence() -> None:
    found = answer(record(4), record(8, s_low_n="p99_ttft,p95_ttft"), record(16, ttft=900, s_low_n="p99_ttft"))
    assert found.best is not None
    assert (found.best.label, found.first) == ("con4", None)
    assert "no evidence from con8, con16: p99_ttft has too few samples" in found.notes


def test_what_breaks_with_evidence_breaks_whatever_the_rest() -> None:
    assert answer(record(4, tpot=41, s_low_n="p99_ttft")).breaks == "con4: P99 TPOT 41 ms over 40 ms"


def test_a_metric_that_is_missing_is_no_evidence() -> None:
    bare = record(4)
    del bare["d_p99_tpot"]
    assert "no evidence from con4: p99_tpot was not measured" in answer(bare).notes


def test_the_statistic_is_chosen() -> None:
    assert answer(record(4, ttft=900), statistic="median").best is not None
    with pytest.raises(UsageError, match=r"--percentile: found 'p98', expected one of median"):
        answer(record(4), statistic="p98")


def test_of_repeats_the_median_counts() -> None:
    repeats = [record(4, ttft=ttft, l_repeat=number) for number, ttft in enumerate((100, 400, 900))]
    assert answer(*repeats).best is not None


def test_only_valid_points_and_of_them_the_newest() -> None:
    old, new = record(8, ttft=100), record(8, ttft=900, s_run_id="r2", ts_created=2000)
    assert answer(old, new).best is None
    found = answer(old, {**new, "b_is_valid": False})
    assert found.best is not None
    assert "con8 is of run r1: the newer r2 cannot be used" in found.notes


@pytest.mark.parametrize("mark", [{"b_is_valid": False}, {"b_rehearsal": True}, {"b_profiled": True}])
def test_a_case_that_was_never_measured_validly(mark: dict[str, bool]) -> None:
    found = answer(record(8, **mark))
    assert (found.best, found.points, found.notes) == (None, (), (f"no measurement of it can be used: {UNUSABLE}",))


def test_points_that_were_never_valid_are_named() -> None:
    found = answer(record(4), record(8, b_is_valid=False))
    assert found.best is not None
    assert f"no measurement of con8 can be used: {UNUSABLE}" in found.notes


def test_two_loads_of_one_concurrency_have_to_keep_it_both() -> None:
    found = answer(record(4), record(8, s_client_name="one"), record(8, ttft=900, s_client_name="two"))
    assert found.best is not None
    assert found.best.label == "con4"


def test_curves_are_of_one_gpu_cluster_server_and_length() -> None:
    different: list[dict[str, Any]] = [
        {"s_gpu_type": "b200"},
        {"s_cluster": "c2"},
        {"s_server_name": "s2"},
        {"s_client_tool": "aiperf"},
        {"l_isl": 8, "s_client_name": "con8_8"},
        {},
    ]
    found = answers([record(8, **fields) for fields in different], SLO)
    assert len(found) == len(different)
    assert all(each.best is not None and each.best.concurrency == 8 for each in found)


def test_the_uploading_twin_is_the_same_case() -> None:
    twin = record(16, s_case_id="disagg_upload-e2e-x")
    found = answer(record(8), twin)
    assert found.best is not None
    assert (found.curve.case, found.best.label) == (CASE, "con16")


def test_points_of_several_runs_are_said() -> None:
    assert "the points are of 2 runs" in answer(record(4), record(8, s_run_id="r2")).notes


def test_without_limits_each_case_has_its_own() -> None:
    found = answer(record(8, d_slo_tpot_ms=5), slo=None)
    assert (found.slo, found.best) == ({"tpot": 5.0}, None)
    bare = answer(record(8), slo=None)
    assert (bare.slo, bare.best) == ({}, None)
    assert "the case has no slo block" in bare.notes[0]


def test_gen_only_has_no_slo_at_its_client() -> None:
    found = answer(record(8, s_benchmark_mode="gen_only"))
    assert found.best is None
    assert "fill gate" in found.notes[0]


def test_goodput_where_it_was_measured() -> None:
    found = answer(record(8, d_goodput=3.5))
    assert found.best is not None
    assert found.best.metrics["goodput"] == 3.5


@pytest.mark.parametrize(
    ("text", "slo"),
    [("ttft=500,tpot=40", SLO), (" TPOT_ms = 40ms , ttft=500", SLO), ("e2el=1e3", {"e2el": 1000.0})],
)
def test_limits_in_words(text: str, slo: dict[str, float]) -> None:
    assert parse_slo(text) == slo


@pytest.mark.parametrize("text", ["", "ttft", "itl=3", "ttft=-1", "ttft=0", "ttft=nan", "ttft=inf", "ttft=1,ttft=2"])
def test_limits_of_another_form(text: str) -> None:
    with pytest.raises(UsageError, match=r"--slo: found .*, expected .*ttft=500,tpot=40"):
        parse_slo(text)


def test_what_two_load_generators_measured_is_no_repeat_of_one_point() -> None:
    points = newest([record(8, 100), record(8, 300, s_client_tool="aiperf")])
    assert [(each.curve.tool, each.point.value("p99_ttft")) for each in points] == [("", 100), ("aiperf", 300)]
    assert ["aiperf" in names_of(SeriesKey.of(each.point.first)) for each in points] == [False, True]


def test_the_newest_run_of_each_point() -> None:
    points = newest([record(8), record(8, s_run_id="r2", ts_created=2000), record(4)])
    assert [(each.point.label, each.run_id) for each in points] == [("con4", "r1"), ("con8", "r2")]


def test_records_without_a_run_id_are_told_apart_by_time() -> None:
    points = newest([record(8, 100, s_run_id="", ts_created=1), record(8, 300, s_run_id="", ts_created=2)])
    assert [each.point.value("p99_ttft") for each in points] == [300]


def test_of_a_long_series_little_is_needed() -> None:
    series = [record(8, s_run_id=f"r{number}", ts_created=number, b_is_valid=number < 90) for number in range(100)]
    assert [each["s_run_id"] for each in needed(series)] == ["r99", "r89"]
    assert answers(needed(series), SLO) == answers(series, SLO)


def test_as_plain_data() -> None:
    data = answer(record(8), record(16, tpot=44)).to_dict()
    assert (data["case"], data["slo_ms"], data["best"]["label"]) == (CASE, SLO, "con8")
    assert data["breaks_first"]["breaches"] == [{"metric": "p99_tpot", "value": 44, "limit": 40.0}]
