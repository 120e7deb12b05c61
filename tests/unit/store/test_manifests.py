"""Manifests that outlive their run directories: kept once, found by run, case and job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.store.manifests import keep_manifest, kept_of, read_manifest, rerun_command
from pytest_disagg.verdict.history import HistoryError
from pytest_disagg.verdict.types import Verdict


def keep(history: Path, run_id: str, case: str, job_id: str = "") -> None:
    rundir = RunDir.of(history / "runs", run_id, case)
    rundir.make()
    slurm = {"SLURM_JOB_ID": job_id} if job_id else {}
    rundir.manifest.write_text(json.dumps({"run_id": run_id, "case": case, "slurm": slurm}))
    keep_manifest(history, run_id, case, rundir)


def targets(history: Path, run_id: str, case: str = "") -> list[str]:
    return [each.target for each in kept_of(history, run_id, case)]


def test_by_run_and_case(tmp_path: Path) -> None:
    for run_id, case in (("r", "aggr-b"), ("r", "aggr-a"), ("r.2", "aggr-a"), ("r 1", "aggr-a")):
        keep(tmp_path, run_id, case)
    assert targets(tmp_path, "r") == ["r::aggr-a", "r::aggr-b"]
    assert targets(tmp_path, "r", "aggr-b") == ["r::aggr-b"]
    assert targets(tmp_path, "r 1") == ["r 1::aggr-a"]
    assert targets(tmp_path, "r", "aggr-c") == targets(tmp_path, "other") == targets(tmp_path / "nowhere", "r") == []


def test_a_job_means_its_last_start(tmp_path: Path) -> None:
    for run_id in ("47.0", "47.2", "47.10", "47.10-2"):
        keep(tmp_path, run_id, "aggr-a", job_id="47")
    keep(tmp_path, "47.99", "aggr-a", job_id="4")
    assert targets(tmp_path, "47") == ["47.10-2::aggr-a"]
    assert targets(tmp_path, "4") == []


def test_a_name_that_was_cut_is_found_all_the_same(tmp_path: Path) -> None:
    case = "aggr-" + "x" * 240
    keep(tmp_path / "h", "r", "aggr-a")
    (made,) = (tmp_path / "h" / "manifests").iterdir()
    folder = RunDir(tmp_path / "run")
    folder.make()
    folder.manifest.write_text(json.dumps({"run_id": "r", "case": case}))
    keep_manifest(tmp_path / "h", "r", case, folder)
    assert made.exists()
    assert targets(tmp_path / "h", "r", case) == [f"r::{case}"]
    assert len(targets(tmp_path / "h", "r")) == 2


def test_the_first_one_stays(tmp_path: Path) -> None:
    keep(tmp_path, "r", "aggr-a", job_id="1")
    keep(tmp_path, "r", "aggr-a", job_id="2")
    assert [each.job_id for each in kept_of(tmp_path, "r")] == ["1"]


def test_what_is_no_manifest_is_told(tmp_path: Path) -> None:
    for text, said in (("{", "no manifest can be read"), ("{}", "found no run_id and case")):
        (tmp_path / "m.json").write_text(text)
        with pytest.raises(HistoryError, match=said):
            read_manifest(tmp_path / "m.json")


def test_the_command_needs_both_runs() -> None:
    both = Verdict("regression", runs=(("good 1", "aggr-a"), ("bad", "aggr_upload-a")))
    assert rerun_command(both) == "disagg rerun 'good 1::aggr-a' bad::aggr_upload-a"
    assert rerun_command(Verdict("regression", runs=(("bad", "aggr-a"),))) == ""
