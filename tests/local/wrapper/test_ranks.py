"""Several tasks of one step: they meet, they watch each other, they end together."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.local.wrapper.conftest import Programs, ended
from tests.waiting import gone, until

ROLE = "GEN_0"


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    for name in ("ws", "run"):
        (tmp_path / name).mkdir()
    return {
        "jobWorkspace": str(tmp_path / "ws"),
        "DISAGG_RUN_DIR": str(tmp_path / "run"),
        "DISAGG_SERVING_TYPE": ROLE,
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "2",
        "SLURM_JOB_NUM_NODES": "2",
        "DISAGG_STOP_GRACE_S": "5",
    }


def exit_file(tmp_path: Path, rank: int = 0) -> Path:
    return tmp_path / "run" / "roles" / (f"{ROLE}.exit.json" if rank == 0 else f"{ROLE}.{rank}.exit.json")


def test_no_rank_starts_before_all_are_there(programs: Programs, job: dict[str, str], tmp_path: Path) -> None:
    command = f"sh -c 'ls {tmp_path}/ws/run_ready_job_7_restart_0_step_2 > {tmp_path}/seen.$SLURM_PROCID'"
    tasks = [programs.start("slurm_run", task=f"{rank}/3", pytestCommand=command, **job) for rank in range(2)]
    ready = tmp_path / "ws" / "run_ready_job_7_restart_0_step_2"
    until(lambda: (ready / "rank_0.json").exists() and (ready / "rank_1.json").exists(), "two ranks to be there")
    assert not list(tmp_path.glob("seen.*"))
    tasks.append(programs.start("slurm_run", task="2/3", pytestCommand=command, **job))
    for task in tasks:
        code, output = ended(task)
        assert code == 0, output
    for rank in range(3):
        assert (tmp_path / f"seen.{rank}").read_text().split() == ["rank_0.json", "rank_1.json", "rank_2.json"]


@pytest.mark.parametrize("other", [{"SLURM_STEP_ID": "1"}, {"SLURM_RESTART_COUNT": "1"}, {"SLURM_JOB_ID": "6"}])
def test_files_of_another_attempt_are_never_read(
    programs: Programs, job: dict[str, str], tmp_path: Path, other: dict[str, str]
) -> None:
    before = [
        programs.start("slurm_run", task=f"{rank}/2", pytestCommand="true", **{**job, **other, "DISAGG_RUN_DIR": ""})
        for rank in range(2)
    ]
    assert [ended(task)[0] for task in before] == [0, 0]
    env = {**job, "DISAGG_BARRIER_TIMEOUT_S": "0.2", "SLURM_NTASKS": "2"}
    code, output = programs.slurm_run(f"touch {tmp_path}/ran", **env)
    assert code == 1
    assert "waited 0.2 s (DISAGG_BARRIER_TIMEOUT_S) for all 2 ranks" in output
    assert "missing: rank 1" in output
    assert not (tmp_path / "ran").exists()


def test_missing_ranks_are_named_and_not_all_of_many(programs: Programs, job: dict[str, str]) -> None:
    env = {**job, "DISAGG_BARRIER_TIMEOUT_S": "0.2", "SLURM_NTASKS": "30", "SLURM_PROCID": "3"}
    _, output = programs.slurm_run("true", **env)
    assert "missing: rank 0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 and 13 more" in output


def test_a_rank_that_fails_before_the_barrier_ends_the_others_at_once(programs: Programs, job: dict[str, str]) -> None:
    env = {**job, "DISAGG_PACKAGE": "no_such_package"}
    bad = programs.start("slurm_run", task="1/2", pytestCommand="true __PLACEHOLDER_PACKAGE_PATH__", **env)
    good = programs.start("slurm_run", task="0/2", pytestCommand="true", **env)
    assert ended(bad)[0] == 1
    code, output = ended(good)
    assert code == 1
    assert "failed before it was ready: a placeholder needs the folder of the package no_such_package" in output


def test_several_tasks_without_a_shared_folder_are_an_error(programs: Programs, job: dict[str, str]) -> None:
    env = {**job, "jobWorkspace": "", "DISAGG_RUN_DIR": "", "SLURM_NTASKS": "2"}
    code, output = programs.slurm_run("true", **env)
    assert code == 1
    assert "neither jobWorkspace nor DISAGG_RUN_DIR names a folder" in output


@pytest.mark.parametrize(("end", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137)])
def test_only_the_leader_runs_the_command_and_the_others_end_as_it_does(
    programs: Programs, job: dict[str, str], tmp_path: Path, end: str, code: int
) -> None:
    command = f"sh -c 'echo $SLURM_PROCID >> {tmp_path}/ran; {end}'"
    job["DISAGG_RANKS"] = "leader"
    tasks = [programs.start("slurm_run", task=f"{rank}/3", pytestCommand=command, **job) for rank in range(3)]
    assert [ended(task)[0] for task in tasks] == [code] * 3
    assert (tmp_path / "ran").read_text() == "0\n"
    said = json.loads(exit_file(tmp_path).read_text())
    assert said["role"] == ROLE
    assert (said["exit_code"], said["signal"]) == ((None, "SIGKILL") if code == 137 else (code, None))


def test_ranks_that_wait_show_that_they_live(programs: Programs, job: dict[str, str], tmp_path: Path) -> None:
    job["DISAGG_RANKS"] = "leader"
    command = f"{sys.executable} -c 'import time; time.sleep(600)'"
    tasks = [programs.start("slurm_run", task=f"{rank}/2", pytestCommand=command, **job) for rank in range(2)]
    beat = tmp_path / "run" / "roles" / f"{ROLE}.1.json"
    until(beat.exists, "the first beat")
    first = json.loads(beat.read_text())
    assert (first["role"], first["rank"]) == (ROLE, 1)
    until(lambda: json.loads(beat.read_text())["beat"] > first["beat"], "the next beat")
    tasks[0].send_signal(signal.SIGTERM)
    assert [ended(task)[0] for task in tasks] == [143, 143]


def test_a_vanished_leader_is_noticed_by_its_still_beat(
    programs: Programs, job: dict[str, str], tmp_path: Path
) -> None:
    job.update({"DISAGG_RANKS": "leader", "DISAGG_HEARTBEAT_TIMEOUT_S": "2"})
    command = f"{sys.executable} -c 'import time; time.sleep(600)'"
    leader, other = [programs.start("slurm_run", task=f"{rank}/2", pytestCommand=command, **job) for rank in range(2)]
    until((tmp_path / "run" / "roles" / f"{ROLE}.0.json").exists, "rank 0 to be there")
    family = [leader.pid, *(child.pid for child in psutil.Process(leader.pid).children(recursive=True))]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    code, output = ended(other)
    assert code == 1
    assert "rank 0 of this step vanished: its beat stood still for" in output
    for pid in family:
        os.kill(pid, signal.SIGKILL)


def test_a_dead_rank_ends_the_leader_which_names_it(programs: Programs, job: dict[str, str], tmp_path: Path) -> None:
    job["DISAGG_RANKS"] = "leader"
    command = f"{sys.executable} -c 'import time; time.sleep(600)' --junitxml={tmp_path}/r.xml"
    leader, other = [programs.start("slurm_run", task=f"{rank}/2", pytestCommand=command, **job) for rank in range(2)]
    until((tmp_path / "run" / "roles" / f"{ROLE}.1.json").exists, "rank 1 to be there")
    inner = psutil.Process(other.pid).children()[0].pid
    os.kill(inner, signal.SIGKILL)
    assert ended(other)[0] == 137
    code, output = ended(leader)
    assert code == 143, output
    reason = "rank 1 of this step ended: killed by SIGKILL (slurm_run itself was killed)"
    assert json.loads(exit_file(tmp_path).read_text())["reason"] == reason
    assert reason in (tmp_path / f"r.{ROLE}.xml").read_text()


def test_where_every_rank_runs_the_command_a_bad_one_ends_rank_0(
    programs: Programs, job: dict[str, str], tmp_path: Path
) -> None:
    command = "sh -c 'test $SLURM_PROCID = 0 || exit 7; exec sleep 600'"
    tasks = [programs.start("slurm_run", task=f"{rank}/2", pytestCommand=command, **job) for rank in range(2)]
    assert [ended(task)[0] for task in tasks] == [143, 7]
    assert json.loads(exit_file(tmp_path).read_text())["reason"] == "rank 1 of this step ended: exit code 7"


def test_a_command_that_slurm_ends_before_its_wrapper_still_names_the_bad_rank(
    programs: Programs, job: dict[str, str], tmp_path: Path
) -> None:
    """Slurm sends TERM to every process of a step that lost a rank, to the command perhaps first."""
    wait = f"until [ -e {exit_file(tmp_path, 1)} ]; do sleep 0.02; done"
    command = f"sh -c 'test $SLURM_PROCID = 0 || kill -9 $$; {wait}; kill -TERM $$'"
    tasks = [programs.start("slurm_run", task=f"{rank}/2", pytestCommand=command, **job) for rank in range(2)]
    assert [ended(task)[0] for task in tasks] == [143, 137]
    assert json.loads(exit_file(tmp_path).read_text())["reason"] == "rank 1 of this step ended: killed by SIGKILL"


def test_the_ranks_of_a_step_share_one_coverage_copy(programs: Programs, job: dict[str, str], tmp_path: Path) -> None:
    template = tmp_path / ".coveragerc"
    template.write_text("data_file = @JOB_WORKSPACE@/c")
    command = f"sh -c 'cat $0 > {tmp_path}/seen.$SLURM_PROCID' {template}"
    job["coverageConfigFile"] = str(template)
    late = programs.start("slurm_run", task="1/2", pytestCommand=command, **job)
    tasks = [programs.start("slurm_run", task="0/2", pytestCommand=command, **job), late]
    for task in tasks:
        code, output = ended(task)
        assert code == 0, output
    assert {(tmp_path / f"seen.{rank}").read_text() for rank in range(2)} == {f"data_file = {tmp_path}/ws/c"}


def test_nothing_of_the_step_is_left(programs: Programs, job: dict[str, str], tmp_path: Path) -> None:
    command = f"sh -c 'setsid sleep 600 & echo $! > {tmp_path}/pid.$SLURM_PROCID'"
    tasks = [programs.start("slurm_run", task=f"{rank}/2", pytestCommand=command, **job) for rank in range(2)]
    for task in tasks:
        assert ended(task)[0] == 0
    assert all(gone(int((tmp_path / f"pid.{rank}").read_text())) for rank in range(2))
