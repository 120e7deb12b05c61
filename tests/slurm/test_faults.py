"""What goes wrong in a job ends it, with the right kind and cause in junit, and leaves no process on any node."""

from __future__ import annotations

import os
import re
import signal

import yaml

from tests.slurm.jobs import CASE, LONG_LOAD, ONE_NODE, Job, Project, assert_red

INFRASTRUCTURE, FUNCTIONAL, CANCELLED = 8, 7, 2


def fault(role: str, kind: str, **fields: float) -> str:
    spec = yaml.safe_dump({"role": role, "kind": kind, **fields}, default_flow_style=True).strip()
    return f"--set=sim.faults=[{spec}]"


def test_a_worker_exits_7(project: Project) -> None:
    job = project.started(fault("CTX_1", "exit", exit_code=7, after_requests=20))
    assert_red(job, FUNCTIONAL, "functional", "CTX_1", "exit code 7")
    assert job.outcome()["cause"]["exit_code"] == 7
    job.assert_nothing_left()


def test_kill_9_of_a_workers_pytest(project: Project) -> None:
    job = project.started()
    job.kill("GEN_0")
    assert_red(job, INFRASTRUCTURE, "infrastructure", "GEN_0", "SIGKILL")
    job.assert_nothing_left()


def test_one_rank_of_a_two_node_server_dies(project: Project) -> None:
    job = project.started()
    job.event()
    os.kill(job.rank_pid("GEN_0", 1), signal.SIGKILL)
    assert_red(job, INFRASTRUCTURE, "infrastructure", "GEN_0", "rank 1")
    job.assert_nothing_left()


def test_a_node_is_set_down(project: Project) -> None:
    job = project.started()
    project.slurm.stop_daemon("n3")
    job.event()
    job.slurm("scontrol", "update", "nodename=n3", "state=down", "reason=pulled")
    assert_red(job, INFRASTRUCTURE, "infrastructure", "node failure", "n3")
    assert job.result()["bad_nodes"] == ["n3"]
    # slurmd of that node is gone, so nobody could end its processes but the roles themselves.
    job.assert_nothing_left()


def test_scancel(project: Project) -> None:
    job = project.started()
    job.event()
    job.slurm("scancel", job.job_id)
    junit = assert_red(job, CANCELLED, "infrastructure", f"Slurm job {job.job_id} was cancelled")
    assert "stage measure" in junit.headline
    job.assert_nothing_left()


def test_ctrl_c_cancels_the_job_and_says_so(project: Project) -> None:
    job = project.started()
    job.event()
    job.command.interrupt()
    assert_red(job, CANCELLED, "infrastructure", "was cancelled")
    assert f"cancelling {job.job_id}" in job.command.output
    job.assert_nothing_left()


def test_the_time_limit(project: Project) -> None:
    # Due about as soon as the job starts: Slurm looks at limits every 30 s only.
    project.case("job", **ONE_NODE)
    project.cluster(time_limit="6", sbatch=["--signal=B:TERM@355"])
    command = project.run(LONG_LOAD)
    job = Job(project, command, project.job_id(command))
    log = project.work_dir / "jobs" / job.job_id / f"slurm_{job.job_id}.log"
    command.wait_for(lambda: log.exists() and "got SIGTERM" in log.read_text(), "Slurm's signal")
    job.event()
    assert_red(job, INFRASTRUCTURE, "infrastructure", "reached its time limit")
    job.assert_nothing_left()


def test_a_requeue_ends_the_run_and_starts_another(project: Project) -> None:
    project.cluster(requeue=True)
    project.case("job", **ONE_NODE)
    job = project.started()
    job.slurm("scontrol", "requeue", job.job_id)
    job.command.wait_for(
        lambda: "PENDING" in job.slurm("squeue", "-h", "-o", "%T", "-j", job.job_id), "the job to wait again"
    )
    job.slurm("scontrol", "update", f"jobid={job.job_id}", "StartTime=now")
    job.command.wait_for(lambda: job.run("1").role("BENCHMARK").exists(), "the second run to start")
    # Written by the job itself, or by whoever follows it where Slurm was too quick.
    job.command.wait_for(lambda: (job.rundir.path / "job.json").exists(), "the end of the first run to be told")
    assert "was requeued" in job.result()["red"][0]
    job.slurm("scancel", job.job_id)
    assert_red(job, CANCELLED, "infrastructure", "was cancelled")
    assert project.junit().properties["disagg_run_id"] == f"{job.job_id}.1"
    assert "GPU-hours of all its runs: " in job.command.output
    job.assert_nothing_left()


def test_the_coordinator_dies(project: Project) -> None:
    job = project.started()
    job.kill("DISAGG_SERVER")
    assert_red(job, INFRASTRUCTURE, "infrastructure", "DISAGG_SERVER", "SIGKILL")
    job.assert_nothing_left()


def test_the_benchmark_dies(project: Project) -> None:
    job = project.started()
    job.kill("BENCHMARK")
    assert_red(job, INFRASTRUCTURE, "infrastructure", "BENCHMARK", "SIGKILL")
    hours = job.result()["gpu_hours"]
    assert hours["useful"] == 0.0 < hours["allocated"] == hours["wasted"]
    job.assert_nothing_left()


def test_a_role_that_does_not_stop_is_stopped(project: Project) -> None:
    """CTX_1 hangs when BENCHMARK dies: it gets its time, then TERM; the run ends with the cause all the same."""
    project.case("job", timeouts={**CASE["timeouts"], "stop_s": 2})
    job = project.started()
    os.kill(int(job.state("CTX_1")["pid"]), signal.SIGSTOP)
    job.kill("BENCHMARK")
    assert_red(job, INFRASTRUCTURE, "infrastructure", "BENCHMARK", "SIGKILL")
    # On a busy machine another role may be as late as CTX_1.
    assert re.search(r"still running:.* CTX_1\b.*: TERM", job.said())
    job.assert_nothing_left()


def test_the_install_fails_on_one_node(project: Project) -> None:
    script = project.folder / "install.sh"
    script.write_text('#!/bin/sh\necho "installing on $SLURMD_NODENAME"\n[ "$SLURMD_NODENAME" != n3 ] || exit 5\n')
    script.chmod(0o755)
    project.cluster(install={"command": [str(script)]})
    command = project.run()
    job = Job(project, command, project.job_id(command))
    junit = assert_red(job, INFRASTRUCTURE, "infrastructure", "install", "n3", "exit code 5")
    assert "installing on n3" in junit.text
    assert not job.rundir.role("GEN_0").exists()
    job.assert_nothing_left()


def test_a_step_that_cannot_be_started(project: Project) -> None:
    """Nobody of ours runs there to say so: the job script does, and the others end at once."""
    folder = project.folder / "bin"
    folder.mkdir()
    srun = folder / "srun"
    srun.write_text(
        '#!/bin/sh\n[ "$DISAGG_SERVING_TYPE" != CTX_1 ] || { echo "srun: error: Unable to create step" >&2; exit 1; }\n'
        'exec /usr/bin/srun "$@"\n'
    )
    srun.chmod(0o755)
    command = project.disagg(
        *("run", "cases/job.yaml", "--config-dir=cases", "--junitxml=r.xml"),
        env={"PATH": f"{folder}:{project.env['PATH']}"},
    )
    job = Job(project, command, project.job_id(command))
    junit = assert_red(job, INFRASTRUCTURE, "infrastructure", "CTX_1", "ended with exit code 1 before it started")
    assert "waited" not in junit.text
    job.assert_nothing_left()
