"""The table after a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.plugin.table import table

MEASURED = {
    "node": "t.py::t[disagg-e2e-x]",
    "case": "disagg-e2e-x",
    "verdict": "regression",
    "points": "con4 con8",
    "con4.verdict": "pass",
    "con4.token_throughput": "1234.567",
    "con4.median_ttft": "12.3456",
    "con8.verdict": "regression",
    "con8.token_throughput": "99.994",
    "con8.median_ttft": "100",
    "lines": "first\nsecond",
    "records": "/elsewhere/records.jsonl",
}


def test_each_point_is_a_row_with_its_own_verdict() -> None:
    lines = table([MEASURED])
    assert [line.split() for line in lines[:3]] == [
        ["case", "point", "verdict", "tok/s", "TTFT", "p50", "ms"],
        ["disagg-e2e-x", "con4", "pass", "1234.6", "12.35"],
        ["con8", "regression", "99.99", "100.0"],
    ]
    starts = {line.find(word) for line, word in zip(lines[:3], ("point", "con4", "con8"), strict=True)}
    assert len(starts) == 1


def test_what_a_person_should_know_follows() -> None:
    assert table([MEASURED])[3:] == [
        "  disagg-e2e-x: first",
        "  disagg-e2e-x: second",
        "  disagg-e2e-x: records in /elsewhere/records.jsonl",
    ]


def test_a_case_that_measured_nothing_is_a_row() -> None:
    row = {"node": "t.py::t[x]", "case": "x", "verdict": "failed", "run_dir": "/elsewhere/run"}
    lines = table([row])
    assert lines[1].split() == ["x", "failed"]
    assert lines[2:] == ["  x: run in /elsewhere/run"]
    # A column that nobody fills is not there.
    assert lines[0].split() == ["case", "point", "verdict"]


def test_a_path_below_here_is_shown_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"node": "n", "case": "x", "verdict": "pass", "records": str(tmp_path / "runs" / "r.jsonl")}
    assert table([row])[-1] == "  x: records in runs/r.jsonl"


def test_gpu_hours_of_each_case_and_of_all() -> None:
    hours = {"gpu_hours_allocated": "2", "gpu_hours_useful": "0.5", "gpu_hours_wasted": "1.5"}
    rows = [{**MEASURED, "case": name, **hours} for name in ("x", "y")]
    assert table([*rows, MEASURED])[-3:] == [
        "  x: GPU-hours: 2.00 allocated, 0.500 useful, 1.50 wasted (75 %)",
        "  y: GPU-hours: 2.00 allocated, 0.500 useful, 1.50 wasted (75 %)",
        "  GPU-hours of 2 cases: 4.00 allocated, 1.00 useful, 3.00 wasted (75 %)",
    ]
