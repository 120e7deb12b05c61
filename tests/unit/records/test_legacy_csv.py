"""The older result CSV: the columns and rows that existing tools join on."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pytest_disagg.errors import ConfigError
from pytest_disagg.records.legacy_csv import COLUMNS, rows, write

Record = dict[str, str | int | float | bool]


def record(case: str = "c", **fields: str | float | bool) -> Record:
    return {
        "s_case_id": case,
        "l_concurrency": 8,
        "s_model_name": "m",
        "s_stage_name": "Stage-1",
        "ts_created": 1_700_000_000_000,
        "d_duration_s": 10.0,
        "d_token_throughput": 100.0,
        "d_median_tpot": 5.0,
        **fields,
    }


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_per_metric_and_point() -> None:
    found = {row["metric_type"]: row for row in rows([record()], "disagg bench")}
    assert set(found) == {"TOKEN_THROUGHPUT", "MEDIAN_TPOT"}
    row = found["MEDIAN_TPOT"]
    assert row["perf_case_name"] == "Stage-1/c/con8/median_tpot"
    assert row["test_name"] == "test_e2e[c]/con8"
    assert (row["perf_metric"], row["threshold"], row["state"]) == ("5.000000", "0.1", "valid")
    assert found["TOKEN_THROUGHPUT"]["threshold"] == "-0.1"
    assert (row["start_timestamp"], row["end_timestamp"]) == ("2023-11-14 22:13:10", "2023-11-14 22:13:20")
    assert set(row) == set(COLUMNS)


def test_invalid_measurements_have_no_rows() -> None:
    assert rows([record(b_is_valid=False)]) == []


def test_cases_of_a_stage_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "Stage-1" / "perf_script_test_results.csv"
    write(path, [record("a")])
    write(path, [record("b")])
    write(path, [record("a", d_token_throughput=90.0)])
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    values = {row["perf_case_name"]: row["perf_metric"] for row in table(path)}
    assert values == {
        "Stage-1/a/con8/token_throughput": "90.000000",
        "Stage-1/a/con8/median_tpot": "5.000000",
        "Stage-1/b/con8/token_throughput": "100.000000",
        "Stage-1/b/con8/median_tpot": "5.000000",
    }
    assert len(table(path)) == len(values), "a row that is measured again is replaced"
    assert [path.name for path in path.parent.iterdir()] == [path.name]


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=r"x\.csv:1: found the columns a,b, expected network_name,"):
        write(path, [record()])
    assert path.read_text() == "a,b\n1,2\n"
