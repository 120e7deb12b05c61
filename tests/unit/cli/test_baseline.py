"""``disagg baseline``: exit codes, the table, the difference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_disagg.cli.main import main


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "b.csv"
    path.write_text("# mine\ntest_name,throughput,latency\nc/con8,100,\n")
    return path


def measured(path: Path, throughput: float, **fields: object) -> None:
    record = {"s_case_id": "c", "l_concurrency": 8, "s_benchmark_mode": "e2e", "d_token_throughput": throughput}
    path.write_text(json.dumps({**record, **fields}) + "\n")


@pytest.mark.parametrize(
    ("throughput", "fields", "code", "last"),
    [
        (100.0, {}, 0, "verdict: pass"),
        (150.0, {}, 0, "verdict: improvement"),
        (80.0, {}, 1, "verdict: regression"),
        (80.0, {"b_is_valid": False}, 6, "verdict: invalid"),
        (80.0, {"s_case_id": "other"}, 0, "verdict: insufficient-history"),
    ],
)
def test_check(
    records: Path,
    csv: Path,
    capsys: pytest.CaptureFixture[str],
    throughput: float,
    fields: dict[str, object],
    code: int,
    last: str,
) -> None:
    measured(records, throughput, **fields)
    assert main(["baseline", "check", str(records), str(csv)]) == code
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_the_table(records: Path, csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(records, 80.0)
    assert main(["baseline", "check", str(records), str(csv), "--threshold", "25"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["case", "point", "metric", "value", "reference", "effect", "verdict"]
    assert lines[1].split() == ["c", "con8", "token_throughput", "80.000", "100.000", "-20.0", "%", "pass"]


def test_update_shows_the_difference_and_writes(records: Path, csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(records, 80.0)
    before = csv.read_text()
    assert main(["baseline", "update", str(records), str(csv), "--dry-run"]) == 0
    assert csv.read_text() == before
    shown = capsys.readouterr().out
    assert "-c/con8,100,\n+c/con8,80,\n" in shown
    assert main(["baseline", "update", str(records), str(csv)]) == 0
    assert csv.read_text() == before.replace("100", "80")
    assert main(["baseline", "update", str(records), str(csv)]) == 0
    assert "nothing to change" in capsys.readouterr().out


def test_update_without_a_usable_record(records: Path, csv: Path) -> None:
    measured(records, 80.0, b_is_valid=False)
    before = csv.read_text()
    assert main(["baseline", "update", str(records), str(csv)]) == 6
    assert csv.read_text() == before


def test_what_cannot_be_read_is_usage(records: Path, csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records.write_text("\n")
    assert main(["baseline", "check", str(records), str(csv)]) == 4
    assert "found no records" in capsys.readouterr().err
    records.write_text("{\n")
    assert main(["baseline", "check", str(records), str(csv)]) == 4
    assert f"{records}:1: found" in capsys.readouterr().err
    measured(records, 1.0)
    assert main(["baseline", "check", str(records), str(csv.with_name("none.csv"))]) == 4
    assert main(["baseline", "check", str(records), str(csv), "--threshold", "x"]) == 4
