"""`disagg wait`, `cancel`, `logs`, `status`, `run --dry-run` and `run --retries`, on a real cluster."""

from __future__ import annotations

from tests.slurm.jobs import LONG_LOAD, ONE_NODE, ROLES, Job, Project


def submitted(project: Project, *arguments: str) -> Job:
    """A job whose command has left."""
    command = project.run("--no-wait", *arguments)
    job = Job(project, command, project.job_id(command))
    assert command.end() == 0, command.output
    return job


def test_dry_run_prints_plan_and_script_and_leaves_nothing(project: Project) -> None:
    command = project.run("--dry-run")
    assert command.end() == 0, command.output
    assert "4 nodes x 1 GPUs" in command.output
    assert "#SBATCH --nodes=4" in command.output
    assert not project.work_dir.exists()


def test_wait_attaches_again(project: Project) -> None:
    project.case("job", **ONE_NODE)
    job = submitted(project)
    first = project.disagg("wait", job.job_id)
    first.wait_for(lambda: "RUNNING" in first.output, "the job to run")
    first.interrupt()
    assert first.end() == 2, first.output
    second = project.disagg("wait", job.job_id, "--junitxml=again.xml")
    assert second.end() == 0, second.output
    assert project.junit("again.xml").text == ""
    # Once more, after the end: the result is still there.
    third = project.disagg("wait", job.job_id)
    assert third.end() == 0, third.output


def test_cancel_status_and_logs(project: Project) -> None:
    job = submitted(project, LONG_LOAD)
    waiting = project.disagg("wait", job.job_id)
    job.command = waiting
    job.wait_until_measuring()
    status = project.disagg("status")
    assert status.end() == 0, status.output
    assert f"{job.job_id}  RUNNING" in status.output
    assert "stage measure" in status.output
    logs = project.disagg("logs", job.job_id, "--lines=3")
    assert logs.end() == 0, logs.output
    for role in ROLES:
        assert f"{role}.pytest.log" in logs.output
    cancelled = project.disagg("cancel", job.job_id)
    assert cancelled.end() == 0, cancelled.output
    assert waiting.end() == 2, waiting.output
    assert f"Slurm job {job.job_id} was cancelled" in waiting.output
    job.assert_nothing_left()


def test_a_job_cancelled_before_it_started(project: Project) -> None:
    project.cluster(sbatch=["--begin=now+1hour"])
    command = project.run()
    job = Job(project, command, project.job_id(command))
    command.wait_for(lambda: "PENDING" in command.output, "the job to wait")
    job.slurm("scancel", job.job_id)
    assert command.end() == 2, command.output
    assert "was cancelled" in project.junit().headline


def test_an_unknown_job(project: Project) -> None:
    command = project.disagg("wait", "4711")
    assert command.end() == 4
    assert "job '4711': not found" in command.output


def test_sbatch_that_refuses(project: Project) -> None:
    project.cluster(partition="nosuch")
    command = project.run()
    assert command.end() == 8, command.output
    assert "invalid partition" in command.output.lower()


def test_a_retry_leaves_out_the_node_that_failed(project: Project) -> None:
    """Only two nodes are needed; n2 fails to install, so the second job runs elsewhere and passes."""
    script = project.folder / "install.sh"
    script.write_text('#!/bin/sh\n[ "$SLURMD_NODENAME" != n2 ] || exit 5\n')
    script.chmod(0o755)
    project.cluster(install={"command": [str(script)]})
    project.case("job", hardware={"gpus_per_node": 8, "num_ctx_servers": 1, "num_gen_servers": 1})
    project.cluster(install={"command": [str(script)]}, gpu_request="none")
    command = project.run("--retries=1")
    assert command.end() == 0, command.output
    assert "submitting again, without n2" in command.output
    assert "--exclude=n2" in "".join(path.read_text() for path in project.work_dir.glob("jobs/2*-*/job.sh"))


def test_an_outage_during_the_wait_is_not_the_end(project: Project) -> None:
    project.case("job", **ONE_NODE)
    job = project.started()
    slurm = project.slurm
    slurm.stop_daemon("slurmctld")
    job.command.wait_for(lambda: "Slurm does not answer, still waiting" in job.command.output, "the outage to be seen")
    slurm.daemon("slurmctld", "slurmctld", "-D", "-f", str(slurm.conf))
    job.command.wait_for(lambda: "Slurm answers again" in job.command.output, "the end of the outage")
    job.slurm("scancel", job.job_id)
    assert job.end() == 2, job.said()
    job.assert_nothing_left()
