"""Which run a path, a run id or a job id means."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.errors import UsageError
from pytest_disagg.report.find import find_cases, newest_run
from tests.unit.report.conftest import Make


def test_a_case_a_run_and_a_run_id_mean_the_same(make_run: Make, tmp_path: Path) -> None:
    folder, other = make_run(), make_run("disagg-e2e-y")
    work_dir = tmp_path / "w"
    assert find_cases([str(folder)], work_dir) == [folder]
    assert find_cases([str(folder.parent)], work_dir) == [folder, other]
    assert find_cases(["r1"], work_dir) == [folder, other]
    assert find_cases(["r1", str(folder)], work_dir) == [folder, other]


def test_a_job_means_its_newest_start(make_run: Make, tmp_path: Path) -> None:
    make_run(run_id="7.0")
    folder = make_run(run_id="7.1")
    work_dir = tmp_path / "w"
    assert find_cases(["7.0"], work_dir)[0].parent.name == "7.0"
    assert find_cases(["7"], work_dir)[0].parent.name == "7.0"
    (work_dir / "jobs/7").mkdir(parents=True)
    (work_dir / "jobs/7/run_id").write_text("7.1\n")
    assert find_cases(["7"], work_dir) == [folder]


def test_no_such_run(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"found no run 'x', expected a run directory or the id of a run in .*--work-dir"
    ):
        find_cases(["x"], tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty: found no run directory"):
        find_cases(["empty"], tmp_path)
    with pytest.raises(UsageError, match=r"found no run in .*--work-dir"):
        newest_run(tmp_path / "nowhere")
