"""The folder of record files and its index."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pytest_disagg.store import index as indexes
from pytest_disagg.store.documents import identity
from pytest_disagg.store.local import LocalHistory, build, keep
from pytest_disagg.store.truth import Truth, file_name, imported_name, lines_of
from pytest_disagg.verdict.history import HistoryError, SeriesKey
from tests.unit.store.conftest import record

KEY = SeriesKey.of(record())


def kept(folder: Path, *numbers: int) -> None:
    for number in numbers:
        assert keep(folder, file_name(f"run-{number}", "aggr-x"), [record(number)]) == []


def runs(history: LocalHistory) -> list[str]:
    return [str(each["s_run_id"]) for each in history.series(KEY)]


def test_nothing_kept_is_an_empty_history_and_makes_nothing(tmp_path: Path) -> None:
    with LocalHistory(tmp_path / "h") as history:
        assert history.series(KEY) == []
        assert history.summary() == []
    assert not (tmp_path / "h").exists()


def test_a_series_has_its_records_oldest_first(tmp_path: Path) -> None:
    kept(tmp_path, 2, 1, 3)
    keep(tmp_path, "other.jsonl", [record(4, s_node_group="b"), record(5, s_gpu_type="h100")])
    with LocalHistory(tmp_path) as history:
        assert history.series(KEY) == [record(1), record(2), record(3)]
        assert sorted(count for _, count, _ in history.summary()) == [1, 1, 3]


def test_invalid_records_and_rehearsals_are_no_history(tmp_path: Path) -> None:
    keep(tmp_path, "a.aggr-x.jsonl", [record(1), record(2, b_is_valid=False), record(3, b_rehearsal=True)])
    with LocalHistory(tmp_path) as history:
        assert runs(history) == ["run-1"]


def test_files_of_others_are_taken_in_and_removed_ones_forgotten(tmp_path: Path) -> None:
    kept(tmp_path, 1)
    Truth.of(tmp_path).put(file_name("run-2", "aggr-x"), [record(2)])
    with LocalHistory(tmp_path) as history:
        assert runs(history) == ["run-1", "run-2"]
    (tmp_path / "records" / file_name("run-1", "aggr-x")).unlink()
    with LocalHistory(tmp_path) as history:
        assert runs(history) == ["run-2"]


def test_a_file_is_never_rewritten(tmp_path: Path) -> None:
    name = file_name("run", "aggr-x")
    assert Truth.of(tmp_path).put(name, [record(1)])
    assert not Truth.of(tmp_path).put(name, [record(1)])
    with pytest.raises(HistoryError, match="holds other records"):
        Truth.of(tmp_path).put(name, [record(2)])
    assert Truth.of(tmp_path).read(name) == [record(1)]


def test_cases_of_one_run_have_files_of_their_own() -> None:
    assert file_name("7.0", "aggr-a") != file_name("7.0", "aggr-b")
    long = [file_name("r", "aggr-" + "x" * 400 + end) for end in ("a", "b")]
    assert long[0] != long[1]
    assert max(map(len, long)) < 255


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be read as one" * 20, b""])
def test_a_broken_index_is_built_anew(tmp_path: Path, content: bytes) -> None:
    kept(tmp_path, 1, 2)
    (tmp_path / indexes.FILE_NAME).write_bytes(content)
    with LocalHistory(tmp_path) as history:
        assert runs(history) == ["run-1", "run-2"]
        assert any("built anew" in note for note in history.notes) == bool(content)
    with LocalHistory(tmp_path) as history:
        assert history.notes == []


def test_pages_that_were_overwritten_are_found_and_mended(tmp_path: Path) -> None:
    kept(tmp_path, *range(20))
    place = tmp_path / indexes.FILE_NAME
    content = place.read_bytes()
    place.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    with LocalHistory(tmp_path) as history:
        assert len(runs(history)) == 20
        assert any("built anew" in note for note in history.notes)


def test_an_index_of_another_layout_is_built_anew(tmp_path: Path) -> None:
    kept(tmp_path, 1)
    with closing(sqlite3.connect(tmp_path / indexes.FILE_NAME)) as db:
        db.execute("PRAGMA user_version = 99")
    with LocalHistory(tmp_path) as history:
        assert runs(history) == ["run-1"]
        assert "layout 99, expected 2" in history.notes[0]


def test_an_index_that_is_locked_does_not_hide_the_records(tmp_path: Path) -> None:
    kept(tmp_path, 1)
    with closing(sqlite3.connect(tmp_path / indexes.FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        notes = keep(tmp_path, file_name("run-2", "aggr-x"), [record(2)], wait_s=0.05)
        assert "not written now" in notes[0]
        with LocalHistory(tmp_path, wait_s=0.05) as history:
            assert runs(history) == ["run-1", "run-2"]
            assert "the record files were read instead" in history.notes[0]
    with LocalHistory(tmp_path) as history:
        assert runs(history) == ["run-1", "run-2"]
        assert history.notes == []


def test_a_broken_file_is_told_and_its_case_is_not_readable(tmp_path: Path) -> None:
    kept(tmp_path, 1)
    keep(tmp_path, "r.aggr-y.jsonl", [record(9, s_case_id="aggr-y")])
    (tmp_path / "records" / "torn.aggr-x.jsonl").write_text('{"s_run_id": "r', encoding="utf-8")
    with LocalHistory(tmp_path) as history:
        assert "torn.aggr-x.jsonl" in history.notes[0]
        with pytest.raises(HistoryError, match=r"torn\.aggr-x\.jsonl:1"):
            history.series(KEY)
        assert len(history.series(SeriesKey.of(record(9, s_case_id="aggr-y")))) == 1


def test_a_case_and_its_upload_twin_are_one_series(tmp_path: Path) -> None:
    kept(tmp_path, 1)
    keep(tmp_path, "r.aggr_upload-x.jsonl", [record(2, s_case_id="aggr_upload-x")])
    with LocalHistory(tmp_path) as history:
        assert runs(history) == ["run-1", "run-2"]
    (tmp_path / "records" / "torn.aggr_upload-x.jsonl").write_text("{", encoding="utf-8")
    with LocalHistory(tmp_path) as history, pytest.raises(HistoryError, match="torn"):
        history.series(KEY)


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("a file", encoding="utf-8")
    with pytest.raises(HistoryError, match="cannot be read"):
        LocalHistory(tmp_path)


def test_reading_takes_no_longer_than_allowed(tmp_path: Path) -> None:
    Truth.of(tmp_path).put("a.aggr-x.jsonl", [record(1)])
    with pytest.raises(HistoryError, match="disagg history rebuild"):
        LocalHistory(tmp_path, sync_s=-1.0)


def test_records_are_taken_in_once(tmp_path: Path) -> None:
    with LocalHistory(tmp_path) as history:
        assert history.take_in([record(1), record(2), record(1)]) == 2
    with LocalHistory(tmp_path) as history:
        assert history.take_in([record(2), record(3)]) == 1
        assert history.take_in([record(2), record(3)]) == 0
    with LocalHistory(tmp_path) as history:
        assert runs(history) == ["run-1", "run-2", "run-3"]
    assert imported_name([record(1)]) == imported_name([record(1)]) != imported_name([record(2)])


def test_rebuilding_gives_the_same(tmp_path: Path) -> None:
    kept(tmp_path, *range(30))
    with LocalHistory(tmp_path) as history:
        before = history.series(KEY)
    assert build(tmp_path) == (30, {})
    with LocalHistory(tmp_path) as history:
        assert history.series(KEY) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.sqlite", "records"]


def test_a_journal_of_a_replaced_index_is_not_played_into_the_new_one(tmp_path: Path) -> None:
    kept(tmp_path, *range(30))
    place = tmp_path / indexes.FILE_NAME
    with closing(sqlite3.connect(place, isolation_level=None)) as dying:
        dying.execute("PRAGMA cache_size = 1")
        dying.execute("BEGIN IMMEDIATE")
        dying.execute("DELETE FROM records")
        journal = place.with_name(f"{place.name}-journal").read_bytes()
    place.write_bytes(b"what is left of it" * 300)
    place.with_name(f"{place.name}-journal").write_bytes(journal)
    with LocalHistory(tmp_path) as history:
        assert len(runs(history)) == 30
    assert not place.with_name(f"{place.name}-journal").exists()


def _write(folder: Path, writer: int) -> None:
    for number in range(20):
        name = file_name(f"run-{writer}-{number}", "aggr-x")
        assert keep(folder, name, [record(writer * 100 + number)], wait_s=60) == []


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path, writer)) for writer in range(3)]
    for process in writers:
        process.start()
    for process in writers:
        process.join(120)
    assert [process.exitcode for process in writers] == [0, 0, 0]
    with closing(sqlite3.connect(tmp_path / indexes.FILE_NAME)) as db:
        assert db.execute("SELECT count(*) FROM records").fetchone() == (60,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_find_by_run_and_by_the_beginning_of_an_id(tmp_path: Path) -> None:
    keep(tmp_path, "a.aggr-x.jsonl", [record(1), record(1, l_concurrency=16), record(2)])
    with LocalHistory(tmp_path) as history:
        assert len(history.find(run_id="run-1")) == 2
        wanted = identity(record(2))
        assert history.find(record_id=wanted[:10]) == [record(2)]
        assert history.find(record_id="nothing") == []
        assert [each["s_run_id"] for each in history.everything()][-1] == "run-2"


def test_lines_keep_what_they_are_given() -> None:
    assert lines_of([{"s_a": "ä"}]) == '{"s_a": "ä"}\n'
