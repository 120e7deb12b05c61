"""Whole runs and ``disagg upload``: every record arrives once, and no verdict depends on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.records.record import append, document_id
from pytest_disagg.store.history import open_history
from pytest_disagg.store.local import LocalHistory, keep
from pytest_disagg.store.opensearch.store import OpenSearchType
from pytest_disagg.store.spool import Spool
from pytest_disagg.store.truth import file_name, lines_of
from pytest_disagg.store.upload import Upload, flush, upload
from pytest_disagg.verdict.history import HistoryError, SeriesKey
from tests.opensearch.conftest import Lab, documents, record, soon
from tests.opensearch.proxy import Proxy

ROOT = Path(__file__).parents[2]
NOBODY = "http://127.0.0.1:9"
NAME = file_name("run", "aggr_upload-x")
CASE = """
engine: sim
cases: [aggr, aggr_upload]
metadata: {model_name: m}
slurm: {timeout: 120}
hardware: {gpus_per_node: 8}
timeouts: {store_s: 20}
gate: {max_client_lag_ms: 10000, max_client_cpu: 10, min_concurrency_ratio: 0.1}
server_configs:
  - name: one
    client_configs: [{concurrency: 2, iterations: 2, isl: 16, osl: 4, warmup: false}]
"""
SOON_OVER = "--disagg-set=timeouts.store_s=5"
SECRET = "correct-horse-battery"


def send(lab: Lab, folder: Path, url: str, limit_s: float = 120.0) -> Upload:
    return upload(folder, NAME, [record(number) for number in range(20)], lab.through(url), limit_s=limit_s)


def test_what_cannot_be_sent_now_is_sent_later_and_once(lab: Lab, tmp_path: Path) -> None:
    down = send(lab, tmp_path, NOBODY, limit_s=0.5)
    assert not down.ok
    assert [path.name for path in Spool.of(tmp_path, "opensearch").pending()] == [NAME]
    assert lab.documents() == {}
    later = flush(tmp_path, lab.environ, until=soon())
    assert later.ok
    assert later.uploaded[0].sent.stored == 20
    assert Spool.of(tmp_path, "opensearch").pending() == []
    assert len(lab.documents()) == 20
    again = flush(tmp_path, lab.environ, until=soon())
    assert (again.ok, again.uploaded[0].sent.stored) == (True, 0)


def test_a_server_that_goes_down_in_the_middle(lab: Lab, proxy: Proxy, tmp_path: Path) -> None:
    send(lab, tmp_path, lab.url)
    # Stored, but we are never told: the next try is refused for good.
    proxy.manners = ["pass", "torn", 500]
    torn = upload(tmp_path, NAME, [record(30), record(31)], lab.through(proxy.url), limit_s=120.0)
    assert not torn.ok
    assert proxy.manners == []
    assert flush(tmp_path, lab.through(proxy.url), until=soon()).uploaded[0].sent.known == 2
    assert len(lab.documents()) == 22
    assert {found["_version"] for found in lab.documents().values()} == {1}


def test_two_uploads_at_once_store_each_once(lab: Lab, tmp_path: Path) -> None:
    Spool.of(tmp_path, "opensearch").put(NAME, [record(number) for number in range(300)])
    Spool.of(tmp_path, "opensearch").put("other.jsonl", [record(number) for number in range(200, 400)])
    environ = {**os.environ, **lab.environ}
    command = [sys.executable, "-m", "pytest_disagg.cli.main", "upload", "--history", str(tmp_path)]
    both = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert len(lab.documents()) == 400
    assert {found["_version"] for found in lab.documents().values()} == {1}
    assert Spool.of(tmp_path, "opensearch").pending() == []


def test_a_refused_document_stays_and_the_others_go(lab: Lab, tmp_path: Path) -> None:
    OpenSearchType().open(lab.environ).send(documents(1), until=soon())
    index = f"{lab.index}-v1-2026"
    fields = len(lab.ask("GET", f"{index}/_mapping")[index]["mappings"]["properties"])
    lab.ask("PUT", f"{index}/_settings", {"index.mapping.total_fields.limit": fields})
    found = [record(number, **({"s_new": "x"} if number == 5 else {})) for number in range(10)]
    refused = upload(tmp_path, NAME, found, lab.environ, limit_s=120)
    assert not refused.ok
    (path,) = Spool.of(tmp_path, "opensearch").pending()
    assert path.read_text(encoding="utf-8") == lines_of([found[5]])
    lab.ask("PUT", f"{index}/_settings", {"index.mapping.total_fields.limit": 2000})
    assert flush(tmp_path, lab.environ, until=soon()).ok
    assert len(lab.documents()) == 10


def test_a_store_that_is_down_costs_the_other_nothing(lab: Lab, proxy: Proxy, tmp_path: Path) -> None:
    proxy.manners = [401]
    refusing = {**lab.environ, "OPEN_SEARCH_DB_BASE_URL": proxy.url}
    done = upload(tmp_path / "refusing", NAME, [record()], refusing, limit_s=120.0)
    assert [(each.store, each.ok) for each in done.uploaded] == [("opensearch", True), ("posting", False)]
    assert [path.name for path in Spool.of(tmp_path / "refusing", "posting").pending()] == [NAME]


def test_history_joins_the_folder_and_the_server(lab: Lab, tmp_path: Path) -> None:
    OpenSearchType().open(lab.environ).send(documents(5), until=soon())
    lab.documents()
    keep(tmp_path, NAME, [record(number) for number in range(3, 8)])
    key = SeriesKey.of(record())
    with open_history(tmp_path, lab.environ) as history:
        assert [each["s_run_id"] for each in history.series(key)] == [f"run-{number}" for number in range(8)]
    with open_history(tmp_path, lab.through(NOBODY), read_s=0.3) as history:
        assert len(history.series(key)) == 5
        assert any("could not be read" in note for note in history.notes)
    with (
        open_history(tmp_path / "empty", lab.through(NOBODY), read_s=0.3) as history,
        pytest.raises(HistoryError, match="could not be read"),
    ):
        history.series(key)


def test_a_document_of_an_earlier_version_is_of_the_series_of_today(lab: Lab, tmp_path: Path) -> None:
    written = json.loads((ROOT / "tests/data/history/record.jsonl").read_text(encoding="utf-8"))
    OpenSearchType().open(lab.environ).send(documents(1), until=soon())
    place = f"{lab.index}-v1-2026/_doc/{document_id(written)}?refresh=true"
    lab.ask("PUT", place, {**written, "s_document_id": document_id(written)})
    today = {**written, "s_run_id": "today"}
    with open_history(tmp_path / "empty", lab.environ, read_s=60) as history:
        assert [each["s_run_id"] for each in history.series(SeriesKey.of(today))] == [written["s_run_id"]]
        assert history.series(SeriesKey.of({**today, "s_client_tool": "aiperf"})) == []
    keep(tmp_path, NAME, [written])
    with open_history(tmp_path, lab.environ, read_s=60) as history:
        assert history.series(SeriesKey.of(today)) == [written]


def test_import_takes_all_that_a_server_has_once(lab: Lab, tmp_path: Path) -> None:
    OpenSearchType().open(lab.environ).send(documents(30), until=soon())
    lab.documents()
    command = [sys.executable, "-m", "pytest_disagg.cli.main", "history", "import", "--from", "opensearch"]
    for new in (30, 0):
        done = subprocess.run(
            [*command, "--history", str(tmp_path)],
            env={**os.environ, **lab.environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"{new} new records" in done.stdout, done.stderr
    with LocalHistory(tmp_path) as history:
        assert sum(count for _, count, _ in history.summary()) == 30


def play(folder: Path, case: str, environ: dict[str, str], *options: str) -> tuple[int, str, dict[str, Any], Path]:
    """Exit code, output, outcome and records of a pytest session with that case."""
    (folder / "test_configs").mkdir(parents=True, exist_ok=True)
    (folder / "test_configs" / "x.yaml").write_text(CASE, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "test_it.py").write_text("def test_e2e(disagg_case):\n    disagg_case.run()\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"test_it.py::test_e2e[{case}]", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={**os.environ, **environ, "DISAGG_HISTORY": str(folder / "history"), "OPENSEARCH_PASSWORD": SECRET},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    out = done.stdout + done.stderr
    (outcome,) = (folder / "disagg-runs").glob("*/*/outcome.json")
    return (
        done.returncode,
        out,
        json.loads(outcome.read_text(encoding="utf-8")),
        outcome.parent / "results/records.jsonl",
    )


def test_a_run_is_in_the_server_once_however_often_it_is_sent(lab: Lab, tmp_path: Path) -> None:
    user = {"OPENSEARCH_USERNAME": "somebody"}
    code, out, outcome, path = play(tmp_path, "aggr_upload-x", {**lab.environ, **user})
    assert code == 0, out
    assert "upload to opensearch: 1 stored" in out
    measured = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert set(lab.documents()) == {document_id(each) for each in measured}
    assert (tmp_path / "history/records" / file_name(outcome["run_id"], "aggr_upload-x")).is_file()
    command = [sys.executable, "-m", "pytest_disagg.cli.main", "upload", str(path), "--history", str(tmp_path / "h")]
    environ = {**os.environ, **lab.environ}
    both = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert {found["_version"] for found in lab.documents().values()} == {1}


def test_a_server_that_is_down_changes_no_verdict(lab: Lab, tmp_path: Path) -> None:
    environ = {**lab.through(NOBODY), "OPENSEARCH_USERNAME": "somebody"}
    code, out, outcome, path = play(tmp_path, "aggr_upload-x", environ, SOON_OVER)
    assert (code, outcome["kind"]) == (0, None), out
    assert "files still to be sent" in out
    assert SECRET not in out + path.read_text(encoding="utf-8") + json.dumps(outcome)
    assert flush(tmp_path / "history", lab.environ, until=soon()).ok
    assert len(lab.documents()) == 1


def test_a_required_upload_that_fails_fails_the_case(lab: Lab, tmp_path: Path) -> None:
    code, out, outcome, _ = play(tmp_path, "aggr_upload-x", lab.through(NOBODY), "--disagg-require-upload", SOON_OVER)
    assert code == 1, out
    assert outcome["kind"] == "infrastructure"
    assert "--disagg-require-upload" in outcome["red"][0]
    assert outcome["verdict"] in ("pass", "insufficient-history")


def test_a_case_that_asks_for_no_upload_is_kept_and_not_uploaded(lab: Lab, tmp_path: Path) -> None:
    code, out, outcome, _ = play(tmp_path, "aggr-x", lab.environ, "--disagg-require-upload")
    assert code == 0, out
    assert lab.documents() == {}
    assert not (tmp_path / "history/spool").exists()
    assert (tmp_path / "history/records" / file_name(outcome["run_id"], "aggr-x")).is_file()


def test_a_dry_run_sends_nothing(lab: Lab, tmp_path: Path) -> None:
    append(tmp_path / "r.jsonl", [record(1), record(2, b_is_valid=False)])
    Spool.of(tmp_path, "opensearch").put(NAME, [record(3)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest_disagg.cli.main", "upload", "--dry-run", str(tmp_path / "r.jsonl")],
        env={**os.environ, **lab.environ, "DISAGG_HISTORY": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("would send") == 2
    assert done.stdout.count("(1 records)") == 2
    assert lab.documents() == {}
