"""Baseline CSV files: both forms, how rows find their points, what broken ones say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.errors import ConfigError
from pytest_disagg.records.points import group
from pytest_disagg.verdict.baseline import Row, parse
from pytest_disagg.verdict.judge import matching

CASE = "disagg-e2e-gb200_model-fp4_con8"
LONG = "network_name,perf_case_name,test_name,threshold,absolute_threshold,metric_type,perf_metric\n"
PATH = Path("b.csv")


def points_of(*concurrencies: int, case: str = CASE, server: str = "") -> list[dict[str, str | int | float | bool]]:
    own: dict[str, str | int | float | bool] = {"s_server_name": server} if server else {}
    return [{"s_case_id": case, "l_concurrency": each, **own} for each in concurrencies]


def only_row(text: str) -> Row:
    rows = parse(PATH, text).rows
    assert len(rows) == 1
    return rows[0]


@pytest.mark.parametrize(
    "name",
    [
        f"{CASE}/con8",
        f"test_e2e[{CASE}]/con8",
        f"test_e2e[{CASE}/con8]",
        f"test_e2e[{CASE}]_con:8",
        f"GB200-Stage-1/perf/test_perf_sanity.py::test_e2e[{CASE}]/con8",
        f"some/where::{CASE}/con8/token_throughput",
    ],
)
def test_names_that_mean_one_point_of_two(name: str) -> None:
    row = only_row(f"test_name,throughput,latency\n{name},10,\n")
    assert matching(row, group(points_of(4, 8))) == [1]


def test_the_bare_id_means_all_points_of_its_case() -> None:
    row = only_row(f"test_name,throughput,latency\n{CASE},10,\n")
    assert matching(row, group(points_of(8))) == [0]
    assert matching(row, group(points_of(4, 8))) == [0, 1]


@pytest.mark.parametrize("name", [f"x{CASE}", f"{CASE}-x", f"{CASE}/con16", CASE.removeprefix("disagg-"), "other"])
def test_names_of_something_else(name: str) -> None:
    row = only_row(f"test_name,throughput,latency\n{name},10,\n")
    assert matching(row, group(points_of(8))) == []


def test_a_server_is_named_where_there_are_several() -> None:
    records = [*points_of(4, server="small"), *points_of(4, server="large")]
    points = group(records)
    assert [point.label for point in points] == ["small/con4", "large/con4"]
    assert matching(only_row(f"test_name,throughput,latency\n{CASE}/large/con4,10,\n"), points) == [1]
    assert matching(only_row(f"test_name,throughput,latency\n{CASE}/con4,10,\n"), points) == [0, 1]


def test_clients_of_the_same_concurrency_go_by_their_names() -> None:
    records = [{**points_of(4)[0], "s_client_name": name} for name in ("short", "long")]
    points = group(records)
    assert [point.label for point in points] == ["short", "long"]
    assert matching(only_row(f"test_name,throughput,latency\n{CASE}/long,10,\n"), points) == [1]


def test_wide_rows() -> None:
    rows = parse(PATH, "# comment\r\n\r\nlatency, test_name ,throughput\r\n12.5,c,1000\r\n,d,800\r\n").rows
    assert [(row.line, row.names, row.wide, row.reference, row.larger_is_better) for row in rows] == [
        (4, ("c",), "throughput", 1000.0, True),
        (4, ("c",), "latency", 12.5, False),
        (5, ("d",), "throughput", 800.0, True),
    ]
    assert all(row.limit is None for row in rows)


def test_long_rows() -> None:
    text = LONG + (
        'n,"a[b,c]",t,-0.1,10,TOKEN_THROUGHPUT,50\n'
        "n,a,t,-0.5,10,d_total_token_throughput,50\n"
        "n,a,,0.1,-3,MEDIAN_TPOT,5\n"
        "n,,t,0,2,SERVER_MEDIAN_TTFT,5\n"
    )
    rows = parse(PATH, text).rows
    found = [(row.names, row.metric, row.reference, row.limit, row.larger_is_better) for row in rows]
    assert found == [
        (("a[b,c]", "t"), "token_throughput", 50.0, 10.0, True),
        (("a", "t"), "total_token_throughput", 50.0, 25.0, True),
        (("a",), "median_tpot", 5.0, 3.0, False),
        (("t",), "median_ttft", 5.0, 2.0, False),
    ]


def test_metric_types_that_nobody_judges() -> None:
    rows = parse(PATH, LONG + "n,a,t,0.1,50,BUILD_TIME,9\nn,a,t,0.1,50,NO_SUCH,9\n").rows
    assert [row.unknown for row in rows] == [
        "metric_type 'BUILD_TIME' is not judged here",
        "metric_type 'NO_SUCH' is no known metric",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"b\.csv: found no header line, expected the columns test_name,throughput,latency or network_name,"),
        ("# only a comment\n", "found no header line"),
        ("a,b\n", r"b\.csv:1: found header 'a,b', expected the columns"),
        ("test_name,throughput,latency\nc,1\n", r"b\.csv:2: found 2 cells, expected 3, one per column"),
        ("test_name,throughput,latency\nc,fast,1\n", r"b\.csv:2: throughput: found 'fast', expected a number above 0"),
        ("test_name,throughput,latency\nc,0,1\n", r"b\.csv:2: throughput: found '0'"),
        ("test_name,throughput,latency\nc,1,nan\n", r"b\.csv:2: latency: found 'nan'"),
        ("test_name,throughput,latency\n,1,1\n", r"b\.csv:2: test_name: found nothing, expected a case id"),
        ('test_name,throughput,latency\n"c,1,1\n', r"b\.csv:2: found .*expected a CSV line, each quote closed"),
        (LONG + "n,a,t,x,0,MEDIAN_TTFT,5\n", r"b\.csv:2: threshold: found 'x', expected a number"),
        (LONG + "n,a,t,0.1,0,MEDIAN_TTFT,-5\n", r"b\.csv:2: perf_metric: found '-5', expected a number of at least 0"),
        (LONG + "n,,,0.1,0,MEDIAN_TTFT,5\n", r"b\.csv:2: perf_case_name: found nothing"),
        (
            LONG + "n,a,t,-0.1,0,MEDIAN_TPOT,5\n",
            r"b\.csv:2: threshold: found -0\.1, expected a positive number: of median_tpot lower is better",
        ),
        (LONG + "n,a,t,0.1,0,TOKEN_THROUGHPUT,5\n", "expected a negative number: of token_throughput higher is better"),
    ],
)
def test_broken_files(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(PATH, text)


def test_all_broken_lines_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(PATH, "test_name,throughput,latency\nc,x,y\nd,1,1\ne,1\n")
    assert [problem.line for problem in caught.value.problems] == [2, 2, 4]
