"""``disagg report``: what is written where, and what is said of what cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.cli.main import main
from pytest_disagg.records import legacy_csv
from pytest_disagg.records import record as records
from tests.unit.report.conftest import Make, fields, make_run, metrics, record

__all__ = ["make_run"]


@pytest.fixture(autouse=True)
def _own_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISAGG_HISTORY", str(tmp_path / "history"))
    monkeypatch.setenv("DISAGG_WORK_DIR", str(tmp_path / "w"))


def test_the_page_of_a_run_lies_in_its_folder(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run()
    assert main(["report", "r1"]) == 0
    page = folder.parent / "report.html"
    assert capsys.readouterr().out == f"{page}\n"
    assert "disagg-e2e-x" in page.read_text(encoding="utf-8")


def test_without_a_run_the_newest_is_shown(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run()
    assert main(["report"]) == 0
    assert str(folder.parent) in capsys.readouterr().out


def test_page_and_pdf_with_a_comparison(make_run: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = make_run(run_id="a"), make_run(run_id="b", scale=1.1)
    words = ["report", str(first), "--compare", str(first), "b", "--html", "out/p.html", "--pdf", "out/p.pdf"]
    assert main(words) == 0
    assert capsys.readouterr().out == "out/p.html\nout/p.pdf\n"
    assert "+10.0 %" in Path("out/p.html").read_text(encoding="utf-8")
    assert Path("out/p.pdf").read_bytes().startswith(b"%PDF-")
    assert second.is_dir()


def test_a_comparison_alone(make_run: Make, tmp_path: Path) -> None:
    folder = make_run()
    assert main(["report", "--compare", str(folder), str(folder)]) == 0
    text = Path("report.html").read_text(encoding="utf-8")
    assert "Comparison" in text
    assert "What is red" not in text
    assert not (folder.parent / "report.html").exists()


def test_the_call_of_the_older_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, scale in (("results", 1.0), ("base", 1.2), ("third", 1.3)):
        legacy_csv.write(tmp_path / f"{name}.csv", [record("c", 4, **fields(metrics(scale)))])
    words = ["--output_path", "report.pdf", "--files", "results.csv", "base.csv", "third.csv"]
    assert main(["report", *words]) == 0
    assert capsys.readouterr().out == "report.pdf\n"
    assert Path("report.pdf").read_bytes().startswith(b"%PDF-")
    assert not Path("report.html").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "found no run 'nowhere'"),
        ([], "found no run in"),
        (["--files", "a.csv"], "found a.csv alone, expected at least two files"),
        (["--compare", "a.csv", "b.csv"], "found no run 'a.csv'"),
        (["--compare", "c.csv", "c.csv"], "c.csv:1: found header"),
    ],
)
def test_what_cannot_be_used(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.csv").write_text("no,header,of,ours\n")
    assert main(["report", *words]) == 4
    assert said in capsys.readouterr().err


def test_a_place_that_cannot_be_written(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    make_run()
    assert main(["report", "r1", "--html", "file/p.html"]) == 4
    assert "cannot write" in capsys.readouterr().err


def test_the_history_is_looked_up(make_run: Make, tmp_path: Path) -> None:
    make_run(concurrencies=(4,))
    earlier = record("disagg-e2e-x", 4, run_id="r0", **fields(metrics())) | {"ts_created": 1_795_000_000_000}
    records.append(tmp_path / "mine/records/r0.jsonl", [earlier])
    assert main(["report", "r1", "--history", "mine", "--html", "p.html"]) == 0
    assert "History of con4" in Path("p.html").read_text(encoding="utf-8")
