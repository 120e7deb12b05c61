"""docs/jenkins/run_list.sh, the pipeline's shell part, on a real cluster: results, archive, records, abort."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from pytest_disagg.rundir.files import read_json
from pytest_disagg.rundir.layout import RunDir
from tests.slurm.jobs import CASE_ID, LONG_LOAD, ROLES, Command, Job, Project, read_records

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "jenkins" / "run_list.sh"
BUILD_TAG = "jenkins-perf%2Fmain-12"
JOB_URL = "https://ci.example.com/job/LLM/job/main/job/L0_PostMerge"
BUILD = {
    "BUILD_TAG": BUILD_TAG,
    "BUILD_ID": "12",
    "BUILD_URL": "https://robot:hunter2secret@ci.example.com/job/perf/12/",
    "JOB_NAME": "perf/main",
    "JENKINS_SERVER_COOKIE": "durable-0123",
    "gitlabCommit": "c0ffee",
    "globalVars": json.dumps({"action_info": {"parents": [{"url": f"{JOB_URL}/77/", "build_number": 77}]}}),
}


def run_list(project: Project, *arguments: str) -> Command:
    env = {**BUILD, "DISAGG": str(Path(sys.executable).with_name("disagg")), "DISAGG_WORK_DIR": str(project.work_dir)}
    return project.start("bash", str(SCRIPT), *arguments, env=env)


class BuildJob(Job):
    """The one job of a build; its run directories lie in this build's own work directory."""

    @classmethod
    def start(cls, project: Project, *arguments: str) -> BuildJob:
        (project.folder / "list.txt").write_text(f"# one case\n{CASE_ID}\n")
        command = run_list(project, "run", "archive", "--test-list=list.txt", "--config-dir=cases", *arguments)
        return cls(project, command, project.job_id(command))

    def run(self, restart: str, case_id: str = CASE_ID) -> RunDir:
        return RunDir.of(self.project.work_dir / BUILD_TAG, f"{self.job_id}.{restart}", case_id)


def test_results_archive_and_records_of_a_build(project: Project) -> None:
    job = BuildJob.start(project)
    assert job.end() == 0, job.said()
    archive = project.folder / "archive"
    assert project.junit("archive/junit.xml").properties["disagg_job_id"] == job.job_id

    kept = RunDir.of(archive / "runs", f"{job.job_id}.0", CASE_ID)
    for role in ROLES:
        assert kept.pytest_log(role).stat().st_size > 0
    assert (kept.path / "gen_server_0.log").is_file()
    assert "ended: exit code 0" in (archive / "runs" / "jobs" / job.job_id / f"slurm_{job.job_id}.log").read_text()
    names = {path.name for path in archive.rglob("*")}
    assert not names & {"job.sh", "secrets", "bin", "slurm_run"}
    assert not [path for path in archive.rglob("*") if path.is_symlink()]

    (record,) = read_records(kept.records)
    assert record["s_build_url"] == "https://***@ci.example.com/job/perf/12/"
    assert (record["s_build_id"], record["s_job_name"], record["s_commit"]) == ("12", "perf/main", "c0ffee")
    assert (record["s_job_id"], record["s_job_url"], record["s_branch"]) == ("77", f"{JOB_URL}/77/", "main")
    assert record["b_is_post_merge"] is True
    assert (record["s_slurm_job_id"], record["s_slurm_nodes"]) == (job.job_id, "n[1-4]")
    assert record["s_cluster"] == "lab"
    manifest = read_json(kept.manifest)
    assert manifest is not None
    assert manifest["slurm"]["SLURM_JOB_NODELIST"] == "n[1-4]"
    # What Jenkins finds its processes by has not travelled with the job.
    assert "JENKINS_SERVER_COOKIE" not in manifest["environment"]
    assert not [path for path in archive.rglob("*") if path.is_file() and b"hunter2secret" in path.read_bytes()]

    assert run_list(project, "remove").end() == 0
    assert not (project.work_dir / BUILD_TAG).exists()


def test_an_aborted_build_cancels_its_jobs(project: Project) -> None:
    job = BuildJob.start(project, LONG_LOAD)
    job.wait_until_measuring()
    # Jenkins sends it to every process of the build, and the script passes it on.
    for pid in (job.command.process.pid, child_of(job.command)):
        os.kill(pid, signal.SIGTERM)
    assert job.end() == 2, job.said()
    archive = project.folder / "archive"
    assert f"Slurm job {job.job_id} was cancelled" in project.junit("archive/junit.xml").headline
    assert (archive / "runs" / f"{job.job_id}.0" / CASE_ID / "job.json").is_file()
    job.assert_nothing_left()


def test_jobs_of_a_build_that_was_killed_are_cancelled_afterwards(project: Project) -> None:
    job = BuildJob.start(project, LONG_LOAD)
    job.wait_until_measuring()
    child = child_of(job.command)
    os.kill(job.command.process.pid, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    finish = run_list(project, "finish", "archive")
    assert finish.end() == 0, finish.output
    assert f"Slurm job {job.job_id} was cancelled" in finish.output
    assert (project.folder / "archive" / "runs" / f"{job.job_id}.0" / CASE_ID / "job.json").is_file()
    job.assert_nothing_left()


def test_the_limit_is_above_every_deadline_of_the_list(project: Project) -> None:
    project.case("second")
    project.cluster(time_limit="90")
    cases = ("cases/job.yaml", "cases/second.yaml", "--config-dir=cases")
    command = run_list(project, "limit", *cases, "--retries=1")
    assert command.end() == 0, command.output
    assert int(command.output) == 240 + 2 * 90 + 10
    # Two jobs of 90 minutes, one after the other.
    command = run_list(project, "limit", *cases, "--max-jobs", "1")
    assert command.end() == 0, command.output
    assert int(command.output) == 240 + (180 + 90) + 10


def test_a_missing_input_is_named(project: Project) -> None:
    env = {"DISAGG": "/nonexistent/disagg", "BUILD_TAG": BUILD_TAG}
    command = project.start("bash", str(SCRIPT), "run", "archive", "cases/job.yaml", env=env)
    assert command.end() == 4
    assert "found no command /nonexistent/disagg" in command.output


def child_of(command: Command) -> int:
    """The pid of ``disagg run``."""
    (child,) = Path(f"/proc/{command.process.pid}/task/{command.process.pid}/children").read_text().split()
    return int(child)
