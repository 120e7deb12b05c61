"""Results side by side: runs, records and CSV files, joined on test and metric."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.errors import ConfigError, UsageError
from pytest_disagg.records import legacy_csv
from pytest_disagg.records import record as records
from pytest_disagg.report.compare import ResultSet, compare, result_set, titles
from tests.unit.report.conftest import Make, fields, metrics, record

LONG = "network_name,perf_case_name,test_name,threshold,absolute_threshold,metric_type,perf_metric\n"


def csv(path: Path, *rows: str, header: str = LONG) -> ResultSet:
    path.write_text(header + "".join(f"{row}\n" for row in rows))
    return result_set(path, path.name)


def test_two_runs(make_run: Make) -> None:
    sets = [result_set(make_run(run_id="a"), "a"), result_set(make_run(run_id="b", scale=2.0).parent, "b")]
    found = compare(sets)
    row = next(row for row in found.rows if (row.test, row.metric) == ("disagg-e2e-x/con4", "token_throughput"))
    assert list(row.values) == [1000, 2000]
    assert row.effect_percent(1) == 100
    latency = next(row for row in found.rows if (row.test, row.metric) == ("disagg-e2e-x/con8", "median_ttft"))
    assert list(latency.values) == [20, 10]
    assert latency.effect_percent(1) == 50
    assert found.metrics[0] == "token_throughput"
    assert found.tests == {"configuration_1": "disagg-e2e-x/con4", "configuration_2": "disagg-e2e-x/con8"}


def test_of_repeats_the_median_counts(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    records.append(
        path, [record("c", 4, repeat=i, d_token_throughput=value) for i, value in enumerate((1.0, 5.0, 3.0))]
    )
    found = compare([result_set(path, "a"), result_set(path, "b")])
    assert [row.values for row in found.rows] == [(3, 3)]
    assert [each.title for each in found.sets] == ["a", "b"]


def test_a_run_with_a_baseline_is_compared_on_what_the_baseline_holds(make_run: Make, tmp_path: Path) -> None:
    base = csv(
        tmp_path / "base_perf.csv",
        "n,H100-PyTorch-1/perf/test_perf.py::test_e2e[disagg-e2e-x]/con4,,-0.1,0,TOKEN_THROUGHPUT,800",
        "n,,disagg-e2e-x_con:8,0.1,0,SERVER_MEDIAN_TTFT,25",
        "n,,disagg-e2e-gone/con1,0.1,0,MEDIAN_TTFT,7",
    )
    found = compare([base, result_set(make_run(), "run")])
    assert {(row.test, row.metric): row.values for row in found.rows} == {
        ("disagg-e2e-x/con4", "token_throughput"): (800, 1000),
        ("disagg-e2e-x/con8", "token_throughput"): (None, 2000),
        ("disagg-e2e-x/con4", "median_ttft"): (None, 40),
        ("disagg-e2e-x/con8", "median_ttft"): (25, 20),
        ("disagg-e2e-gone/con1", "median_ttft"): (7, None),
    }


def test_two_csv_files_of_another_tool(tmp_path: Path) -> None:
    """Test names and metric types that mean nothing here are joined as they are."""
    name = "llama_v3.1_8b-bench-pytorch-float16-input_output_len:128,128"
    row = f'n,"H100-1/perf/test_perf.py::test_perf[{name}]","test_perf[{name}]",0.1,50,INFERENCE_TIME,'
    found = compare([csv(tmp_path / "a.csv", f"{row}100"), csv(tmp_path / "b.csv", f"{row}90")])
    assert [(each.test, each.metric, each.values) for each in found.rows] == [(name, "inference_time", (100, 90))]
    assert found.rows[0].effect_percent(1) == 10


def test_our_own_results_csv_meets_its_run(make_run: Make, tmp_path: Path) -> None:
    folder = make_run(concurrencies=(4,))
    path = tmp_path / legacy_csv.FILE_NAME
    legacy_csv.write(path, [record("disagg-e2e-x", 4, s_stage_name="stage", **fields(metrics()))])
    found = compare([result_set(path, "csv"), result_set(folder, "run")])
    assert {row.test for row in found.rows} == {"disagg-e2e-x/con4"}
    assert all(row.values[0] == pytest.approx(row.values[1], rel=1e-5) for row in found.rows)


def test_bars_end_with_the_mean_of_what_all_have(tmp_path: Path) -> None:
    first = csv(tmp_path / "a.csv", *(f"n,,t{i},-0.1,0,TOKEN_THROUGHPUT,{value}" for i, value in enumerate((1, 3, 50))))
    second = csv(tmp_path / "b.csv", *(f"n,,t{i},-0.1,0,TOKEN_THROUGHPUT,{value}" for i, value in enumerate((5, 7))))
    names, values = compare([first, second]).bars("token_throughput")
    assert names == ["configuration_1", "configuration_2", "configuration_3", "mean of common"]
    assert values == {"a.csv": [1, 3, 50, 2], "b.csv": [5, 7, None, 6]}


def test_a_test_that_a_file_holds_twice_is_said(tmp_path: Path) -> None:
    row = "n,,t,-0.1,0,TOKEN_THROUGHPUT,"
    found = compare([csv(tmp_path / "a.csv", f"{row}1", f"{row}2"), csv(tmp_path / "b.csv", f"{row}4")])
    assert found.notes == ("a.csv:3: t has a second token_throughput; the last one counts",)
    assert found.rows[0].values == (2, 4)


def test_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "results.csv" for folder in ("stage-1", "stage-2")]
    assert titles(paths) == ["stage-1/results.csv", "stage-2/results.csv"]
    assert titles([tmp_path / "x", tmp_path / "y"]) == ["x", "y"]
    one = ResultSet("same")
    assert [each.title for each in compare([one, one]).sets] == ["same (1)", "same (2)"]


def test_a_change_from_nothing_has_no_percent(tmp_path: Path) -> None:
    row = "n,,t,0.1,0,MEDIAN_TTFT,"
    found = compare([csv(tmp_path / "a.csv", f"{row}0"), csv(tmp_path / "b.csv", f"{row}4")])
    assert found.rows[0].effect_percent(1) is None


@pytest.mark.parametrize("text", ["", "no,known,header\n1,2,3\n"])
def test_a_csv_of_another_form(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"a\.csv"):
        result_set(path, "a")


def test_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found no records"):
        result_set(tmp_path, "a")
    (tmp_path / "a.csv").write_text(LONG)
    with pytest.raises(UsageError, match="found no results"):
        result_set(tmp_path / "a.csv", "a")
