"""``disagg clean``: what goes is old, beyond the newest, and not running."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from pytest_disagg.cli.main import main

DAY_S = 86400


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Runs ``r1`` to ``r4``, as many days old as their number says, and a folder that is no run."""
    (tmp_path / "notes").mkdir()
    for days in range(1, 5):
        case = tmp_path / f"r{days}" / "case"
        for folder in (case / "roles", case / "results"):
            folder.mkdir(parents=True)
        (case / "outcome.json").write_text("{}")
        then = time.time() - days * DAY_S - 60
        for folder in (case / "roles", case / "results", case):
            os.utime(folder, (then, then))
    return tmp_path


def left(work: Path) -> set[str]:
    return {path.name for path in work.iterdir()}


@pytest.mark.parametrize(
    ("limits", "gone"),
    [
        (["--keep", "2"], {"r3", "r4"}),
        (["--keep", "0"], {"r1", "r2", "r3", "r4"}),
        (["--older-than", "3d"], {"r3", "r4"}),
        (["--older-than", "3"], {"r3", "r4"}),
        (["--older-than", "60h"], {"r3", "r4"}),
        (["--older-than", "1w"], set()),
        (["--keep", "3", "--older-than", "2d"], {"r4"}),
        (["--keep", "1", "--older-than", "3d"], {"r3", "r4"}),
    ],
)
def test_runs_beyond_both_limits_go(
    work: Path, limits: list[str], gone: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = left(work)
    assert main(["clean", "--work-dir", str(work), *limits, "--dry-run"]) == 0
    assert left(work) == before
    assert capsys.readouterr().out.count("would remove") == len(gone)
    assert main(["clean", "--work-dir", str(work), *limits]) == 0
    assert before - left(work) == gone


def test_a_run_that_is_still_going_stays(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = work / "r4" / "case"
    (case / "outcome.json").unlink()
    (case / "roles" / "GEN_0.json").write_text(json.dumps({"state": "ready"}))
    then = time.time() - 4 * DAY_S
    os.utime(case / "roles", (then, then))
    os.utime(case, (then, then))
    assert main(["clean", "--work-dir", str(work), "--older-than", "2d"]) == 0
    assert left(work) == {"notes", "r1", "r4"}
    assert "still running (case: GEN_0)" in capsys.readouterr().out


@pytest.mark.parametrize("limits", [[], ["--keep", "-1"], ["--keep", "two"], ["--older-than", "soon"]])
def test_without_a_limit_that_can_be_read_nothing_goes(work: Path, limits: list[str]) -> None:
    before = left(work)
    assert main(["clean", "--work-dir", str(work), *limits]) == 4
    assert main(["clean", "--work-dir", str(work / "gone"), "--keep", "1"]) == 4
    assert left(work) == before
