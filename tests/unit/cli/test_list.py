"""``disagg list``: what it finds, what it prints, how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.cli.list import age
from pytest_disagg.cli.main import main
from pytest_disagg.records import record as records
from pytest_disagg.store.local import keep
from tests.unit.verdict.test_slo import record


@pytest.fixture
def work_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs: the newer one measured con8 again. An empty history."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISAGG_HISTORY", str(tmp_path / "history"))
    put(tmp_path, "r1", record(4, s_verdict="pass"), record(8, s_verdict="pass"))
    put(tmp_path, "r2", record(8, 300, s_run_id="r2", ts_created=2000, s_low_n="p99_ttft", s_verdict="invalid"))
    return tmp_path / "disagg-runs"


def put(folder: Path, run: str, *found: dict[str, Any]) -> None:
    path = folder / "disagg-runs" / run / "x" / "results/records.jsonl"
    records.append(path, found)


def test_the_newest_of_each_point(work_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", str(work_dir)]) == 0
    head, first, second, note = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "case"
    assert "TTFT p99 ms" in head
    assert "cluster" not in head
    assert [first.split()[column] for column in (0, 1, 2, -1)] == ["disagg-e2e-x", "h100", "con4", "r1"]
    assert "300*" in second
    assert second.endswith("r2")
    assert note == "* too few requests for this percentile"


def test_a_run_by_its_id_or_its_file(work_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source in ("r1", str(work_dir / "r1"), str(work_dir / "r1/x"), str(work_dir / "r1/x/results/records.jsonl")):
        assert main(["list", source, "-k", "con8"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        assert "r1" in lines[1]


def test_the_history_without_a_source(work_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 5
    assert "no records in" in capsys.readouterr().out
    keep(work_dir.parent / "history", "r1.x.jsonl", [record(4), record(8), record(16, tpot=44)])
    assert main(["list", "-k", "h100 and not con16"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["list", "--slo", "tpot=40"]) == 0
    out = capsys.readouterr().out
    assert "con8" in out
    assert "con16: P99 TPOT 44 ms over 40 ms" in out
    assert main(["list", "-k", "b200"]) == 5


def test_slo_as_a_table_with_what_one_must_know(work_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "r1", "--slo", "ttft=500,tpot=40"]) == 0
    head, row, note = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "case"
    assert "p99 TTFT <= 500 ms, p99 TPOT <= 40 ms  con8" in row
    assert " 80 " in row
    assert note == "disagg-e2e-x h100: no measured point above it breaks the SLO, so the limit may be higher"


def test_what_another_load_generator_measured_is_said_to_be_its(
    work_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(work_dir.parent, "r3", record(8, 500, s_run_id="r3", ts_created=3000, s_client_tool="aiperf"))
    assert main(["list", str(work_dir), "-k", "con8"]) == 0
    head, ours, theirs, *_ = capsys.readouterr().out.splitlines()
    assert head.split()[2:4] == ["tool", "point"]
    assert (ours.split()[2], theirs.split()[2:4]) == ("con8", ["aiperf", "con8"])
    assert main(["list", str(work_dir), "-k", "aiperf", "--slo", "tpot=40"]) == 0
    row, note = capsys.readouterr().out.splitlines()[1:]
    assert row.split()[2] == "aiperf"
    assert note.startswith("disagg-e2e-x h100 aiperf: ")


def test_a_case_without_any_point_within(work_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "r1", "--slo", "ttft=1", "--percentile", "median"]) == 0
    out = capsys.readouterr().out
    assert "none" in out
    assert "con4: Median TTFT 50 ms over 1 ms" in out


def test_alone_it_means_the_slo_of_each_case(work_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(work_dir.parent, "r3", record(4, s_case_id="disagg-e2e-y", s_run_id="r3", d_slo_tpot_ms=40.0))
    assert main(["list", "r1", "r3", "--slo"]) == 0
    out = capsys.readouterr().out
    assert "disagg-e2e-x h100: the case has no slo block" in out
    assert "p99 TPOT <= 40 ms  con4" in out


def test_json(work_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", str(work_dir), "--json"]) == 0
    points = json.loads(capsys.readouterr().out)
    assert [(each["point"], each["run"], each["valid"]) for each in points] == [
        ("con4", "r1", True),
        ("con8", "r2", True),
    ]
    assert points[1]["too_few_samples"] == ["p99_ttft"]
    assert main(["list", "r1", "--slo", "tpot=40", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["best"]["concurrency"] == 8


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nothing"], "found no run 'nothing'"),
        (["--slo", "itl=3"], "--slo: found 'itl=3', expected NAME=MS"),
        (["--percentile", "p98"], "invalid choice: 'p98'"),
        (["-k", "a and"], "expected a word"),
        (["empty"], "found no records"),
    ],
)
def test_what_cannot_be_used(
    work_dir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    (work_dir / "empty").mkdir()
    assert main(["list", *arguments]) == 4
    assert text in capsys.readouterr().err


def test_age() -> None:
    assert age(0) == ""
    assert age(1000).endswith(" d")
