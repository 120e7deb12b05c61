from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pytest_disagg.errors import RunError, UsageError
from pytest_disagg.rundir.files import create_text, read_json, tail_lines, to_json, write_text
from pytest_disagg.rundir.layout import RunDir, safe_name
from pytest_disagg.rundir.outcome import Outcome
from pytest_disagg.rundir.runid import new_run_id, required_run_id, run_id_of
from pytest_disagg.rundir.state import RoleState
from pytest_disagg.rundir.sweep import candidates
from pytest_disagg.rundir.writer import RoleWriter


def test_a_file_is_replaced_whole_and_leaves_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    write_text(path, "new", mode=0o600)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_only_the_first_creates(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert create_text(path, "first")
    assert not create_text(path, "second")
    assert path.read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a", "\ud800")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_none_and_a_broken_one_is_named(tmp_path: Path) -> None:
    assert read_json(tmp_path / "no" / "a.json") is None
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json: not JSON"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(ValueError, match=r"a\.json: found a JSON list"):
        read_json(tmp_path / "a.json")


def test_what_goes_into_a_run_directory_is_redacted() -> None:
    assert "hunter22" not in to_json({"env": {"DB_PASSWORD": "hunter22"}})


@pytest.mark.parametrize(
    "text",
    [
        'MY_TOKEN=hunter22 A="x y"',
        'A="x y" DB_PASSWORD="hunter22 b"',
        'AUTHORIZATION="Bearer hunter22"',
        '{"token": "hunter22"}',
    ],
)
def test_a_secret_within_quotes_leaves_json_that_can_be_read(tmp_path: Path, text: str) -> None:
    write_text(tmp_path / "a.json", to_json({"env": text, "next": 1}))
    found = read_json(tmp_path / "a.json")
    assert found is not None
    assert "hunter22" not in found["env"]
    assert found["next"] == 1


def test_a_tail_is_the_end_of_a_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(f"line {i}\n" for i in range(100)))
    assert tail_lines(tmp_path / "log", 2) == ["line 98", "line 99"]
    assert tail_lines(tmp_path / "none") == []


def test_a_role_is_claimed_once(tmp_path: Path) -> None:
    rundir = RunDir.of(tmp_path, "run 7", "case")
    rundir.make()
    first = RoleWriter(rundir, RoleState("GEN_0"))
    first.claim()
    first.close()
    with pytest.raises(RunError, match=r"run run_7 is over: .* already has a GEN_0; set DISAGG_RUN_ID"):
        RoleWriter(rundir, RoleState("GEN_0")).claim()


def test_a_run_with_an_outcome_takes_no_role(tmp_path: Path) -> None:
    rundir = RunDir.of(tmp_path, "run", "case")
    rundir.make()
    assert Outcome("run", "case", "pass").write(rundir)
    assert not Outcome("run", "case", "failed").write(rundir), "an outcome is written once"
    with pytest.raises(RunError, match="has an outcome"):
        RoleWriter(rundir, RoleState("GEN_0")).claim()
    assert not rundir.role("GEN_0").exists()


def test_case_folders_hold_no_separators() -> None:
    assert safe_name("disagg-e2e-a/b c'\n") == "disagg-e2e-a_b_c__"


def test_secrets_are_for_the_owner_alone(tmp_path: Path) -> None:
    rundir = RunDir.of(tmp_path, "run", "case")
    rundir.make()
    assert stat.S_IMODE(rundir.secrets.stat().st_mode) == 0o700


def test_existing_scripts_find_their_log_names(tmp_path: Path) -> None:
    rundir = RunDir.of(tmp_path, "run", "case")
    rundir.make()
    for role, name in (
        ("GEN_1", "gen_server_1.log"),
        ("CTX_0", "ctx_server_0.log"),
        ("DISAGG_SERVER", "disagg_server.log"),
    ):
        rundir.link_legacy_log(role)
        rundir.log(role).write_text(role)
        assert (rundir.path / name).read_text() == role


def test_which_run_this_is() -> None:
    assert run_id_of({}) is None
    assert run_id_of({"SLURM_JOB_ID": "12"}) == "12.0"
    assert run_id_of({"SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": "2"}) == "12.2"
    assert run_id_of({"SLURM_JOB_ID": "12", "DISAGG_RUN_ID": "x"}) == "x"
    assert new_run_id() != new_run_id()
    with pytest.raises(UsageError, match="set DISAGG_RUN_ID to the same new word"):
        required_run_id({}, "GEN_0")


def run_of(work_dir: Path, name: str, age_s: float, *, over: bool = True) -> Path:
    import os
    import time

    rundir = RunDir.of(work_dir, name, "case")
    rundir.make()
    write_text(rundir.role("BENCHMARK"), to_json(RoleState("BENCHMARK").to_dict()))
    if over:
        Outcome(name, "case", "pass").write(rundir)
    then = time.time() - age_s
    for path in (rundir.role("BENCHMARK"), rundir.path / "roles", rundir.path / "results", rundir.path):
        os.utime(path, (then, then))
    return rundir.path.parent


def test_old_runs_are_swept_but_never_a_running_one(tmp_path: Path) -> None:
    (tmp_path / "something else").mkdir()
    old, middle = run_of(tmp_path, "old", 300), run_of(tmp_path, "middle", 200)
    run_of(tmp_path, "new", 100)
    alive = run_of(tmp_path, "alive", 10, over=False)
    assert [found.path for found in candidates(tmp_path, keep=2, older_than_s=0)] == [old, middle]
    assert [found.path for found in candidates(tmp_path, keep=0, older_than_s=250)] == [old]
    everything = {found.path: found.running for found in candidates(tmp_path, keep=0, older_than_s=0)}
    assert everything[alive] == "case: BENCHMARK"
    assert everything[middle] == ""
