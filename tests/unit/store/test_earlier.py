"""A history that an earlier version of this package wrote is found again: its records, its index, and no less."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from pytest_disagg.records.record import Record
from pytest_disagg.store.documents import Document
from pytest_disagg.store.history import of_series
from pytest_disagg.store.index import FILE_NAME
from pytest_disagg.store.local import LocalHistory, keep
from pytest_disagg.store.protocol import Sent, Wanted
from pytest_disagg.store.truth import Truth, file_name
from pytest_disagg.verdict.history import SeriesKey

WRITTEN = (Path(__file__).parents[2] / "data/history/record.jsonl").read_text(encoding="utf-8")
"""The record file of a run that native measured before a series knew its load generator, as it was written."""
LAYOUT_1 = """
CREATE TABLE files (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE series (
    id INTEGER PRIMARY KEY, "case", "server", "client", "concurrency", "engine", "cluster", "gpu", "node_group",
    UNIQUE ("case", "server", "client", "concurrency", "engine", "cluster", "gpu", "node_group")
);
CREATE TABLE records (
    id TEXT NOT NULL UNIQUE,
    file INTEGER NOT NULL REFERENCES files (id),
    series INTEGER NOT NULL REFERENCES series (id),
    created_ms INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX records_of_series ON records (series, created_ms);
CREATE INDEX records_of_run ON records (run_id);
CREATE INDEX records_of_file ON records (file);
INSERT INTO files VALUES (1, '20261121-210341-3bf348.aggr-x.jsonl');
INSERT INTO series VALUES (1, 'aggr-x', 'one', 'con2_iter2_isl16_osl4', 2, 'sim', '', 'none', '');
INSERT INTO records VALUES (
    '2f7938509facc52dcd79017783c5b8064c0458334355f59152baa03a16c9ba57', 1, 1, 1795295025331,
    '20261121-210341-3bf348', x'00'
);
PRAGMA user_version = 1;
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """That run's history: its record file, and its index but for the record's copy in it."""
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "20261121-210341-3bf348.aggr-x.jsonl").write_text(WRITTEN, encoding="utf-8")
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        db.executescript(LAYOUT_1)
    return tmp_path


def today(old: Record, tool: str) -> Record:
    """The same load measured now."""
    return {**old, "s_run_id": "today", "s_client_tool": tool, "ts_created": int(old["ts_created"]) + 1}


def test_a_run_of_today_finds_what_was_measured_before(folder: Path) -> None:
    old = json.loads(WRITTEN)
    new = today(old, "native")
    with LocalHistory(folder) as history:
        assert history.series(SeriesKey.of(new)) == [old]
        assert "layout 1, expected 2: built anew" in history.notes[0]
        assert history.series(SeriesKey.of(today(old, "aiperf"))) == []
    keep(folder, file_name("today", "aggr-x"), [new])
    with LocalHistory(folder) as history:
        assert history.notes == []
        assert history.series(SeriesKey.of(new)) == [old, new]


def test_a_record_can_be_kept_before_the_index_is_brought_up_to_date(folder: Path) -> None:
    old = json.loads(WRITTEN)
    new = today(old, "native")
    (note,) = keep(folder, file_name("today", "aggr-x"), [new])
    assert "layout 1, expected 2" in note
    with LocalHistory(folder) as history:
        assert history.series(SeriesKey.of(new)) == [old, new]


class Theirs:
    """A store with documents of TensorRT-LLM's own pipeline: they have no load generator, cluster or node group."""

    def where(self) -> str:
        return "there"

    def send(self, documents: Sequence[Document], *, until: float) -> Sent:
        return Sent()

    def read(self, wanted: Wanted, *, until: float) -> Iterator[Record]:
        yield {"s_engine": "trtllm", "s_test_list": "aggr-x", "l_concurrency": 2, "s_gpu_type": "gb200"}


def test_documents_of_others_are_of_whatever_load_generator_is_asked_for() -> None:
    ours: Record = {
        "s_engine": "trtllm",
        "s_case_id": "aggr-x",
        "s_server_name": "one",
        "s_client_name": "con2",
        "l_concurrency": 2,
        "s_gpu_type": "gb200",
        "s_cluster": "lab",
        "s_node_group": "power_cap=700",
    }
    for tool in ("native", "benchmark_serving"):
        assert len(of_series(Theirs(), SeriesKey.of({**ours, "s_client_tool": tool}), until=0.0)) == 1
    assert of_series(Theirs(), SeriesKey.of({**ours, "s_gpu_type": "b200"}), until=0.0) == []


@pytest.mark.parametrize("tool", [None, ""])
def test_a_record_that_names_no_load_generator_is_of_native(tmp_path: Path, tool: str | None) -> None:
    old = json.loads(WRITTEN)
    bare = (
        {**old, "s_client_tool": tool} if tool is not None else {k: v for k, v in old.items() if "client_tool" not in k}
    )
    Truth.of(tmp_path).put("imported.aggr-x.jsonl", [bare])
    with LocalHistory(tmp_path) as history:
        assert history.series(SeriesKey.of(today(old, "native"))) == [bare]
        assert history.series(SeriesKey.of(today(old, "aiperf"))) == []
