"""Records as documents, documents as records, and files of either."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_disagg.errors import ConfigError
from pytest_disagg.records import legacy_csv
from pytest_disagg.records.record import Record, document_id
from pytest_disagg.store.batches import MOST_DOCUMENTS, batches
from pytest_disagg.store.chart import chart
from pytest_disagg.store.documents import Document, document, from_document, identity, without
from pytest_disagg.store.importing import completed, read_file
from pytest_disagg.store.opensearch.template import index_name, template, year_alias
from tests.unit.store.conftest import CREATED_MS, record


def test_numbers_get_the_type_of_their_prefix() -> None:
    body = document({**record(), "d_x": 3, "l_y": 4.0, "d_z": "2.5"}).body
    assert (body["d_x"], type(body["d_x"])) == (3.0, float)
    assert (body["l_y"], type(body["l_y"])) == (4, int)
    assert body["d_z"] == 2.5


def test_what_cannot_be_cast_is_left_out_of_this_document_and_named() -> None:
    made = document({**record(), "d_x": "fast", "l_y": 2.5, "b_z": "yes"})
    assert not {"d_x", "l_y", "b_z"} & set(made.body)
    assert [words.partition(":")[0] for words in made.left_out] == ["d_x", "l_y", "b_z"]
    assert "d_x: found 'fast'" in str(made.body["s_left_out"])
    assert made.id == document_id(record())


def test_what_a_record_left_out_itself_is_not_told_again() -> None:
    made = document(record(s_left_out="d_x: found 'a'"))
    assert made.left_out == ()
    more = document({**record(s_left_out="d_x: found 'a'"), "d_y": "b"})
    assert [words.partition(":")[0] for words in more.left_out] == ["d_y"]
    assert str(more.body["s_left_out"]).startswith("d_x: found 'a'; d_y")


def test_a_refused_field_is_taken_out_and_named() -> None:
    made = without(Document("1", {"s_a": "x", "s_b": "y"}), "s_a", "no address")
    assert made.body == {"s_b": "y", "s_left_out": "s_a: refused: no address"}
    assert made.left_out == ("s_a: refused: no address",)


def test_ids_are_the_records_own() -> None:
    assert identity(record(1)) == identity(record(1, d_token_throughput=5.0)) == document_id(record(1))
    assert identity(record(s_document_id="md5")) == "md5"
    foreign: Record = {"s_test_list": "a", "l_concurrency": 8}
    assert identity({**foreign, "d_x": 1.0}) != identity({**foreign, "d_x": 2.0})


def test_documents_of_the_other_tool_become_records() -> None:
    source = {"s_test_list": "disagg-e2e-x", "@timestamp": "2026-11-21T10:00:00.000Z", "_project": "p", "d_x": 3}
    assert from_document(source, "md5") == {
        "s_test_list": "disagg-e2e-x",
        "d_x": 3.0,
        "ts_created": 1795255200000,
        "s_document_id": "md5",
        "s_engine": "trtllm",
    }
    assert from_document({**source, "ts_created": 5}, "")["ts_created"] == 5


def test_batches_are_limited_in_number_and_size() -> None:
    many = [Document(str(number), {"s_a": "x"}) for number in range(MOST_DOCUMENTS + 1)]
    assert [len(batch) for batch in batches(many)] == [MOST_DOCUMENTS, 1]
    big = [Document(str(number), {"s_a": "x" * 3_000_000}) for number in range(3)]
    assert [len(batch) for batch in batches(big)] == [1, 1, 1]


def test_indexes_are_named_by_schema_and_year() -> None:
    assert index_name("perf", CREATED_MS) == "perf-v1-2026"
    assert year_alias("perf", "perf-v1-2026") == "perf-2026"
    assert template("perf")["index_patterns"] == ["perf-v1-*"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.jsonl", json.dumps(record(1)) + "\n\n" + json.dumps(record(2)) + "\n"),
        ("r.json", json.dumps([record(1), record(2)])),
        ("r.json", json.dumps({"hits": {"hits": [{"_id": "a", "_source": record(n)} for n in (1, 2)]}})),
        ("r.yaml", json.dumps([{"new_data": record(1)}, {"new_data": record(2)}])),
    ],
)
def test_files_of_every_form(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    found, notes = read_file(tmp_path / name)
    assert [each["s_run_id"] for each in found] == ["run-1", "run-2"]
    assert notes == []


@pytest.mark.parametrize(("name", "content"), [("r.json", "[1]"), ("r.jsonl", '{"a": 1}\n{'), ("r.yaml", "a: [")])
def test_other_files_are_told(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=name):
        read_file(tmp_path / name)


def test_what_is_no_history_is_counted_and_fields_are_filled_in() -> None:
    timeless = {name: value for name, value in record(3).items() if name != "ts_created"}
    found = [record(1), record(2, b_is_valid=False), timeless]
    kept, notes = completed(found, {"s_cluster": "lab", "s_engine": "other"}, "f")
    assert kept == [{**record(1), "s_cluster": "lab"}]
    assert len(notes) == 2
    assert all("1 records" in note for note in notes)


def test_our_own_csv_comes_back(tmp_path: Path) -> None:
    metrics = {"d_median_ttft": 12.5, "d_duration_s": 3.0}
    written = [record(1, ts_created=1795255200000, s_stage_name="Stage-1", **metrics)]
    legacy_csv.write(tmp_path / "p.csv", written)
    (found,), notes = read_file(tmp_path / "p.csv")
    assert notes == []
    wanted = ("s_case_id", "l_concurrency", "ts_created", "d_token_throughput", "d_median_ttft", "s_gpu_type")
    assert {name: found[name] for name in wanted} == {name: written[0][name] for name in wanted}
    assert found["s_stage_name"] == "Stage-1"


def test_a_csv_of_the_other_tool(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(
        "network_name,perf_case_name,test_name,perf_metric,end_timestamp,state,metric_type\n"
        "n,d,t.py::T::test_benchmark[disagg_perf_x]_con:8,10.5,2026-11-21 10:00:00 UTC,valid,SERVER_MEDIAN_TTFT\n"
        "n,d,t.py::T::test_benchmark[disagg_perf_x]_con:8,20.5,2026-11-21 10:00:00 UTC,valid,SERVER_MEDIAN_E2EL\n"
        "n,d,other,1,2026-11-21 10:00:00,failed,INFERENCE_TIME\n"
        "n,d,other,1,yesterday,valid,INFERENCE_TIME\n"
        "n,d,other,1,2026-11-21 10:00:00,valid,BUILD_TIME\n",
        encoding="utf-8",
    )
    (found,), notes = read_file(tmp_path / "p.csv")
    assert (found["s_case_id"], found["l_concurrency"]) == ("disagg_perf_x", 8)
    assert (found["d_median_ttft"], found["d_median_e2el"]) == (10.5, 20.5)
    assert found["ts_created"] == 1795255200000
    assert [note.partition(": not used: ")[2] for note in notes] == [
        "state failed",
        "end_timestamp 'yesterday' is no time",
    ]


def test_a_csv_of_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="perf_case_name"):
        read_file(tmp_path / "p.csv")


def test_a_chart_shows_the_values_from_low_to_high() -> None:
    lines = chart([1.0, 2.0, 3.0], width=20, height=3)
    assert lines == ["  3   █", "     ▅█", "0.8 ▂██"]
    assert chart([], width=20) == []
    assert len(chart([5.0] * 1000, width=40)[-1]) <= 40
