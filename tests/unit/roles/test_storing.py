"""What the end of the store stage keeps, uploads, and says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_disagg.config.case import CaseId
from pytest_disagg.records.record import Record
from pytest_disagg.roles.storing import Stored, store
from pytest_disagg.rundir.outcome import Outcome
from tests.unit.roles.conftest import SessionFactory
from tests.unit.store.conftest import record

UPLOADED = CaseId("aggr_upload-x", "aggr_upload", "aggregated", None, "x")


def stored(
    make_session: SessionFactory, folder: Path, *found: Record, case_id: CaseId | None = None, whole: bool = True
) -> Stored:
    session = make_session(history=folder)
    if case_id is not None:
        case = replace(session.case, id=case_id)
        session.case = case
        session.options = replace(session.options, case=case)
    session.rundir.make()
    session.rundir.manifest.write_text("{}", encoding="utf-8")
    return store(session, found, whole=whole)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jsonl"))


def test_valid_records_are_kept_and_nothing_is_said(make_session: SessionFactory, tmp_path: Path) -> None:
    done = stored(make_session, tmp_path / "h", record(1), record(2, b_is_valid=False))
    assert done == Stored()
    (name,) = files(tmp_path / "h")
    assert (tmp_path / "h" / name).read_text(encoding="utf-8").count("\n") == 1
    assert (tmp_path / "h" / "manifests" / "r.aggr-x.json").read_text(encoding="utf-8") == "{}"


@pytest.mark.parametrize("found", [record(1, b_is_valid=False), record(1, b_rehearsal=True)])
def test_nothing_valid_keeps_nothing(make_session: SessionFactory, tmp_path: Path, found: Record) -> None:
    assert stored(make_session, tmp_path / "h", found) == Stored()
    assert not (tmp_path / "h").exists()


def test_a_run_that_failed_is_no_history(make_session: SessionFactory, tmp_path: Path) -> None:
    assert stored(make_session, tmp_path / "h", record(1), whole=False) == Stored()
    assert not (tmp_path / "h").exists()


def test_an_upload_without_a_store_is_told(make_session: SessionFactory, tmp_path: Path) -> None:
    done = stored(make_session, tmp_path / "h", record(1), case_id=UPLOADED)
    assert "no store is selected (OPENSEARCH_URL" in done.missing
    assert len(files(tmp_path / "h")) == 1


def test_an_upload_that_fails_is_spooled_and_told(
    make_session: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENSEARCH_URL", "not a url")
    done = stored(make_session, tmp_path / "h", record(1), case_id=UPLOADED)
    assert "OPENSEARCH_URL" in done.missing
    assert [name.split("/")[0] for name in files(tmp_path / "h")] == ["records", "spool"]


def test_a_history_that_cannot_be_written_is_told(make_session: SessionFactory, tmp_path: Path) -> None:
    (tmp_path / "h").write_text("a file", encoding="utf-8")
    (line,) = stored(make_session, tmp_path / "h", record(1)).lines
    assert line.startswith("not kept in the history: ")


def test_what_is_missing_is_red_only_where_it_was_required() -> None:
    outcome = Outcome("r", "aggr_upload-x", "pass", lines=("a",))
    missing = Stored(("b",), "nobody there")
    assert missing.applied(outcome, required=False) == replace(outcome, lines=("a", "b"))
    red = missing.applied(outcome, required=True)
    assert (red.verdict, red.kind) == ("pass", "infrastructure")
    assert red.red == ("infrastructure: --disagg-require-upload: nobody there",)
    worse = missing.applied(replace(outcome, verdict="regression", kind="regression", red=("x",)), required=True)
    assert (worse.kind, worse.red[0]) == ("regression", "x")
    assert Stored(("b",)).applied(outcome, required=True).red == ()
