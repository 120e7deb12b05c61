"""``disagg history`` and ``disagg upload`` as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_disagg.cli.main import main
from pytest_disagg.records.record import append
from pytest_disagg.store.documents import identity
from pytest_disagg.store.local import keep
from pytest_disagg.store.truth import file_name
from tests.unit.store.conftest import record


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A history of five runs, and one of another case."""
    path = tmp_path / "h"
    monkeypatch.setenv("DISAGG_HISTORY", str(path))
    monkeypatch.delenv("OPENSEARCH_URL", raising=False)
    monkeypatch.delenv("OPEN_SEARCH_DB_BASE_URL", raising=False)
    for number in range(5):
        keep(path, file_name(f"run-{number}", "aggr-x"), [record(number)])
    keep(path, "run-9.aggr-y.jsonl", [record(9, s_case_id="aggr-y", s_gpu_type="h100")])
    return path


def test_list_names_every_series(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["case", "aggr-x", "aggr-y"]
    assert lines[1].split()[1:5] == ["con8", "sim", "none", "5"]
    assert main(["history", "list", "h100"]) == 0
    assert "aggr-x" not in capsys.readouterr().out
    assert main(["history", "list", "gb200"]) == 5


def test_list_tells_load_generators_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(folder, "run-10.aggr-x.jsonl", [record(10, s_client_tool="aiperf")])
    assert main(["history", "list", "aggr-x"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[4:6] for line in lines] == [["tool", "records"], ["5", "2026-11-18"], ["aiperf", "1"]]
    assert main(["history", "list", "aiperf"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_show_says_what_a_run_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "show", "run-3"]) == 0
    assert "token_throughput: 103 tok/s" in capsys.readouterr().out
    assert main(["history", "show", identity(record(2))[:12], "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == record(2)
    assert main(["history", "show", "run-77"]) == 4


def test_plot_draws_a_chart_of_each_series(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "plot", "aggr-x", "--values"]) == 0
    out = capsys.readouterr().out
    assert "5 runs, last 104" in out
    assert "█" in out
    assert "run-4" in out
    assert main(["history", "plot", "--metric", "al"]) == 5
    assert main(["history", "plot", "--metric", "nonsense"]) == 4


def test_what_is_exported_can_be_imported(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "all.jsonl"
    assert main(["history", "export", "--out", str(out)]) == 0
    other = ["--history", str(tmp_path / "other")]
    assert main(["history", "import", str(out), *other]) == 0
    assert main(["history", "import", str(out), *other]) == 0
    printed = capsys.readouterr().out
    assert "6 new records, 0 known already" in printed
    assert "0 new records, 6 known already" in printed
    assert main(["history", "export", *other]) == 0
    assert capsys.readouterr().out == out.read_text(encoding="utf-8")


def test_import_fills_in_what_a_csv_lacks(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv = tmp_path / "p.csv"
    assert main(["history", "export", "aggr-y", "--out", str(csv)]) == 0
    other = ["--history", str(tmp_path / "other")]
    fields = ["--field", "s_client_name=con8", "--field", "s_engine=sim"]
    assert main(["history", "import", str(csv), *fields, *other]) == 0
    capsys.readouterr()
    assert main(["history", "list", *other]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:5] == ["aggr-y", "con8", "sim", "h100", "1"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["import"],
        ["import", "x.json", "--from", "opensearch"],
        ["import", "--from", "opensearch"],
        ["import", "nowhere"],
    ],
)
def test_imports_of_nothing_are_usage_errors(folder: Path, arguments: list[str]) -> None:
    assert main(["history", *arguments]) == 4
    assert main(["history", "import", "x.json", "--field", "cluster"]) == 4


def test_rebuild_counts_and_names_what_is_broken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "rebuild"]) == 0
    assert "6 records indexed" in capsys.readouterr().out
    (folder / "records" / "torn.jsonl").write_text("{", encoding="utf-8")
    assert main(["history", "rebuild"]) == 8
    assert "torn.jsonl:1" in capsys.readouterr().out
    assert main(["history", "rebuild", "--history", str(folder / "nowhere")]) == 4


def test_a_history_that_cannot_be_read_is_infrastructure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "records").write_text("a file", encoding="utf-8")
    assert main(["history", "list", "--history", str(tmp_path)]) == 8
    assert "cannot be read" in capsys.readouterr().err


def test_an_upload_needs_a_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upload"]) == 4
    assert "OPENSEARCH_URL" in capsys.readouterr().err


def test_an_upload_that_reaches_nobody_keeps_the_records(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPEN_SEARCH_DB_BASE_URL", "http://127.0.0.1:9")
    append(tmp_path / "r.jsonl", [record(1), record(2, b_is_valid=False)])
    append(tmp_path / "empty.jsonl", [record(3, b_rehearsal=True)])
    files = [str(tmp_path / "r.jsonl"), str(tmp_path / "empty.jsonl")]
    assert main(["upload", "--dry-run", *files]) == 0
    out = capsys.readouterr().out
    assert out.count("would send") == 1
    assert "nothing to upload" in out
    assert main(["upload", "--time-limit", "0.3", *files]) == 8
    assert "1 files still to be sent" in capsys.readouterr().out
    assert len(list((folder / "spool" / "posting").iterdir())) == 1
