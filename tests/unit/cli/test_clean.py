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


def rerun(work: Path, name: str, days: float) -> Path:
    """What `disagg rerun` wrote, so many days ago."""
    folder = work / "reruns" / name
    folder.mkdir(parents=True)
    (folder / "some.yaml").write_text("")
    then = time.time() - days * DAY_S - 60
    os.utime(folder, (then, then))
    return folder


def test_what_a_rerun_wrote_goes_when_nothing_needs_it_any_more(work: Path) -> None:
    of_r1 = rerun(work, "first.case", 3)
    (work / "r1" / "case" / "results" / "manifest.json").write_text('{"rerun_of": "first", "case": "case"}')
    of_r4, young, pending = rerun(work, "second.case", 3), rerun(work, "third.case", 0.5), rerun(work, "fourth.case", 3)
    (work / "r4" / "case" / "results" / "manifest.json").write_text('{"rerun_of": "second", "case": "case"}')
    then = time.time() - 4 * DAY_S - 60
    os.utime(work / "r4" / "case" / "results", (then, then))
    job = work / "jobs" / "20260101-000000-abc"
    job.mkdir(parents=True)
    (job / "job.sh").write_text(f"pytest --disagg-config-dir={pending}")
    (work / "jobs" / "17").symlink_to(job)
    command = ["clean", "--work-dir", str(work), "--older-than", "2d"]
    assert main([*command, "--dry-run"]) == 0
    assert of_r4.exists()
    assert main(command) == 0
    assert [path.exists() for path in (of_r4, of_r1, young, pending)] == [False, True, True, True]
    (job / "run_id").write_text("17.0")
    assert main(command) == 0
    assert not pending.exists()


def test_what_is_being_played_again_stays_where_no_age_is_given(work: Path) -> None:
    begun, old = rerun(work, "first.case", 0), rerun(work, "second.case", 1)
    os.utime(begun)
    assert main(["clean", "--work-dir", str(work), "--keep", "9"]) == 0
    assert [begun.exists(), old.exists()] == [True, False]


def test_what_a_rerun_wrote_stays_while_a_run_is_going(work: Path) -> None:
    mine = rerun(work, "first.case", 3)
    (work / "r4" / "case" / "outcome.json").unlink()
    (work / "r4" / "case" / "roles" / "BENCHMARK.json").write_text(json.dumps({"state": "ready"}))
    assert main(["clean", "--work-dir", str(work), "--older-than", "2d"]) == 0
    assert mine.exists()


@pytest.mark.parametrize("limits", [[], ["--keep", "-1"], ["--keep", "two"], ["--older-than", "soon"]])
def test_without_a_limit_that_can_be_read_nothing_goes(work: Path, limits: list[str]) -> None:
    before = left(work)
    assert main(["clean", "--work-dir", str(work), *limits]) == 4
    assert main(["clean", "--work-dir", str(work / "gone"), "--keep", "1"]) == 4
    assert left(work) == before
